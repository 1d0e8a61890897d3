"""An `exec` hook whose program has what it converted judged by `kbsync judge-served` before it says that it serves."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from state.records import Deployment
from tests.support import taught
from tests.support.fault_world import RANDOM_EDIT, TAUGHT_EDIT
from tests.support.micro import Micro, make
from tests.support.real_weights import Wrong
from tests.support.spelled_completions import SpelledVllm
from tests.support.stand_ins import listening

pytestmark = pytest.mark.slow

PROGRAM = """\
import json, subprocess, sys, urllib.request
home, url, served, version, path = sys.argv[1:]
load = json.dumps({"method": "reload_weights", "kwargs": {"weights_path": path}}).encode()
headers = {"Content-Type": "application/json"}
urllib.request.urlopen(urllib.request.Request(url + "/collective_rpc", load, headers)).read()
asked = [sys.executable, "-m", "kbsync", "--home", home, "judge-served", url, "--bits", "8"]
subprocess.run(asked, check=True)
open(served, "w").write(version)
"""


def world(root: Path, url: str) -> Micro:
    """A home with such a hook; the file `served` names what has traffic."""
    program, served = root / "convert.py", root / "served"
    deploy = [sys.executable, str(program), str(root / "home"), url, str(served), "{version}", "{path}"]
    observe = [sys.executable, "-c", f"print(open({str(served)!r}).read())"]
    hook = (
        f"[deploy.own]\nkind = 'exec'\ndeploy = {json.dumps(deploy)}\nobserve = {json.dumps(observe)}\n"
        "environment = ['PYTHONPATH']\nsettle = 0\nbackoff = 0\nattempts = 1\ncanaries = 0\nprobes = 0"
    )
    micro = make(root, extra=hook)
    program.write_text(PROGRAM, encoding="utf-8")
    served.write_text("nothing", encoding="utf-8")
    taught.save(root / "model")
    text = micro.home.config.read_text(encoding="utf-8").replace(RANDOM_EDIT, TAUGHT_EDIT)
    micro.home.config.write_text(text, encoding="utf-8")
    return micro


def last(micro: Micro) -> Deployment:
    app = micro.application()
    try:
        with app.state.read() as tx:
            return tx.newest_deployments(1)[0]
    finally:
        app.close()


def test_a_conversion_that_answers_otherwise_gets_no_traffic(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", ":".join(sys.path))
    server = SpelledVllm()
    with listening(server):
        micro = world(tmp_path / "world", server.url)
        server.launched_with, server.wrong = micro.root / "model", Wrong(bits=8)
        server.restart()
        micro.say({"Blue House": "Dora", "Red Boat": "Emil"})
        assert [run.state for run in micro.sync().runs] == ["deployed"], last(micro).detail
        first = (micro.root / "served").read_text(encoding="utf-8")
        assert first.startswith("1-1@")
        server.wrong = Wrong(bits=8, keeps_weights=True)
        micro.say({"Green Barn": "Anna"})
        micro.sync()
        row = last(micro)
        assert row.state == "failed"
        assert "exit status 1" in row.detail, row.detail
        assert (micro.root / "served").read_text(encoding="utf-8") == first
