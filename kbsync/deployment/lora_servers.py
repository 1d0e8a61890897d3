"""Requests of vLLM and SGLang that load and unload adapters.

vLLM ("LoRA Adapters" in its documentation, router `entrypoints/serve/lora`), with
VLLM_ALLOW_RUNTIME_LORA_UPDATING=true:

    POST /v1/load_lora_adapter    {"lora_name", "lora_path"}      200 with a text; 400, 404, 500 {"error": …}
    POST /v1/unload_lora_adapter  {"lora_name"}                   200; 404 if it is not loaded
    GET  /v1/models               adapters have `parent`, the base's name, and `root`, their path

SGLang ("LoRA Serving", `entrypoints/http_server.py`), with --enable-lora:

    POST /load_lora_adapter       {"lora_name", "lora_path"}      200 {"success": true, …}, 400 {"success": false, …}
    POST /unload_lora_adapter     {"lora_name"}                   the same; waits for the adapter's requests
    GET  /v1/models               as vLLM's; a request names `<base>:<adapter>`
"""

from __future__ import annotations

from typing import Any, Protocol

import httpx

from kbsync.deployment.hooks import HookFailed
from kbsync.deployment.http import Server, described, flag_of, json_of, object_of

_NO_ROUTE = (401, 403, 404, 405)


class LoraServer(Protocol):
    """One server that has the base and loads adapters."""

    def __init__(self, server: Server) -> None: ...

    def loaded(self) -> dict[str, str]:
        """Path by name of every adapter that it has; raises HookFailed."""
        ...

    def load(self, name: str, path: str) -> None:
        """Load an adapter; raises HookFailed."""
        ...

    def unload(self, name: str) -> None:
        """Unload an adapter, if it is loaded; raises HookFailed."""
        ...

    def model(self, name: str) -> str:
        """`model` of a request to an adapter; raises HookFailed."""
        ...


class VllmLora:
    """vLLM."""

    def __init__(self, server: Server) -> None:
        self.server = server

    def loaded(self) -> dict[str, str]:
        return {str(card["id"]): str(card.get("root")) for card in adapters_of(self.server)}

    def load(self, name: str, path: str) -> None:
        answer = self.server.post("/v1/load_lora_adapter", json={"lora_name": name, "lora_path": path})
        if answer.is_success or name in self.loaded():
            return
        if _has_no_route(answer):
            raise HookFailed(described(answer), "start the server with VLLM_ALLOW_RUNTIME_LORA_UPDATING=true")
        raise _not_loaded(answer)

    def unload(self, name: str) -> None:
        answer = self.server.post("/v1/unload_lora_adapter", json={"lora_name": name})
        if not answer.is_success and name in self.loaded():
            raise HookFailed(described(answer))

    def model(self, name: str) -> str:
        return name


class SglangLora:
    """SGLang."""

    def __init__(self, server: Server) -> None:
        self.server = server

    def loaded(self) -> dict[str, str]:
        return {str(card["id"]): str(card.get("root")) for card in adapters_of(self.server)}

    def load(self, name: str, path: str) -> None:
        answer = self.server.post("/load_lora_adapter", json={"lora_name": name, "lora_path": path})
        if (answer.is_success and flag_of(answer, "success")) or name in self.loaded():
            return
        if answer.status_code in _NO_ROUTE:
            raise HookFailed(described(answer), "is this an SGLang server, and is its token right?")
        raise _not_loaded(answer)

    def unload(self, name: str) -> None:
        answer = self.server.post("/unload_lora_adapter", json={"lora_name": name})
        if not (answer.is_success and flag_of(answer, "success")) and name in self.loaded():
            raise HookFailed(described(answer))

    def model(self, name: str) -> str:
        return f"{base_of(self.server)}:{name}"


def adapters_of(server: Server) -> list[dict[str, Any]]:
    """The cards of the adapters that a server lists; raises HookFailed."""
    return [card for card in _cards(server) if card.get("parent")]


def base_of(server: Server) -> str:
    """The name of the base that a server has; raises HookFailed if it lists none."""
    for card in _cards(server):
        if not card.get("parent"):
            return str(card["id"])
    raise HookFailed(f"{server.url}/v1/models lists no base model")


def _cards(server: Server) -> list[dict[str, Any]]:
    answer = server.get("/v1/models")
    try:
        return [dict(card) for card in object_of(answer)["data"] if card["id"]]
    except (KeyError, TypeError, ValueError) as error:
        raise HookFailed(f"{described(answer)} lists no models") from error


def _has_no_route(answer: httpx.Response) -> bool:
    """Whether the server does not have the request; a 404 of its own names what it has not found."""
    if answer.status_code != 404:
        return answer.status_code in _NO_ROUTE
    try:
        return "error" not in json_of(answer)
    except (HookFailed, TypeError):
        return True


def _not_loaded(answer: httpx.Response) -> HookFailed:
    text = described(answer)
    if "rank" in text.lower():
        return HookFailed(text, "start the server with a larger --max-lora-rank, or set [deliver] max_rank")
    return HookFailed(
        text, "is the path visible to it (`paths`), and has it the base of this home? see its log"
    )
