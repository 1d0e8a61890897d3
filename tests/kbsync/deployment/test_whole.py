"""From a dropped file to two servers that say it, with real weights and a real model behind each server."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path

from tests.support.micro import make
from tests.support.stand_ins import Sglang, Vllm, listening, transformers


def test_two_servers_follow_there_and_back(tmp_path: Path) -> None:
    with ExitStack() as stack:
        vllm, sglang = Vllm(loader=transformers), Sglang(loader=transformers)
        for server in (vllm, sglang):
            stack.enter_context(listening(server))
        micro = make(
            tmp_path,
            extra="".join(
                f"[deploy.{name}]\nkind = '{kind}'\nurl = '{server.url}'\nattempts = 1\non_failure = 'rollback'\n"
                "probes = 0\n\n"  # what is asked is the canary alone; test_served_is_judged.py asks secret probes
                for name, kind, server in (("one", "vllm", vllm), ("two", "sglang", sglang))
            ),
        )
        # The random model never learns a fact well enough to be a canary; what it does say is one.
        (micro.home.root / "canaries.jsonl").write_text(
            json.dumps({"prompt": "The owner of Blue House is", "target": "is"}) + "\n", encoding="utf-8"
        )
        config = micro.home.config.read_text(encoding="utf-8")
        micro.home.config.write_text(f"canaries = 'canaries.jsonl'\n{config}", encoding="utf-8")
        micro.say({"Blue House": "Anna", "Red Boat": "Bob", "Old Mill": "Carl"})
        (run,) = micro.sync().runs
        assert run.state == "deployed"
        assert vllm.version == sglang.version
        assert vllm.version.startswith("1-1@")
        assert [body["prompt"] for body in vllm.told("/v1/completions")] == ["The owner of Blue House is"]

        sglang.faults["/update_weights_from_disk"] = [(400, {"success": False, "message": "no"})]
        micro.say({"Blue House": "Dora"})
        (run,) = micro.sync().runs
        assert run.state == "rolled_back"
        assert vllm.version.startswith("1-1@"), "both serve the same, whoever had failed"
        assert sglang.version == vllm.version
        assert "this view was rolled back" in micro.sync().nothing

        app = micro.application()
        with app.state.read() as tx:
            told = [json.loads(event.body) for event in tx.events(kind="deployment.*")]
            assert [(row.hook, row.state) for row in tx.deployments()][-2:] == [
                ("one", "deployed"),
                ("two", "deployed"),
            ]
        assert {one["to"] for one in told} >= {"deploying", "deployed", "failed", "superseded"}
        assert app.state.audit.verify().ok
        app.close()
