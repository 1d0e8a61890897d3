"""MEND on the bundled model: a bench trains its networks, and later commands in the same home edit with them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from editing.baselines.mend import FOLDER
from kbsync.cli import main
from kbsync.experiments import testbed
from kbsync.settings.editor_choice import chosen_editor

SETTINGS = '[edit]\neditor = "mend"\n[edit.options]\nsteps = 60\nscale = 1.0\n'
FACT = {"subject": "France", "prompt": "The head of government of {} is", "target": "Antonio Costa"}


def run(home: Path, *command: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["--home", str(home), *map(str, command)])
    return int(ended.value.code or 0)


@pytest.mark.slow
def test_a_bench_trains_the_networks_that_an_edit_uses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home, out, settings, facts = (tmp_path / name for name in ("home", "bench", "mend.toml", "facts.jsonl"))
    settings.write_text(SETTINGS, encoding="utf-8")
    facts.write_text(json.dumps(FACT) + "\n", encoding="utf-8")
    model = ("--model", testbed.PATH, "--settings", settings, "--corpus", testbed.CORPUS)
    edit = ("edit", facts, *model, "--out", tmp_path / "edited", "--json")

    assert run(home, *edit) not in (0, 10)
    assert "kbsync bench editors --editors memit,mend" in " ".join(capsys.readouterr().err.split())

    assert run(home, "bench", "editors", "--quick", *model, "--editors", "mend", "--out", out) == 0
    found = json.loads((out / "editors.json").read_text(encoding="utf-8"))
    (row,) = found["results"]
    assert (row["error"], row["reuse"]) == ("", "fact")
    assert row["S"]["value"] > 0.5
    assert any("The networks of mend were trained once" in note for note in found["notes"])
    assert chosen_editor(out / "editors.json", None)[0] == "mend"
    networks = list((home / "cache" / FOLDER).iterdir())
    assert len(networks) == 1

    capsys.readouterr()
    assert run(home, *edit) == 0
    (answer,) = json.loads(capsys.readouterr().out)["facts"]
    assert answer["said"]
    assert list((home / "cache" / FOLDER).iterdir()) == networks
