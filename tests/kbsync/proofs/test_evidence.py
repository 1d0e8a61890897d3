"""A proof file shows what happened, to somebody who has the public key and nothing of kbsync."""

from __future__ import annotations

import base64
import copy
import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from hypothesis import given
from hypothesis import strategies as st

from state.hash_chain import canonical
from state.notes import PublicKey, SigningKey
from tests.support.paths import REPOSITORY
from tests.support.properties import drawing, editions
from tests.support.proven import kbsync

CHECKER = REPOSITORY / "kbsync" / "proofs" / "verify_proof.py"


@cache
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
    for named in (found["key"], str(key)):
        done = subprocess.run(
            [sys.executable, "-I", str(CHECKER), str(home / "proof.json"), "--key", named],
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


def refusal(text: str, key: str, file: Path) -> str:
    """What the checker says of a file that it must not accept."""
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    main = checker().main
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["verify_proof.py", str(file), "--key", key])
        with pytest.raises(SystemExit) as ended:
            main()
    assert str(ended.value.code).startswith("WRONG: ")
    assert len(str(ended.value.code)) > len("WRONG: ValueError: ")
    return str(ended.value.code)


OTHER = {"kind": "subject", "id": "wd:Q8", "checkpoint": 2, "absent": True}
PROOFS = [
    ("fact", 2),
    ("run", 1),
    ("checkpoint", 2),
    ("fact", 3, "--absent", "--checkpoint", 1),
    ("subject", "wd:Q9", "--absent"),
]


@pytest.mark.parametrize("arguments", PROOFS)
@editions(quick=60)
def test_a_proof_with_a_byte_changed_is_refused(
    home: Path, arguments: tuple[object, ...], examples: int
) -> None:
    """Whatever byte it is: of a hash, of what is there for people, or of the white space between."""
    found = proof(home, *arguments)
    text = (home / "proof.json").read_text()

    @drawing(examples)
    @given(
        st.integers(0, len(text) - 1),
        st.characters(exclude_categories=()),
        st.sampled_from(["change", "add", "cut", "end"]),
    )
    def holds(at: int, character: str, how: str) -> None:
        rest = {"change": text[at + 1 :], "add": text[at:], "cut": text[at + 1 :], "end": ""}[how]
        changed = text[:at] + ("" if how in ("cut", "end") else character) + rest
        if changed != text:
            refusal(changed, found["key"], home / "changed.json")

    holds()


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of everything that a proof consists of."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, item in items:
        yield (*path, name)
        yield from places(item, (*path, name))


@pytest.mark.parametrize("arguments", PROOFS)
@editions(quick=60)
def test_a_proof_with_a_value_changed_is_refused(
    home: Path, arguments: tuple[object, ...], examples: int
) -> None:
    """Another value, of any type; none; one of elsewhere in the file; one more or one less in a list."""
    found = proof(home, *arguments)
    paths = list(places(found))

    @drawing(examples)
    @given(
        st.sampled_from(paths),
        st.sampled_from(["value", "remove", "move", "double"]),
        VALUES,
        st.sampled_from(paths),
    )
    def holds(path: tuple[Any, ...], how: str, value: Any, from_: tuple[Any, ...]) -> None:
        changed = copy.deepcopy(found)
        holder, name = at(changed, path[:-1]), path[-1]
        match how:
            case "remove":
                del holder[name]
            case "double" if isinstance(holder, list):
                holder.insert(name, holder[name])
            case "move":
                holder[name] = copy.deepcopy(at(found, from_))
            case _:
                holder[name] = value
        if changed != found:
            refusal(written(changed).decode("utf-8", "surrogatepass"), found["key"], home / "changed.json")

    holds()


def at(value: Any, path: tuple[Any, ...]) -> Any:
    for part in path:
        value = value[part]
    return value


def written(file: Any) -> bytes:
    return json.dumps(file, ensure_ascii=False, indent=1).encode("utf-8", "surrogatepass") + b"\n"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "{}",
        "[" * 100_000,
        '{"format": "kbsync-proof/1"}',
        "\ufeff{}",
        '{"format": ' + "9" * 5_000 + "}",
        "\ud800",
    ],
)
def test_what_is_no_proof_file_is_refused_with_a_reason(home: Path, text: str) -> None:
    refusal(text, proof(home, "run", 1)["key"], home / "changed.json")


@pytest.mark.parametrize(
    ("arguments", "change", "said"),
    [
        (("fact", 1), {"about": {"kind": "fact", "id": "2", "checkpoint": 2}}, "the view is about another fact"),
        (("fact", 1), {"about": {"kind": "run", "id": "1", "checkpoint": None}}, "is proven in another way"),
        (("run", 1), {"about": {"kind": "run", "id": "2", "checkpoint": None}}, "an event is of another run"),
        (("checkpoint", 2), {"about": {"kind": "checkpoint", "id": "1", "checkpoint": 1}}, "no event promotes"),
        (("subject", "wd:Q9", "--absent"), {"about": OTHER}, "the view is about another subject"),
    ],
)  # fmt: skip
def test_an_operator_cannot_sign_a_file_that_shows_something_else(
    home: Path, arguments: tuple[object, ...], change: dict[str, Any], said: str
) -> None:
    """Whoever has the key signs what they like, but what the file is about has to be what is in it."""
    found = {**proof(home, *arguments), **change}
    found.pop("signature")
    (file,) = (home / "keys").glob("*")
    signer = SigningKey(PublicKey.parse(found["key"]).name, load_pem_private_key(file.read_bytes(), None))
    signature = signer.public.id + signer.signature(canonical(found))
    changed = {**found, "signature": base64.b64encode(signature).decode()}
    assert said in refusal(written(changed).decode(), found["key"], home / "changed.json")


def test_a_proof_under_another_key_is_refused(home: Path) -> None:
    found = proof(home, "fact", 1)
    other_key = PublicKey(PublicKey.parse(found["key"]).name, bytes(32))
    with pytest.raises(ValueError, match=r"no ed25519 key|has not signed"):
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
