"""A judge model: a real server that speaks `/v1/chat/completions` and answers as a test wants."""

from __future__ import annotations

import http.server
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Reply = str | int | Callable[[dict[str, str]], str]
"""What the model says, the status of an error, or what it says about what it is asked."""


def verdict(word: str, reason: str = "it says so") -> str:
    return json.dumps({"verdict": word, "reason": reason})


def honest(asked: dict[str, str]) -> str:
    """A judge that knows the capital's other name, and does not obey what it reads."""
    if "Ignore" in asked["answer"] or "do not know" in asked["answer"]:
        return verdict("wrong")
    names = [*asked["right"].split("; "), "the fair one"]
    return verdict("right" if any(name in asked["answer"] for name in names) else "wrong")


class JudgeServer:
    """`reply` is what it answers from now on; `asked` is everything that it was asked."""

    def __init__(self) -> None:
        self.reply: Reply = honest
        self.after: Callable[[int], Reply | None] = lambda number: None
        """(number of the request, from 1) → another reply to it."""
        self.slow_s = 0.0
        self.redirect = ""
        self.knows_forms = True
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                server.headers.append(dict(self.headers))
                if self.path != "/v1/chat/completions":
                    self.send(404, {"error": {"message": f"no {self.path}"}})
                elif server.redirect:
                    self.send(307, {}, Location=server.redirect)
                elif "response_format" in body and not server.knows_forms:
                    self.send(400, {"error": {"message": "unknown parameter: response_format"}})
                else:
                    self.judge(body)

            def judge(self, body: dict[str, Any]) -> None:
                server.asked.append(body)
                time.sleep(server.slow_s)
                other = server.after(len(server.asked))
                reply = server.reply if other is None else other
                if isinstance(reply, int):
                    self.send(reply, {"error": {"message": "out of order"}})
                    return
                user = json.loads(body["messages"][-1]["content"])
                text = reply if isinstance(reply, str) else reply(user)
                message = {"role": "assistant", "content": text}
                self.send(200, {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})

            def send(self, status: int, value: object, **headers: str) -> None:
                content = json.dumps(value).encode()
                self.send_response(status)
                for name, text in {"Content-Type": "application/json", **headers}.items():
                    self.send_header(name, text)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                try:
                    self.wfile.write(content)
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True

            def log_message(self, format: str, *args: object) -> None:
                """Nobody reads it."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"

    def answers_asked(self) -> list[str]:
        """The judged models' answers that it was asked about, without the controls."""
        answers = [json.loads(body["messages"][-1]["content"])["answer"] for body in self.asked]
        return [one for one in answers if "Ignore" not in one and one != "I do not know."]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def judge_server() -> Iterator[JudgeServer]:
    server = JudgeServer()
    try:
        yield server
    finally:
        server.close()
