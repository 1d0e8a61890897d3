"""What `sources`, `status` and `config check` say of sources, in the settings and out of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import sqlalchemy as sa

from kbsync.cli import main
from kbsync.service.reading import pull
from tests.support.micro import TEMPLATES, Micro, make

FACTS = {"Blue House": "Anna", "Red Boat": "Bob"}


@pytest.fixture
def micro(tmp_path: Path) -> Micro:
    micro = make(tmp_path)
    micro.say(FACTS)
    with micro.application() as app:
        pull(app, bootstrap=True)
    return micro


def kbsync(micro: Micro, *arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--home", str(micro.home.root)])
    return int(ended.value.code or 0)


def rename_in_settings(micro: Micro, old: str, new: str) -> None:
    text = micro.home.config.read_text(encoding="utf-8")
    micro.home.config.write_text(text.replace(old, new), encoding="utf-8")


def shown(capsys: pytest.CaptureFixture[str]) -> str:
    out, err = capsys.readouterr()
    return " ".join(f"{out} {err}".split())


def test_a_source_says_when_it_was_read_and_what_it_states(
    micro: Micro, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kbsync(micro, "sources", "--json") == 0
    (one,) = json.loads(capsys.readouterr().out)
    assert (one["name"], one["kind"], one["slots"], one["failures"]) == ("crm", "files", 2, 0)
    assert one["last_success"] == micro.now.isoformat()
    assert one["facts"] == {"wanted": 2}
    assert kbsync(micro, "status") == 0
    assert "last read" in shown(capsys)


def test_a_source_in_trouble_says_so_everywhere(micro: Micro, capsys: pytest.CaptureFixture[str]) -> None:
    micro.drop.rename(micro.drop.with_name("elsewhere"))
    with micro.application() as app:
        pull(app)
        pull(app)
    assert kbsync(micro, "sources", "--json") == 0
    (one,) = json.loads(capsys.readouterr().out)
    assert one["failures"] == 2
    assert "drop" in one["last_error"]
    assert one["asked_again"] > one["last_failure"]
    for command in ("status", "sources"):
        assert kbsync(micro, command) == 0
        assert "drop" in shown(capsys)


@pytest.mark.parametrize("command", ["status", "sources", "config"])
def test_a_source_that_left_the_settings_is_named_with_its_counts(
    micro: Micro, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    rename_in_settings(micro, "[sources.crm]", "[sources.erp]")
    assert kbsync(micro, *([command, "check"] if command == "config" else [command])) == 0
    said = shown(capsys)
    assert "2 slots and 2 facts of it still count" in said
    assert "kbsync sources forget crm" in said
    assert "kbsync sources rename crm NEW" in said


@pytest.mark.parametrize("command", ["status", "sources", "config"])
def test_a_namespace_that_left_the_settings_is_named_with_its_counts(
    micro: Micro, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    rename_in_settings(micro, "namespace = 'crm'", "namespace = 'erp'")
    assert kbsync(micro, *([command, "check"] if command == "config" else [command])) == 0
    assert "2 slots of `crm:`, which its settings do not name" in shown(capsys)


def test_forget_and_rename_are_commands_with_a_reason(
    micro: Micro, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kbsync(micro, "sources", "forget", "crm", "--reason", "gone") == 2
    assert "take [sources.crm] out of the settings" in shown(capsys)
    rename_in_settings(micro, "[sources.crm]", "[sources.erp]")
    assert kbsync(micro, "sources", "forget", "nobody", "--reason", "gone") == 2
    assert kbsync(micro, "sources", "rename", "crm", "other", "--reason", "renamed") == 2
    assert kbsync(micro, "sources", "rename", "crm", "erp", "--reason", "renamed") == 0
    assert "crm is erp now, in 2 slots and 2 facts" in shown(capsys)
    assert kbsync(micro, "sources", "--json") == 0
    (one,) = json.loads(capsys.readouterr().out)
    assert (one["name"], one["slots"], one["facts"]) == ("erp", 2, {"wanted": 2})
    rename_in_settings(micro, "[sources.erp]", "[sources.other]")
    assert kbsync(micro, "sources", "forget", "erp", "--reason", "switched off") == 0
    assert "forgotten in 2 slots, with which 2 facts changed" in shown(capsys)
    with micro.application() as app, app.state.read() as tx:
        assert {fact.reason_code for fact in tx.facts()} == {"forgotten"}
        assert [event.kind for event in tx.events(kind="source.*")] == ["source.renamed", "source.forgotten"]
        assert app.state.audit.verify().ok


def test_a_source_is_rewound_by_a_command_with_a_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    micro = make(tmp_path)
    database = f"sqlite:///{tmp_path / 'crm.db'}"
    engine = sa.create_engine(database)
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE owners (subject TEXT, object TEXT)"))
        connection.execute(sa.text("INSERT INTO owners VALUES ('1', 'Ann'), ('2', 'Bob')"))
    engine.dispose()
    settings = f"\n[sources.owners]\nkind = 'sql'\nurl = '{database}'\ntable = 'owners'\n"
    settings += "namespace = 'crm'\nrelation = 'crm:owner'\n"
    micro.home.config.write_text(micro.home.config.read_text(encoding="utf-8") + settings, encoding="utf-8")
    with micro.application() as app:
        first, _ = pull(app, asked=False)
        again, _ = pull(app, asked=False)
    assert (first["owners"].observations, again["owners"].observations) == (2, 0)
    assert kbsync(micro, "sources", "rewind", "crm", "--reason", "lost") == 2
    assert "cannot be rewound" in shown(capsys)
    assert kbsync(micro, "sources", "rewind", "nobody", "--reason", "lost") == 2
    capsys.readouterr()
    assert kbsync(micro, "sources", "rewind", "owners", "--to", "2026-01-01", "--reason", "lost") == 0
    assert "owners: the next poll reads what changed since 2026-01-01T00:00:00+00:00 again" in shown(capsys)
    with micro.application() as app:
        reports, _ = pull(app, asked=False)
        with app.state.read() as tx:
            (event,) = tx.events(kind="source.rewound")
    assert (reports["owners"].observations, reports["owners"].new) == (2, 0)
    assert json.loads(event.body)["reason"] == "lost"


def test_config_check_neither_makes_nor_migrates_a_ledger(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    micro = make(tmp_path)
    assert kbsync(micro, "config", "check") == 0
    assert not micro.home.database.exists()


def test_a_first_sync_that_trips_the_breaker_says_exactly_what_to_type(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    micro = make(tmp_path)
    text = micro.home.config.read_text(encoding="utf-8")
    micro.home.config.write_text(text.replace("[policy]", "[policy]\nmax_accepted = 1"), encoding="utf-8")
    micro.say(FACTS)
    with micro.application() as app:
        reports, _ = pull(app, asked=False)
    assert reports["crm"].stopped == 1
    assert kbsync(micro, "status") == 0
    said = shown(capsys)
    assert "the volume breaker stopped 1 facts" in said
    assert "`kbsync sync --bootstrap`" in said
    with micro.application() as app:
        pull(app, bootstrap=True)
        with app.state.read() as tx:
            assert len(tx.wanted()) == len(FACTS)


def test_config_check_compares_wordings_across_relations(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    micro = make(tmp_path)
    text = micro.home.config.read_text(encoding="utf-8")
    seat = "[relations.'crm:seat']\nlabel = 'seat'\ntemplates = ['The seat of {} is', %r]\n"
    micro.home.config.write_text(f"{text}\n{seat % TEMPLATES[1]}", encoding="utf-8")
    assert kbsync(micro, "config", "check") == 0
    assert "are both judged by" in shown(capsys)
    micro.home.config.write_text(f"{text}\n{seat % TEMPLATES[0]}", encoding="utf-8")
    assert kbsync(micro, "config", "check") == 78
    said = shown(capsys)
    assert "crm:owner is edited with" in said
    assert "crm:seat has too" in said
