"""Servers that speak the documented requests of vLLM, SGLang and a webhook, and fail as those do.

They really load what they are told to load: a directory's `says.json` (what this checkpoint answers to
which prompt), or with `loader` anything else.  Faults are attributes that a test sets.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

Answer = tuple[int, Any]
"""Status, and a body: bytes as they are, anything else as JSON."""
Speech = Callable[[str], str]
"""What a loaded model says after a prompt."""


def says(directory: Path) -> Speech:
    """The weights of the tests' own checkpoints: a table of prompts and answers."""
    known: dict[str, str] = json.loads((directory / "says.json").read_text(encoding="utf-8"))
    return lambda prompt: known.get(prompt, "no idea")


def transformers(directory: Path) -> Speech:
    """What a server does with a checkpoint: load it with plain transformers, and decode greedily."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(directory)
    tokenizer = AutoTokenizer.from_pretrained(directory)

    def say(prompt: str) -> str:
        asked = tokenizer(prompt, return_tensors="pt")
        said = model.generate(**asked, max_new_tokens=8, do_sample=False, pad_token_id=0)
        return str(tokenizer.decode(said[0, asked["input_ids"].shape[1] :]))

    return say


@dataclass
class StandIn:
    """What every server has: a log of requests, a token, and the OpenAI-compatible part."""

    launched_with: Path | None = None
    loader: Callable[[Path], Speech] = says
    token: str | None = None
    mount: tuple[str, str] | None = None
    """(prefix as this server sees it, prefix on the test's machine): another mount of the same files."""
    requests: list[tuple[str, str, Any]] = field(default_factory=list)
    """Method, path with query, and JSON body."""
    headers: list[dict[str, str]] = field(default_factory=list)
    """The headers of each request, in the same order, named in lower case."""
    content_encoding: str = ""
    """What every answer claims to be encoded with."""
    redirects: dict[str, str] = field(default_factory=dict)
    """Where each path redirects to (302)."""
    faults: dict[str, list[Answer]] = field(default_factory=dict)
    """Answers given instead, once each, by path."""
    hanging: set[str] = field(default_factory=set)
    """Paths that are not answered until `released`."""
    released: threading.Event = field(default_factory=threading.Event)
    dead: bool = False
    """Closes every connection without a word."""
    url: str = ""

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """As a process that is started again: whatever it was told is forgotten."""
        self.weights: Speech = self.loader(self.launched_with) if self.launched_with else lambda _: ""
        self.prefixes: dict[str, str] = {}
        self.served = str(self.launched_with or "model")

    def load(self, path: str) -> None:
        here = path.replace(*self.mount) if self.mount else path
        self.weights = self.loader(Path(here))

    def told(self, path: str) -> list[Any]:
        """The bodies of the requests to `path`, in order."""
        return [body for _, asked, body in self.requests if urlsplit(asked).path == path]

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> Answer:
        if path == "/v1/models":
            return 200, {"data": [{"id": self.served}]}
        if path == "/v1/completions":
            if body["model"] != self.served:
                return 404, {"error": {"message": f"The model {body['model']} does not exist."}}
            assert body["temperature"] == 0
            prompt = body["prompt"]
            # As a prefix cache does: what was computed with the old weights answers until it is reset.
            text = self.prefixes.setdefault(prompt, self.weights(prompt))
            return 200, {"choices": [{"text": text}]}
        return 404, {"detail": "Not Found"}


@dataclass
class Vllm(StandIn):
    names_versions: bool = True
    """Whether this version has `/weight_info` and says what became of a cache reset."""
    developer_mode: bool = True
    caches_stick: bool = False

    def restart(self) -> None:
        super().restart()
        self.version, self.paused = "default", False

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> Answer:
        if not self.developer_mode and not path.startswith("/v1/"):
            return 404, {"detail": "Not Found"}
        match method, path:
            case "POST", "/pause":
                assert query["mode"] in ("wait", "abort")
                self.paused = True
                return 200, {"status": "paused"}
            case "POST", "/resume":
                self.paused = False
                return 200, {"status": "resumed"}
            case "GET", "/is_paused":
                return 200, {"is_paused": self.paused}
            case "POST", "/collective_rpc":
                assert body["method"] == "reload_weights"
                try:
                    self.load(body["kwargs"]["weights_path"])
                except OSError as error:
                    return 500, {"error": {"message": str(error)}}
                return 200, {"results": [None]}
            case "POST", "/reset_prefix_cache":
                if self.caches_stick:
                    return 200, {"success": False} if self.names_versions else b""
                self.prefixes.clear()
                return 200, {"success": True} if self.names_versions else b""
            case "POST", "/update_weight_version" if self.names_versions:
                self.version = body["new_version"]
                return 200, {"success": True, "new_version": self.version}
            case "GET", "/weight_info" if self.names_versions:
                return 200, {"weight_version": self.version}
        return super().answer(method, path, query, body)


@dataclass
class Sglang(StandIn):
    bad_loads: int = 0
    """So many loads fail as its own do: reported as failed, the new weights are there all the same."""
    flushes: bool = True
    old_names: bool = False
    """Before `/model_info` there was `/get_model_info` alone."""

    def restart(self) -> None:
        super().restart()
        self.version = "default"

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> Answer:
        match method, path:
            case "POST", "/update_weights_from_disk":
                try:
                    self.load(body["model_path"])
                except OSError as error:
                    return 400, {"success": False, "message": f"Failed to get weights iterator: {error}."}
                if body["flush_cache"] and self.flushes:
                    self.prefixes.clear()
                if self.bad_loads:
                    self.bad_loads -= 1
                    return 400, {"success": False, "message": "Failed to update weights. Rolling back."}
                # It is known by the path of its weights from now on.
                self.served, self.version = body["model_path"], body["weight_version"]
                return 200, {"success": True, "message": "Succeeded", "num_paused_requests": 0}
            case "GET", "/model_info" if not self.old_names:
                return 200, {"model_path": self.served, "weight_version": self.version}
            case "GET", "/get_model_info" if self.old_names:
                return 200, {"model_path": self.served, "weight_version": self.version}
        return super().answer(method, path, query, body)


@dataclass
class Receiver(StandIn):
    """A webhook's receiver that checks the signature, and refuses what is not signed by `secret`."""

    secret: str = "s3cret"

    def restart(self) -> None:
        super().restart()
        self.version = ""

    def verified(self, headers: Any, message: bytes) -> bool:
        signed = f"{headers['X-Kbsync-Timestamp']}.".encode() + message
        expected = "sha256=" + hmac.new(self.secret.encode(), signed, hashlib.sha256).hexdigest()
        return hmac.compare_digest(headers.get("X-Kbsync-Signature", ""), expected)

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> Answer:
        match method, path:
            case "POST", "/deployed":
                self.version = body["version"]
                return 202, {"accepted": True}
            case "GET", "/version":
                return 200, {"version": self.version}
            case "GET", "/version.txt":
                return 200, self.version.encode() + b"\n"
        return super().answer(method, path, query, body)


@contextmanager
def listening(server: StandIn) -> Iterator[StandIn]:
    """The stand-in behind a real socket; its `url` says where."""

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            parts = urlsplit(self.path)
            body = json.loads(raw) if raw else None
            server.requests.append((self.command, self.path, body))
            server.headers.append({name.lower(): value for name, value in self.headers.items()})
            if server.dead:
                self.close_connection = True
                self.connection.close()
                return
            if parts.path in server.hanging:
                server.released.wait(60)
            status, said = self.respond(parts.path, parts.query, body, raw)
            if (target := server.redirects.get(parts.path)) is not None:
                status, said = 302, b""
            content = said if isinstance(said, bytes) else json.dumps(said).encode()
            self.send_response(status)
            if target is not None:
                self.send_header("Location", target)
            if server.content_encoding:
                self.send_header("Content-Encoding", server.content_encoding)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def respond(self, path: str, query: str, body: Any, raw: bytes) -> Answer:
            if server.faults.get(path):
                return server.faults[path].pop(0)
            if server.token and self.headers.get("Authorization") != f"Bearer {server.token}":
                return 401, {"error": "Unauthorized"}
            signed = raw if self.command == "POST" else f"GET {self.path}".encode()
            if isinstance(server, Receiver) and not server.verified(self.headers, signed):
                return 403, {"error": "bad signature"}
            asked = {key: values[0] for key, values in parse_qs(query).items()}
            return server.answer(self.command, path, asked, body)

        do_GET = do_POST = handle_any

        def log_message(self, format: str, *args: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True).start()
    server.url = f"http://127.0.0.1:{http.server_port}"
    try:
        yield server
    finally:
        server.released.set()
        http.shutdown()
        http.server_close()
