"""Where signatures are required, nothing goes live and no server is notified without a valid one."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from kbsync.errors import BadConfiguration
from tests.support.micro import Micro
from tests.support.signed import kbsync
from tests.support.tampering import flip

REQUIRED = "\n[signing]\nrequired = true\n"


def with_a_server(micro: Micro, more: str = REQUIRED) -> Path:
    """Adds a deploy hook that writes the version it is told of to a file, which is what it serves."""
    served = micro.root / "served"
    served.write_text("")
    deploy = [sys.executable, "-c", "import sys; open(sys.argv[1], 'w').write(sys.argv[2])", str(served)]
    observe = [sys.executable, "-c", "import sys; print(open(sys.argv[1]).read())", str(served)]
    hook = f"[deploy.own]\nkind = 'exec'\ndeploy = {json.dumps([*deploy, '{version}'])}\n"
    hook += f"observe = {json.dumps(observe)}\nattempts = 1\nbackoff = 0\ncanaries = 0\n"
    micro.home.config.write_text(f"{micro.home.config.read_text()}\n{hook}{more}")
    return served


def test_a_server_is_notified_of_a_version_that_verifies(micro: Micro) -> None:
    served = with_a_server(micro)
    micro.sync()
    assert served.read_text().startswith("1-1@")


@pytest.mark.parametrize("what", ["model.sig", "bom.cdx.json", "editable.safetensors", "notes.txt"])
def test_no_server_is_notified_of_a_version_that_was_tampered_with(micro: Micro, what: str) -> None:
    served = with_a_server(micro)
    path = micro.home.live.resolve() / what
    if path.exists():
        flip(path)
    else:
        path.write_text("hello")
    kbsync(micro, "sync")
    assert served.read_text() == ""
    app = micro.application()
    with app.state.read() as tx:
        (row,) = tx.deployments()
    app.close()
    assert row.state == "failed"
    assert "does not verify" in row.detail
    assert what in row.detail


def test_without_a_key_nothing_goes_live_and_the_run_goes_on_once_there_is_one(micro: Micro) -> None:
    with_a_server(micro)
    assert kbsync(micro, "config", "check")[0] == 0
    assert kbsync(micro, "keys", "revoke", "first", "--for", "models", "--reason", "lost")[0] == 0
    code, out, err = kbsync(micro, "config", "check")
    assert (code, "keys create --for models" in out + err) == (78, True)
    micro.say({"Green Barn": "Fay"})
    with pytest.raises(BadConfiguration, match="no key to sign versions"):
        micro.sync()
    before = micro.home.live.readlink()
    assert kbsync(micro, "keys", "create", "--for", "models")[0] == 0
    (run,) = micro.sync().runs
    assert (run.state, micro.home.live.readlink() == before) == ("deployed", False)
    assert kbsync(micro, "verify")[0] == 0


def test_a_rollback_signs_what_goes_live_again(micro: Micro) -> None:
    with_a_server(micro)
    micro.say({"Green Barn": "Fay"})
    (run,) = micro.sync().runs
    assert run.state == "deployed"
    (micro.home.checkpoint("1-1") / "model.sig").unlink()
    code, _, err = kbsync(micro, "rollback", "--reason", "wrong")
    assert code == 0, err
    assert micro.home.live.readlink() == Path("1-1")
    assert kbsync(micro, "verify")[0] == 0


def test_without_a_key_and_where_it_is_not_required_versions_have_a_bill_only(
    template: Micro, tmp_path: Path
) -> None:
    micro = template.copy(tmp_path / "unsigned")
    assert kbsync(micro, "keys", "revoke", "first", "--for", "models", "--reason", "lost")[0] == 0
    micro.say({"Green Barn": "Fay"})
    (run,) = micro.sync().runs
    assert run.state == "deployed"
    names = {path.name for path in micro.home.live.resolve().iterdir()}
    assert ("bom.cdx.json" in names, "model.sig" in names) == (True, False)
    assert kbsync(micro, "verify", "--unsigned")[0] == 0
