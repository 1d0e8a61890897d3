"""Servers that load adapters beside a base, in the requests of vLLM and SGLang, and fail as those do.

An adapter's weights are what `loader` makes of its folder: a table of answers, or with real weights peft's own
(`real_adapters.py`).  What is wrong with one is an attribute that a test sets.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tests.support.stand_ins import Answer, Speech, StandIn

BASE = "base-model"


@dataclass
class LoraStandIn(StandIn):
    """Adapters by name; a prefix cache by adapter and prompt."""

    dialect: Literal["vllm", "sglang"] = "vllm"
    capacity: int = 16
    """Adapters that it can hold."""
    resolves: Path | None = None
    """Directory from which an adapter is loaded when it is first asked for."""
    lags: int = 0
    """So many loads are reported as done and are not."""
    breaks: int = 0
    """So many loads give weights that answer as the base does."""
    shares_prefixes: bool = False
    """The prefix cache does not tell adapters apart."""
    asked: Callable[[str, str], None] = lambda model, prompt: None
    """Called at each completion."""
    adapters: dict[str, tuple[str, Speech]] = field(default_factory=dict)

    def restart(self) -> None:
        """All adapters that were loaded at run time are forgotten."""
        super().restart()
        self.adapters = {}
        self.kept: dict[tuple[str, str], str] = {}

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> Answer:
        prefix = "/v1" if self.dialect == "vllm" else ""
        if path == "/v1/models":
            cards = [{"id": BASE, "root": BASE, "parent": None}]
            cards += [{"id": name, "root": root, "parent": BASE} for name, (root, _) in self.adapters.items()]
            return 200, {"object": "list", "data": cards}
        if path == "/v1/completions":
            return self.completed(body)
        if path == f"{prefix}/load_lora_adapter":
            return self.load_adapter(body["lora_name"], body["lora_path"])
        if path == f"{prefix}/unload_lora_adapter":
            return self.unload_adapter(body["lora_name"])
        return 404, {"detail": "Not Found"}

    def load_adapter(self, name: str, path: str) -> Answer:
        if name in self.adapters:
            return self.refused(400, f"The lora adapter '{name}' has already been loaded.")
        if len(self.adapters) >= self.capacity:
            return self.refused(400, "there is no room for another adapter")
        if self.lags:
            self.lags -= 1
            return self.done(name, "added")
        here = Path(path.replace(*self.mount) if self.mount else path)
        if not (here / "adapter_config.json").is_file():
            return self.refused(404, f"Loading lora {name} failed: No adapter found for {path}")
        speech = self.base() if self.breaks else self.loader(here)
        self.breaks = max(0, self.breaks - 1)
        self.adapters[name] = path, speech
        return self.done(name, "added")

    def base(self) -> Speech:
        """What the base says."""
        return lambda prompt: "no idea"

    def unload_adapter(self, name: str) -> Answer:
        if self.adapters.pop(name, None) is None:
            return self.refused(404, f"The lora adapter '{name}' cannot be found.")
        return self.done(name, "removed")  # prefixes stay: they are kept by name

    def done(self, name: str, what: str) -> Answer:
        if self.dialect == "vllm":
            return 200, f"Success: LoRA adapter '{name}' {what} successfully.".encode()
        return 200, {"success": True, "error_message": "", "loaded_adapters": {name: ""}}

    def refused(self, status: int, message: str) -> Answer:
        if self.dialect == "vllm":
            return status, {"error": {"message": message, "type": "BadRequestError", "code": status}}
        return 400, {"success": False, "error_message": message, "loaded_adapters": {}}

    def completed(self, body: Any) -> Answer:
        assert body["temperature"] == 0
        model = str(body["model"])
        name = model.removeprefix(f"{BASE}:") if self.dialect == "sglang" else model
        self.asked(name, body["prompt"])
        if self.resolves is not None and name not in self.adapters:
            self.load_adapter(name, str(self.resolves / name))
        if name not in self.adapters or (self.dialect == "sglang" and name == model):
            return 404, {"error": {"message": f"The model `{model}` does not exist."}}
        return 200, {"choices": [self.said(name, body)]}

    def said(self, name: str, body: Any) -> dict[str, Any]:
        key = ("" if self.shares_prefixes else name, body["prompt"])
        return {"text": self.kept.setdefault(key, self.adapters[name][1](body["prompt"]))}
