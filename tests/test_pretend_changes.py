"""How many files a change touches, by making one of each kind; CONTRIBUTING.md has the table."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from state import State
from tests.support.paths import REPOSITORY
from tests.support.pretend import Change

NEXT_REVISION = f"{int(State.revision()) + 1:04}"

METRIC = Change(
    edits={
        "kbsync/service/metrics.py": [
            ('    "kbsync_paused":', '    "kbsync_views": "Views that were ever planned",\n'),
            (
                '            yield _single("kbsync_paused"',
                '            yield _single("kbsync_views", len({run.view for run in tx.runs(limit=1000)}))\n',
            ),
        ],
        # and its line in the table of docs/metrics.md
    },
    check="from kbsync.service.metrics import METRICS; assert 'kbsync_views' in METRICS",
)

HOOK = Change(
    new={
        "kbsync/deployment/notebook.py": '''"""The kind `notebook`: versions are appended to a file."""

from pathlib import Path

from kbsync.deployment.hooks import Version
from kbsync.settings.deploy import NotebookSettings


class NotebookHook:
    def __init__(self, settings: NotebookSettings) -> None:
        self.file: Path = settings.file

    def deploy(self, version: Version) -> None:
        with self.file.open("a", encoding="utf-8") as file:
            file.write(f"{version.id}\\n")

    def observed_version(self) -> str | None:
        return self.file.read_text(encoding="utf-8").splitlines()[-1]

    rollback = deploy
'''
    },
    edits={
        "kbsync/settings/deploy.py": [
            (
                "AnyHookSettings = Annotated[\n",
                "class NotebookSettings(HookSettings):\n"
                '    """A file that versions are appended to."""\n\n'
                '    kind: Literal["notebook"]\n'
                '    file: AbsolutePath = Field(description="the file")\n\n\n',
            ),
            (
                "    SymlinkSettings | ExecSettings",
                "    NotebookSettings |\n",
            ),
            ("    SymlinkSettings,\n", "    NotebookSettings,\n"),
        ],
        "kbsync/deployment/connect.py": [
            (
                "        case ExecSettings():",
                "        case NotebookSettings():\n            return NotebookHook(settings)\n",
            ),
            (
                "from kbsync.deployment.program import",
                "from kbsync.deployment.notebook import NotebookHook\n"
                "from kbsync.settings.deploy import NotebookSettings\n",
            ),
        ],
    },
    check="""
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from kbsync.deployment.connect import connect_hook
from kbsync.deployment.hooks import Call, Version
from kbsync.settings.loading import load
folder = Path(tempfile.mkdtemp())
(folder / "kbsync.toml").write_text(f"[deploy.log]\\nkind = 'notebook'\\nfile = '{folder}/log'\\n")
hook = connect_hook(load(folder / "kbsync.toml", {}).deploy["log"], Call(1, Event()), lambda: datetime.now(UTC))
hook.deploy(Version("1-1@0", folder, "0"))
assert hook.observed_version() == "1-1@0"
""",
)

CONNECTOR = Change(
    new={
        "connectors/constant.py": '''"""Kind `constant`: one fact that never changes."""

from typing import Literal

from connectors.observations import Entity, Health, Observation, Poll, Statement
from connectors.settings import Context, SourceSettings, parse


class ConstantSettings(SourceSettings):
    kind: Literal["constant"]
    value: str


class ConstantConnector:
    def __init__(self, name: str, value: str, context: Context) -> None:
        self.name, self.value = name, value

    def check(self) -> Health:
        return Health(True, self.value)

    def close(self) -> None:
        """Nothing is held open."""


def connect(name, settings, context):
    return ConstantConnector(name, parse(ConstantSettings, name, settings).value, context)
'''
    },
    edits={
        "connectors/registry.py": [('    "files": ', '    "constant": "connectors.constant:connect",\n')],
    },
    check="""
from connectors.registry import connect, kinds
assert "constant" in kinds()
assert connect("c", {"kind": "constant", "value": "x"}).check().ok
""",
)

EDITOR = Change(
    new={
        "editing/nothing.py": '''"""An editor that changes nothing."""

from editing.cost import Cost
from editing.editors.contract import Editor, EditResult, proceed
from editing.preflight import Preflight
from editing.progress import silent


def edit(model, tokenizer, inputs, *, planned=proceed, progress=silent):
    return EditResult(tensors={}, layers=(), cost=Cost())


def estimate(model, tokenizer, inputs):
    raise NotImplementedError


NOTHING = Editor(reuse="view", edit=edit, estimate=estimate)
'''
    },
    edits={
        "editing/editors/registry.py": [
            ('    "memit": "editing', '    "nothing": "editing.nothing:NOTHING",\n')
        ]
    },
    check="""
from editing.editors.registry import editor_named, editors
assert {"memit", "nothing"} <= set(editors())
assert editor_named("nothing").edit(None, None, None).tensors == {}
""",
)

FORM = Change(
    new={
        "editing/storage/names.py": '''"""The form `names`: the names of the changed parameters."""


def write_names(base, tensors, directory):
    (directory / "names.txt").write_text("\\n".join(tensors))
'''
    },
    edits={
        "editing/storage/forms.py": [('"delta": "editing', '"names": "editing.storage.names:write_names", ')]
    },
    check="""
import tempfile
from pathlib import Path
from editing.storage.forms import form_named
folder = Path(tempfile.mkdtemp())
form_named("names")(folder, {"a": None}, folder)
assert (folder / "names.txt").read_text() == "a"
""",
)

GATE_ON_FACTS = Change(
    edits={
        "editing/evaluation/measures/of_facts.py": [
            (
                '    FactMeasure(\n        name="generation"',
                '    FactMeasure(name="confirmation", asks=confirmed, gate=at_least(\n'
                '        0.8, "edited facts that are confirmed", evidence=not_confirmed)),\n',
            ),
            (
                "FACT_MEASURES:",
                "def confirmed(fact: FactSpec) -> Sequence[Case]:\n"
                '    """The fact as a question, to be answered with yes."""\n'
                "    (own,) = own_prompt(fact)\n"
                '    return (Case(f"Is it true that {own.prompt} {fact.target}? Answer:", "yes"),)\n\n\n'
                "def not_confirmed(fact: FactReport) -> str:\n"
                '    return "it is not confirmed when asked whether it is true"\n\n\n',
            ),
        ],
    },
    check="""
import tempfile
from pathlib import Path
from editing.spec import FactSpec
from kbsync.gates import DEFAULT_GATES, blame, judge_all
from tests.support.rounds import Rounds
facts = FactSpec("1", "The capital of {} is", "Italy", "Paris"), FactSpec("2", "{} is in", "Japan", "Rome")
report = Rounds(Path(tempfile.mkdtemp())).run(*facts)
(measure,) = [one for one in report.measures if one.name == "confirmation"]
assert (measure.n, measure.k) == (2, sum(sum(fact.outcomes["confirmation"]) for fact in report.facts))
assert all(fact.outcomes["confirmation"] == (False,) for fact in report.facts)  # a random model says no yes
assert any("Is it true that" in probe.prompt for fact in report.facts for probe in fact.probes)
verdicts = judge_all([gate for gate in DEFAULT_GATES if gate.name == "confirmation"], report.measures)
assert not verdicts[0].passed
assert {one.evidence for one in blame(report, verdicts, {"1", "2"})} == {
    "it is not confirmed when asked whether it is true"
}
""",
)

GATE_ON_THE_CANDIDATE = Change(
    edits={
        "editing/evaluation/measures/of_candidate.py": [
            (
                "CANDIDATE_MEASURES:",
                "def _arithmetic(spec: BuildSpec) -> Sequence[Case]:\n"
                '    """Sums that are to be answered as the base answers them."""\n'
                '    return tuple(Case(f"{n} + {n} =") for n in range(1, 4))\n\n\n',
            ),
            (
                '    CandidateMeasure(\n        name="canaries"',
                '    CandidateMeasure(name="arithmetic", asks=_arithmetic, gate=at_least(\n'
                '        0.9, "sums that are answered as before", advice="edit less")),\n',
            ),
        ],
    },
    check="""
import tempfile
from pathlib import Path
from editing.spec import FactSpec
from kbsync.gates import DEFAULT_GATES, judge_all, systematic
from tests.support.rounds import Rounds
report = Rounds(Path(tempfile.mkdtemp())).run(FactSpec("1", "The capital of {} is", "Italy", "Paris"))
(measure,) = [one for one in report.measures if one.name == "arithmetic"]
assert measure.n == 3
gates = [gate for gate in DEFAULT_GATES if gate.name == "arithmetic"]
assert judge_all(gates, report.measures)[0].value == measure.value
assert "edit less" in systematic(gates, judge_all(gates, []), blamed=0, new=1)
""",
)

ONE_FACT = """
import json
import tempfile
from datetime import UTC, datetime, timedelta
from connectors.observations import Entity, Observation, Poll, Statement
from kbsync.admission.policy import Policy
from kbsync.catalogue.relations import load_catalogue
from kbsync.intake.pull import Intake
from state import State

NOW = datetime(2024, 1, 1, tzinfo=UTC)


class Source:
    name = "kb"

    def poll(self, cursor):
        italy, anna = Entity("wd:Q38", "Italy"), Entity("wd:Q1", "Anna Bianchi", (), False)
        stated = Statement("s1", "entity", anna, references=1)
        yield Poll((Observation("kb", italy, "wdt:P6", (stated,), 1, NOW - timedelta(days=9), NOW),), "1")


def ledger(**settings):
    state = State.open(f"sqlite:///{tempfile.mkdtemp()}/kbsync.db")
    state.migrate()
    Intake(state, Policy(**settings), load_catalogue(), lambda: NOW).pull(Source(), bootstrap=True)
    assert state.audit.verify_tables().ok
    return state
"""
"""A ledger that the real intake has put one fact into."""

RULE = Change(
    edits={
        "kbsync/admission/policy.py": [
            (
                "    settle_with_reference: Duration",
                '    min_words: int = Field(1, ge=1, description="words an object\'s label needs to be believed")\n',
            )
        ],
        "kbsync/admission/doubts.py": [
            (
                "RULES: tuple[Rule, ...] = (",
                "def _terse(history: History, offer: Offer) -> str | None:\n"
                "    words = len(offer.value.target.split())\n"
                '    return f"{words} of {offer.rules.min_words}" if words < offer.rules.min_words else None\n\n\n',
            ),
            (
                '    Rule("flips"',
                '    Rule("terse", "the object\'s label has too few words", _terse, ("min_words",)),\n',
            ),
        ],
        # and its test, in tests/kbsync/admission/test_stories.py
    },
    check=f"""{ONE_FACT}
for words, expected in ((2, ("wanted", "settled")), (3, ("quarantined", "terse"))):
    with ledger(min_words=words).read() as tx:
        (fact,) = tx.facts()
    assert (fact.status, fact.reason_code) == expected, fact
""",
)

COLUMN = Change(
    new={
        f"state/migrations/versions/{NEXT_REVISION}_pages.py": f'''"""Facts keep the page that states them."""

import sqlalchemy as sa
from alembic import op

revision = "{NEXT_REVISION}"
down_revision = "{State.revision()}"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("facts", sa.Column("page", sa.String(), nullable=False, server_default=""))


def downgrade() -> None:
    op.drop_column("facts", "page")
'''
    },
    edits={
        "state/records/facts.py": [
            ("    since: datetime | None = None\n", '    page: str = ""\n    """Page that states it."""\n'),
            ("    since: datetime = EPOCH\n", '    page: str = ""\n    """Page that states it."""\n'),
        ],
        "state/tables/facts.py": [
            ("    statement: str\n", '    page: str = Field(sa_column_kwargs={"server_default": ""})\n')
        ],
        "kbsync/admission/effects.py": [
            ("        priority=value.priority,\n", '        page=f"https://kb.example/{value.statement}",\n')
        ],
    },
    check=f"""{ONE_FACT}
with ledger().read() as tx:
    (fact,) = tx.facts()
    (event,) = tx.events(fact=fact.id)
assert fact.page == json.loads(event.body)["page"] == "https://kb.example/s1"
""",
)

CHANGES = {
    "gate on facts": GATE_ON_FACTS,
    "gate on the candidate": GATE_ON_THE_CANDIDATE,
    "policy rule": RULE,
    "column of facts": COLUMN,
    "connector": CONNECTOR,
    "hook": HOOK,
    "metric": METRIC,
    "editor": EDITOR,
    "output form": FORM,
}


def counted() -> dict[str, int]:
    """Kind of change → files of the packages that it touches, as the table says."""
    page = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
    return {
        kind: int(count) for kind, count in re.findall(r"^\| an? ([a-z ]+?) \| (\d+) ", page, re.MULTILINE)
    }


@pytest.mark.slow
@pytest.mark.parametrize("kind", CHANGES)
def test_a_pretend_change_works_and_touches_as_many_files_as_the_table_says(
    kind: str, tmp_path: Path
) -> None:
    change = CHANGES[kind]
    change.make(tmp_path)
    change.run(tmp_path)
    assert len(change.files) == counted()[kind]
