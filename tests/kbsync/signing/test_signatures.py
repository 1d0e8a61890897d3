"""A checkpoint, its delta and its adapter are signed before they go live, and every change of them is found."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from editing.storage.manifest import read_manifest
from tests.support.fault_world import World
from tests.support.micro import Micro
from tests.support.signed import kbsync, model_signing, public_key


def live(micro: Micro) -> Path:
    return micro.home.live.resolve()


@pytest.mark.parametrize("form", [".", "delta", "adapter"])
def test_the_model_signing_tool_itself_verifies_each_form(micro: Micro, tmp_path: Path, form: str) -> None:
    key = public_key(micro, tmp_path / "key.pem")
    copied = tmp_path / "elsewhere"
    shutil.copytree(live(micro) / form, copied)
    done = model_signing(copied, key)
    assert (done.returncode, done.stdout) == (0, "Verification succeeded\n"), done.stderr
    flip(next(copied.glob("*e*.safetensors")))
    assert model_signing(copied, key).returncode != 0


def test_an_adapter_that_travels_alone_is_signed_and_verified(micro: Micro, tmp_path: Path) -> None:
    copied, key = tmp_path / "adapter", public_key(micro, tmp_path / "key.pem")
    shutil.copytree(live(micro) / "adapter", copied)
    assert model_signing(copied, key).returncode == 0
    code, out, _ = kbsync(Micro(tmp_path / "nobody"), "verify", copied, "--key", key, "--json")
    found = json.loads(out)
    assert (code, found["kind"], found["tensors"], found["problems"]) == (0, "adapter", 4, [])
    flip(copied / "adapter_model.safetensors")
    assert kbsync(micro, "verify", copied)[0] == 65
    assert kbsync(micro, "verify")[0] == 0


@pytest.mark.slow
def test_killed_between_bill_and_signature_the_restart_signs_before_anything_goes_live(
    micro: Micro, tmp_path: Path
) -> None:
    world = World(micro.root, micro.now + timedelta(minutes=1))
    before = live(micro)
    world.say({"Green Barn": "Anna"})
    life = world.start(crash="kbsync.signing:after-bills")
    assert life.wait() == -signal.SIGKILL, life.outcome
    assert live(micro) == before
    (staged,) = (one for one in world.home.checkpoints.glob("2-*") if one.is_dir())
    assert (staged / "bom.cdx.json").is_file()
    assert not list(staged.rglob("model.sig"))
    world.live_through()
    assert live(micro) == staged
    key = public_key(micro, tmp_path / "key.pem")
    for form in (staged, staged / "delta", staged / "adapter"):
        assert model_signing(form, key).returncode == 0
    assert kbsync(micro, "verify")[0] == 0


def test_the_manifest_says_how_the_adapter_differs_from_what_was_judged(micro: Micro) -> None:
    figures = read_manifest(live(micro)).forms["adapter"]
    assert figures["relative_error"] < 1e-3
    assert figures["rank"] >= figures["needed_rank"] >= 1
    assert figures["prompts"] == 2
    assert figures["same_next_token"] == 1.0
    assert 0 <= figures["max_logit_difference"] < 0.01


def test_verify_accepts_what_is_live_and_a_copied_delta(micro: Micro, tmp_path: Path) -> None:
    code, out, _ = kbsync(micro, "verify", "--json")
    found = json.loads(out)
    assert (code, found["ok"], found["kind"], found["problems"]) == (0, True, "checkpoint", [])
    assert found["tensors"] == 3  # W_out of each block, two of which an edit changed
    key = public_key(micro, tmp_path / "key.pem")
    copied = tmp_path / "delta"
    shutil.copytree(live(micro) / "delta", copied)
    code, out, _ = kbsync(Micro(tmp_path / "nobody"), "verify", copied, "--key", key, "--json")
    assert (code, json.loads(out)["kind"], json.loads(out)["tensors"]) == (0, "delta", 2)


def flip(path: Path) -> None:
    """Change the last byte, of a file that belongs to this checkpoint alone."""
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def rename(path: Path) -> None:
    path.rename(path.with_name("renamed.bin"))


def into_link(path: Path) -> None:
    moved = path.parent.parent.parent / "moved"
    path.rename(moved)
    path.symlink_to(moved)


TAMPERED: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "a tensor": ("editable.safetensors", flip, "editable.safetensors: transformer.h"),
    "a small file": ("config.json", flip, "config.json"),
    "the manifest": ("kbsync.json", flip, "kbsync.json"),
    "the bill": ("bom.cdx.json", flip, "bom.cdx.json"),
    "the signature": ("model.sig", flip, "model.sig"),
    "a delta": ("delta/delta.safetensors", flip, "delta/delta.safetensors"),
    "a delta's signature": ("delta/model.sig", flip, "delta/model.sig"),
    "a missing file": ("config.json", Path.unlink, "config.json"),
    "a missing signature": ("model.sig", Path.unlink, "model.sig"),
    "a missing bill": ("bom.cdx.json", Path.unlink, "bom.cdx.json"),
    "a renamed file": ("config.json", rename, "renamed to renamed.bin"),
    "an extra file": ("notes.txt", lambda path: path.write_text("hello"), "notes.txt"),
    "a hidden extra file": (".gitattributes", lambda path: path.write_text("hello"), ".gitattributes"),
    "an extra file in a form": ("delta/x.bin", lambda path: path.write_text("hello"), "delta/x.bin"),
    "a link": ("config.json", into_link, "symbolic link"),
    "a link to a directory": ("more", lambda path: path.symlink_to("/tmp"), "symbolic link"),
    "a pipe": ("pipe", lambda path: os.mkfifo(path), "not a regular file"),
}


@pytest.mark.parametrize("what", TAMPERED)
def test_verify_names_what_was_tampered_with(micro: Micro, what: str) -> None:
    name, change, expected = TAMPERED[what]
    change(live(micro) / name)
    code, out, err = kbsync(micro, "verify", "--json")
    found = json.loads(out)
    assert (code, found["ok"]) == (65, False), err
    assert expected in " ".join(f"{one['name']}: {one['what']}" for one in found["problems"])
    code, out, _ = kbsync(micro, "verify")
    assert (code, name.partition("/")[0] in out.replace("\n", "")) == (65, True)


def test_hostile_signatures_and_bills_are_problems_and_not_crashes(micro: Micro) -> None:
    directory = live(micro)
    for name in ("model.sig", "bom.cdx.json"):
        honest = (directory / name).read_bytes()
        bodies = [b"", b"\xff\xfe", b"[]", b"{}", b"null", b"[" * 100_000, b'{"metadata":{"component":[]}}']
        bodies += [b'{"verificationMaterial":{"publicKey":{"hint":7}}}', honest.replace(b'"', b"'", 1)]
        if name == "model.sig":
            changed = json.loads(honest)
            for part in ("payload", "signatures", "payloadType"):
                altered = {**changed, "dsseEnvelope": {**changed["dsseEnvelope"], part: ["x"]}}
                bodies.append(json.dumps(altered).encode())
        for body in bodies:
            (directory / name).unlink()
            (directory / name).write_bytes(body)
            code, out, err = kbsync(micro, "verify", "--json")
            assert (code, json.loads(out)["ok"]) == (65, False), (body[:60], err)
        (directory / name).unlink()
        (directory / name).write_bytes(honest)
    assert kbsync(micro, "verify")[0] == 0


def test_a_signature_of_another_key_is_refused(micro: Micro, template: Micro, tmp_path: Path) -> None:
    other = template.copy(tmp_path / "other")
    for name, reason in (("first", "lost"),):
        assert kbsync(other, "keys", "revoke", name, "--for", "models", "--reason", reason)[0] == 0
    assert kbsync(other, "keys", "create", "--for", "models", "--name", "second")[0] == 0
    strange = public_key(other, tmp_path / "strange.pem")
    code, out, _ = kbsync(micro, "verify", "--key", strange, "--json")
    assert code == 65
    assert "not trusted" in json.loads(out)["problems"][0]["what"]
    own = public_key(micro, tmp_path / "own.pem")
    assert kbsync(micro, "verify", "--key", strange, "--key", own)[0] == 0


def test_the_signature_of_another_checkpoint_is_refused(micro: Micro) -> None:
    directory = live(micro)
    (directory / "model.sig").unlink()
    shutil.copy(directory / "delta" / "model.sig", directory / "model.sig")
    code, out, _ = kbsync(micro, "verify", "--json")
    assert code == 65
    assert any("was not signed" in one["what"] for one in json.loads(out)["problems"])


def test_rotation_keeps_signatures_and_revocation_ends_them(micro: Micro) -> None:
    before = (live(micro) / "model.sig").read_bytes()
    assert kbsync(micro, "keys", "rotate", "--for", "models", "--name", "second")[0] == 0
    assert kbsync(micro, "verify")[0] == 0
    micro.sync()
    assert (live(micro) / "model.sig").read_bytes() == before
    assert kbsync(micro, "keys", "revoke", "first", "--for", "models", "--reason", "stolen")[0] == 0
    assert kbsync(micro, "verify")[0] == 65
    micro.sync()  # the key that signs now signs what is kept again
    assert kbsync(micro, "verify")[0] == 0
    assert (live(micro) / "model.sig").read_bytes() != before
    _, out, _ = kbsync(micro, "keys", "list", "--json")
    assert [(one["for"], one["name"], one["state"]) for one in json.loads(out)] == [
        ("models", "first", "revoked"),
        ("models", "second", "signs"),
    ]
    assert kbsync(micro, "audit", "verify", "--tables")[0] == 0


def test_signatures_are_events_and_made_once(micro: Micro) -> None:
    def signed() -> list[dict[str, object]]:
        app = micro.application()
        with app.state.read() as tx:
            found = [json.loads(event.body) for event in tx.events(kind="checkpoint.signed")]
        app.close()
        return found

    (event,) = signed()
    assert (event["checkpoint"], event["key"]) == (1, "first")
    assert isinstance(event["signatures"], dict)
    assert sorted(event["signatures"]) == ["adapter/model.sig", "delta/model.sig", "model.sig"]
    micro.sync()
    assert signed() == [event]


def test_what_a_killed_process_left_in_the_directory_is_no_obstacle(micro: Micro) -> None:
    directory = live(micro)
    (directory / ".staging-model.sig-1-abcdef").write_text("half")
    (directory / "model.sig").unlink()
    micro.sync()
    assert kbsync(micro, "verify")[0] == 0
    assert not list(directory.glob(".staging-*"))


def test_an_unsigned_directory_is_accepted_only_where_that_is_asked_for(micro: Micro) -> None:
    for path in (live(micro) / "model.sig", live(micro) / "bom.cdx.json"):
        path.unlink()
    assert kbsync(micro, "verify")[0] == 65
    code, out, _ = kbsync(micro, "verify", "--unsigned", "--json")
    assert (code, json.loads(out)["key"]) == (0, "")
    (live(micro) / "notes.txt").write_text("hello")
    assert kbsync(micro, "verify", "--unsigned")[0] == 65
    (base,) = (path.parent for path in micro.home.base.glob("[0-9a-f]*/kbsync.json"))
    assert kbsync(micro, "verify", base, "--unsigned")[0] == 0


def test_exit_codes_say_what_is_missing(micro: Micro, tmp_path: Path) -> None:
    assert kbsync(micro, "verify", tmp_path / "nowhere")[0] == 66
    assert kbsync(micro, "verify", "--key", tmp_path / "nowhere.pem")[0] == 66
    (tmp_path / "bad.pem").write_text("no key")
    assert kbsync(micro, "verify", "--key", tmp_path / "bad.pem")[0] == 78
    assert kbsync(Micro(tmp_path / "empty"), "verify", live(micro))[0] == 78
    assert kbsync(micro, "keys", "revoke", "first", "--for", "models", "--reason", "lost")[0] == 0
    code, _, err = kbsync(micro, "verify")
    assert (code, "no key to verify with" in err) == (78, True)


def test_without_the_package_the_error_says_how_to_install_it(
    micro: Micro, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "model_signing", None)
    monkeypatch.setitem(__import__("sys").modules, "model_signing.signing", None)
    code, _, err = kbsync(micro, "verify")
    assert (code, "pip install 'kbsync[sign]'" in err) == (78, True)
    assert kbsync(micro, "verify", "--unsigned")[0] == 78  # there is a signature, which it cannot read
