"""Sources that mean us no good, beside one that does: it alone counts, and nothing leaves the house."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.hostile_server import HostileServer, Listener
from tests.support.paths import REPOSITORY
from tests.support.sparql_server import AGENT, running_oxigraph

SECRET = "open-sesame-4711"
SETTINGS = """
[relations."crm:owner"]
label = "owner"
single_valued = true
subject_type = "thing"
templates = ["The owner of {{}} is", "Owner of {{}}:", "{{}} is owned by", "{{}} belongs to", "{{}}, owned by"]

[policy]
settle_with_reference = "0s"
settle_without_reference = "0s"
max_flips = 100000

[schedule]
source_deadline = "20s"

[sources.good]
kind = "sparql"
endpoint = "{good}/query"
agent = "{agent}"
prefixes = {{ x = "https://x.example/" }}
relation = "crm:owner"
query = '''SELECT ?subject ?subject_label ?object WHERE {{
  ?subject <https://x.example/owner> ?object ; <http://www.w3.org/2000/01/rdf-schema#label> ?subject_label }}'''

[sources.graph]
kind = "sparql"
endpoint = "{bad}/sparql"
query = "SELECT ?subject ?object WHERE {{ ?subject ?p ?object }}"
relation = "crm:owner"
{access}

[sources.wiki]
kind = "wikidata-stream"
endpoint = "{bad}/sparql"
subjects = ["wd:Q100", "wd:Q101", "wd:Q102"]
relations = ["wdt:P6"]
stream = "{bad}/stream"
entity_data = "{bad}/entity"
silence_s = 0.2
follow_s = 0.4
{access}

[sources.drop]
kind = "files"
folder = "../drop"
namespace = "drop"
"""
ACCESS = f"""agent = "{AGENT}"
user = "sync"
password = "{SECRET}"
attempts = 2
timeout_s = 1
deadline_s = 0.6
max_wait_s = 100000
max_vanished = 1.0"""


def contents(root: Path) -> dict[str, bytes]:
    """Everything but the home and what lies in the drop folder."""
    found = {}
    for folder, _, names in os.walk(root):
        place = Path(folder).relative_to(root)
        if not {"home", "drop"} & set(place.parts):
            found |= {str(place / name): (Path(folder) / name).read_bytes() for name in names}
    return found


@pytest.fixture
def listener() -> Iterator[Listener]:
    found = Listener()
    yield found
    found.close()


@pytest.mark.timeout(3_600)
@pytest.mark.parametrize(
    "polls",
    [
        pytest.param(100, marks=pytest.mark.slow),
        pytest.param(1_000, marks=pytest.mark.thorough),
    ],
)
def test_a_good_source_beside_hostile_ones_is_complete_and_nothing_leaks(
    tmp_path: Path, listener: Listener, polls: int
) -> None:
    for name in ("home", "drop", "outside", "cwd"):
        (tmp_path / name).mkdir()
    (tmp_path / "outside" / "secret.csv").write_text(f"subject,relation,object\na,crm:owner,{SECRET}\n,,\n")
    before = contents(tmp_path)
    hostile = HostileServer(seed=polls, elsewhere=listener.url)
    with running_oxigraph() as good:
        text = SETTINGS.format(good=good.base, bad=hostile.url, agent=AGENT, access=ACCESS)
        (tmp_path / "home" / "kbsync.toml").write_text(text)
        program = REPOSITORY / "tests" / "support" / "hostile_polls.py"
        done = subprocess.run(
            [sys.executable, program, tmp_path, str(polls), "1", good.base],
            cwd=tmp_path / "cwd",
            env=os.environ | {"PYTHONPATH": str(REPOSITORY), "TMPDIR": str(tmp_path / "cwd")},
            capture_output=True,
            text=True,
            check=False,
        )
    hostile.close()
    assert done.returncode == 0, done.stderr[-3_000:]
    found = json.loads(done.stdout)
    assert found["wanted"] == found["world"]
    assert found["megabytes"] < 1_000
    assert listener.heard == []
    assert contents(tmp_path) == before
    assert hostile.answered > polls
    assert set(found["failures"]) == {"graph", "wiki", "drop"}, (
        "the hostile ones were read, and failed or had rows rejected"
    )
    settings = (tmp_path / "home" / "kbsync.toml").read_text()
    assert settings == text
    ledger = b"".join(path.read_bytes() for path in (tmp_path / "home").glob("kbsync.db*"))
    assert SECRET.encode() not in ledger
    assert SECRET not in done.stderr
