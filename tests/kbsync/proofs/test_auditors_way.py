"""The page's walk-through, followed command by command, from the bundle alone on a Python without kbsync."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from editing.spec import BuildReport, Cost, Measure
from kbsync.home import Home
from state.notes import SigningKey
from tests.support.paths import REPOSITORY
from tests.support.proven import kbsync

PAGE = (REPOSITORY / "docs" / "proofs.md").read_text(encoding="utf-8")
NEEDED = ("cryptography", "cffi", "_cffi_backend*", "pycparser", "typing_extensions.py")


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python that has `cryptography` and nothing else."""
    place = tmp_path_factory.mktemp("auditor") / "venv"
    venv.create(place, with_pip=False, symlinks=True)
    (site,) = place.glob("lib/python*/site-packages")
    for pattern in NEEDED:
        for found in Path(sysconfig.get_path("platlib")).glob(pattern):
            (site / found.name).symlink_to(found)
    python = place / "bin" / "python"
    for name, there in (("cryptography", True), ("kbsync", False), ("sqlalchemy", False)):
        assert (run(python, place, "-c", f"import {name}").returncode == 0) is there
    return python


def run(python: Path, where: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(python), *arguments], cwd=where, env={}, capture_output=True, text=True, check=False
    )


def test_the_bundle_is_enough(home: Path, tmp_path: Path, python: Path) -> None:
    report = Home(home).round(1, 1).prepare().report
    BuildReport("1-1", "b", "1-1", "d", (), (Measure("efficacy", 1.0, 2, 2),), Cost(), {}).write(report)
    (home / "kbsync.toml").write_text(f"[state]\nwitnesses = ['{tmp_path}/witness.jsonl']\n")
    assert kbsync(home, "audit", "anchor") == 0
    assert kbsync(home, "audit", "bundle", "--fact", 1, "--out", tmp_path / "fact-1.zip") == 0
    key = subprocess.run(
        [sys.executable, "-m", "kbsync", "--home", str(home), "keys", "show"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    home.rename(tmp_path / "far away")

    auditor = tmp_path / "auditor"
    with zipfile.ZipFile(tmp_path / "fact-1.zip") as archive:  # 1
        archive.extractall(auditor)
    lines = len((auditor / "verify_proof.py").read_text().splitlines())
    assert lines < 150
    assert set(re.findall(r"(\d+) lines", PAGE)) == {str(lines)}

    section = PAGE.partition("### An auditor's way")[2].partition("\n## ")[0]  # 2
    command = re.search(r"`python (verify_proof\.py) (proof\.json) --key (KEY)`", section)
    assert command is not None
    proofs = sorted(auditor.glob("proof*.json"))
    assert [one.name for one in proofs] == ["proof-live.json", "proof.json"]
    for proof in proofs:
        done = run(python, auditor, command[1], proof.name, "--key", key)
        assert done.returncode == 0, done.stderr
        events = [step["event"] for step in json.loads(proof.read_text())["steps"]]
        assert all(f"event {event['seq']}, " in done.stdout for event in events)

    head = json.loads((auditor / "proof.json").read_text())["head"].splitlines()[:3]  # 3
    (witnessed,) = (
        json.loads(line)["note"] for line in (tmp_path / "witness.jsonl").read_text().splitlines()
    )
    assert head == witnessed.splitlines()[:3]
    (kept,) = auditor.glob("witnesses/*.json")
    assert json.loads(kept.read_text())["heads"][0]["note"] == witnessed

    (found,) = auditor.glob("runs/*/round-1/report.json")  # 4
    named = (auditor / "index.html").read_text()
    assert hashlib.sha256(found.read_bytes()).hexdigest() in named

    changed = (auditor / "proof.json").read_text().replace('"seq": ', '"seq": 1', 1)
    (auditor / "proof.json").write_text(changed)
    done = run(python, auditor, "verify_proof.py", "proof.json", "--key", key)
    assert done.returncode == 1
    assert done.stderr.startswith("WRONG: ")
    assert "Traceback" not in done.stderr


def test_whatever_is_no_proof_ends_with_one_sentence(
    home: Path, tmp_path: Path, python: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert kbsync(home, "prove", "fact", 1, "--out", tmp_path / "proof.json") == 0
    capfd.readouterr()
    assert kbsync(home, "keys", "show") == 0
    key = capfd.readouterr().out.strip()
    proof = (tmp_path / "proof.json").read_bytes()
    other = str(SigningKey("other", Ed25519PrivateKey.from_private_bytes(b"o" * 32)).public)
    checker = str(REPOSITORY / "kbsync" / "proofs" / "verify_proof.py")
    assert run(python, tmp_path, checker, "proof.json", "--key", key).returncode == 0
    (tmp_path / "key.txt").write_text(f"{key}\n")
    assert run(python, tmp_path, checker, "proof.json", "--key", "key.txt").returncode == 0
    wrong = {
        "cut off": (proof[:-100], key, "JSONDecodeError"),
        "empty": (b"", key, "JSONDecodeError: Expecting value"),
        "no JSON": (b"hello", key, "JSONDecodeError"),
        "no text": (b"\xff\xfe\x00", key, "UnicodeDecodeError"),
        "a list": (b"[]", key, "not a kbsync-proof/1"),
        "an object": (b"{}", key, "not a kbsync-proof/1"),
        "signed by another key": (proof, other, "this key has not signed the head"),
        "with a key that is none": (proof, key.replace("+", "+0", 1), "no ed25519 key"),
        "with a key's file that is missing": (proof, "missing.txt", "FileNotFoundError"),
        "written in another way": (json.dumps(json.loads(proof)).encode(), key, "not written as kbsync"),
    }
    for what, (content, given, sentence) in wrong.items():
        (tmp_path / "wrong.json").write_bytes(content)
        done = run(python, tmp_path, checker, "wrong.json", "--key", given)
        assert (done.returncode, done.stdout) == (1, ""), what
        assert done.stderr.startswith("WRONG: "), (what, done.stderr)
        assert sentence in done.stderr, (what, done.stderr)
        assert len(done.stderr.splitlines()) == 1, what
    done = run(python, tmp_path, checker, "nowhere.json", "--key", key)
    assert (done.returncode, "FileNotFoundError" in done.stderr) == (1, True)
    assert run(python, tmp_path, checker, "proof.json").returncode == 2, "--key is missing"
