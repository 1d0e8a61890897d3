"""Servers that apply adapters for real: a tiny taught base, peft's own layers, and a prefix cache by adapter's name.

peft puts its layers into the base itself, which is what is called.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from peft import PeftModel

from editing.spec import BuildReport
from tests.support import taught
from tests.support.fault_world import RANDOM_EDIT, TAUGHT_EDIT
from tests.support.lora_stand_ins import LoraStandIn
from tests.support.micro import Micro, make
from tests.support.real_weights import Replica, Wrong
from tests.support.stand_ins import Speech

NEWS = ({"Blue House": "Dora", "Red Boat": "Emil", "Old Mill": "Carl"}, {"Green Barn": "Anna"})


@dataclass(frozen=True)
class Slot:
    """One of peft's adapters; empty: the base alone.  Answers go through `RealLora.said`."""

    name: str = ""

    def __call__(self, prompt: str) -> str:
        raise AssertionError("a server with real weights has no table")


@dataclass
class RealLora(LoraStandIn):
    """One replica with real weights."""

    whole: Any = None
    """A `Replica` with the base, which is copied at each start."""
    loads: int = 0
    slots: dict[str, Slot] = field(default_factory=dict)

    def restart(self) -> None:
        super().restart()
        self.replica: Replica = copy.deepcopy(self.whole) if self.whole is not None else Replica()
        self.prefixes_of: dict[str, dict[tuple[int, ...], Any]] = {}
        self.peft: Any = None
        self.loader = self.attached

    def attached(self, folder: Path) -> Speech:
        """The adapter in a folder, as plain peft loads it."""
        self.loads += 1
        slot = Slot(f"adapter{self.loads}")
        if self.peft is None:
            self.peft = PeftModel.from_pretrained(self.replica.model, folder, adapter_name=slot.name).eval()
        else:
            self.peft.load_adapter(folder, slot.name)
        return slot

    def base(self) -> Speech:
        return Slot()

    def spoil(self, name: str) -> None:
        """The adapter answers as the base does from now on, from its prefix cache too."""
        self.adapters[name] = self.adapters[name][0], Slot()
        self.prefixes_of.clear()

    def said(self, name: str, body: Any) -> dict[str, Any]:
        slot = self.adapters[name][1]
        assert isinstance(slot, Slot)
        replica = self.replica
        replica.prefixes = self.prefixes_of.setdefault("" if self.shares_prefixes else name, {})
        asked = body["prompt"], body["max_tokens"], body.get("logprobs", 0), 1
        if self.peft is None:
            return replica.complete(*asked)
        if not slot.name:
            with self.peft.disable_adapter():
                return replica.complete(*asked)
        self.peft.set_adapter(slot.name)
        return replica.complete(*asked)


def adapter_world(root: Path, servers: Sequence[RealLora], more: str = "") -> Micro:
    """A micro kbsync that has built two versions with adapters, and deployed both to these replicas."""
    urls = ", ".join(f"'{server.url}'" for server in servers)
    hook = (
        f"[deliver]\nas = ['checkpoint', 'adapter']\n\n[deploy.prod]\nkind = 'vllm'\nform = 'adapter'\n"
        f"url = '{servers[0].url}'\nreplicas = [{urls}]\nroutes = '{root}/routes.json'\nsettle = 0\nbackoff = 0\n"
        f"canaries = 0\ndrain_for = 0\nprobe_repeats = 1\ntimeout = 120\n{more}"
    )
    micro = make(root, extra=hook)
    taught.save(root / "model")
    text = micro.home.config.read_text(encoding="utf-8").replace(RANDOM_EDIT, TAUGHT_EDIT)
    micro.home.config.write_text(text, encoding="utf-8")
    whole = Replica()
    whole.load(root / "model", Wrong())
    for server in servers:
        server.whole = whole
        server.restart()
    for news in NEWS:
        micro.say(news)
        assert [run.state for run in micro.sync().runs] == ["deployed"]
    return micro


def judged(micro: Micro, run: int) -> dict[str, str]:
    """The prompts of a version's facts, with what the gates heard."""
    report = BuildReport.read(micro.home.built_in(run, f"{run}-1").report)
    return {fact.asked: fact.answer for fact in report.facts}
