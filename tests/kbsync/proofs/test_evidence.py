"""A proof file shows what happened, to somebody who has the public key and nothing of kbsync."""

from __future__ import annotations

import copy
import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature

from state.notes import PublicKey
from tests.support.paths import REPOSITORY
from tests.support.proven import kbsync

CHECKER = REPOSITORY / "kbsync" / "proofs" / "verify_proof.py"
NOT_PROVEN = {"says", "step", "made", "key", "fact", "id"}
"""Parts that are there for people: the checker neither uses nor prints them (`id` only where it is a number)."""


def checker() -> Any:
    spec = importlib.util.spec_from_file_location("verify_proof", CHECKER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def proof(home: Path, *arguments: object) -> dict[str, Any]:
    assert kbsync(home, "prove", *arguments, "--out", home / "proof.json") == 0
    return json.loads((home / "proof.json").read_text())


def test_the_way_of_a_fact_is_proven_offline(home: Path, tmp_path: Path) -> None:
    found = proof(home, "fact", 1)
    key = tmp_path / "key.pub"
    key.write_text(f"{found['key']}\n")
    for given in (found["key"], str(key)):
        done = subprocess.run(
            [sys.executable, "-I", str(CHECKER), str(home / "proof.json"), "--key", given],
            capture_output=True,
            text=True,
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stderr
        kinds = [line.split(": ")[1].partition(",")[0] for line in done.stdout.splitlines()[1:-2]]
        assert kinds[:2] == ["fact.wanted", "run.planned"]
        assert {"run.gates", "checkpoint.created", "checkpoint.promoted", "deployment.deployed"} <= set(kinds)
        assert done.stdout.splitlines()[-1].endswith(
            "it was built with: The head of government of Label of wd:Q1 is Label of wd:Q1"
        )


@pytest.mark.parametrize(
    "arguments",
    [
        ("fact", 3),
        ("fact", 1, "--checkpoint", 1),
        ("run", 1),
        ("checkpoint", 2),
        ("fact", 3, "--absent", "--checkpoint", 1),
        ("subject", "wd:Q9", "--absent"),
    ],
)
def test_every_kind_of_proof_holds(home: Path, arguments: tuple[object, ...]) -> None:
    found = proof(home, *arguments)
    lines = checker().check(found, found["key"])
    if "--absent" in arguments:
        assert "it was built without: wd:Q" in lines[-1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("fact", 3, "--checkpoint", 1), "was not built with fact 3"),
        (("fact", 1, "--absent"), "was built with wd:Q1 wdt:P6 wd:Q1"),
        (("subject", "wd:Q1", "--absent"), "was built with wd:Q1"),
        (("fact", 9), "there is no fact 9"),
        (("checkpoint", "x"), "is not a number"),
        (("run", 9), "the log has nothing of run 9"),
        (("pony", 1), "'pony' cannot be proven"),
    ],
)
def test_what_is_not_so_is_not_proven(
    home: Path, capfd: pytest.CaptureFixture[str], arguments: tuple[object, ...], said: str
) -> None:
    assert kbsync(home, "prove", *arguments, "--out", home / "proof.json") == 2
    assert said in capfd.readouterr().err
    assert not (home / "proof.json").exists()


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every string and number that a proof consists of."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, item in items:
        yield from places(item, (*path, name))
    if not items and value is not None and not isinstance(value, dict | list):
        yield path


def other(value: Any, place: int) -> Any:
    if not isinstance(value, str):
        return value + 1
    at = place % max(len(value) - 4, 1)  # the last bits of base64 text mean nothing
    return value[:at] + ("A" if value[at : at + 1] != "A" else "B") + value[at + 1 :]


@pytest.mark.parametrize("arguments", [("fact", 2), ("fact", 3, "--absent", "--checkpoint", 1)])
def test_a_proof_with_anything_changed_proves_nothing(home: Path, arguments: tuple[object, ...]) -> None:
    found, check = proof(home, *arguments), checker().check
    key, tried = found["key"], 0
    check(found, key)
    for number, path in enumerate(places(found)):
        if NOT_PROVEN & {part for part in path if path[-2:-1] != ("event",)} or path[0] == "about":
            continue
        if (
            "names" in path
        ):  # what is between the same neighbours is absent, too, and the checker says what that is
            continue
        changed = copy.deepcopy(found)
        holder = changed
        for part in path[:-1]:
            holder = holder[part]
        holder[path[-1]] = other(holder[path[-1]], number * 7)
        try:
            check(changed, key)
        except (ValueError, InvalidSignature, KeyError, TypeError):
            tried += 1
        else:
            pytest.fail(f"{path} does not count: {holder[path[-1]]!r}")
    assert tried > 50


def test_a_proof_under_another_key_is_refused(home: Path) -> None:
    found = proof(home, "fact", 1)
    other_key = PublicKey(PublicKey.parse(found["key"]).name, bytes(32))
    with pytest.raises((ValueError, InvalidSignature)):
        checker().check(found, str(other_key))


def test_a_step_that_was_left_out_is_missed(home: Path) -> None:
    found = proof(home, "fact", 1)
    for kind in ("run.gates", "checkpoint.promoted", "fact.wanted"):
        changed = copy.deepcopy(found)
        changed["steps"] = [step for step in changed["steps"] if step["event"]["kind"] != kind]
        with pytest.raises(ValueError, match="no "):
            checker().check(changed, found["key"])


def test_the_checker_is_short_and_needs_nothing_of_kbsync() -> None:
    text = CHECKER.read_text(encoding="utf-8")
    assert len(text.splitlines()) < 150
    assert "kbsync" not in [
        line.split()[1].partition(".")[0] for line in text.splitlines() if line.startswith(("import", "from"))
    ]
