"""A witness that cosigns: C2SP's tlog-witness over HTTP, with the checks that its specification demands."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from state.merkle import EMPTY, is_consistent
from state.notes import Note, PublicKey, SigningKey, TreeHead


@dataclass
class Cosigner:
    """Knows logs by their keys; remembers the last head of each origin."""

    trusted: list[PublicKey] = field(default_factory=list)
    heads: dict[str, TreeHead] = field(default_factory=dict)
    key: SigningKey = field(
        default_factory=lambda: SigningKey("witness.example", Ed25519PrivateKey.from_private_bytes(b"w" * 32))
    )
    url: str = ""

    def add(self, body: str) -> tuple[int, str]:
        """Status and text of the answer to add-checkpoint."""
        proof_text, _, note_text = body.partition("\n\n")
        first, *steps = proof_text.split("\n")
        old = int(first.removeprefix("old "))
        note = Note.parse(note_text)
        head = TreeHead.parse(note.text)
        if note.signed_by(self.trusted) is None:
            return 403, ""
        known = self.heads.get(head.origin, TreeHead(head.origin, 0, EMPTY))
        if old != known.size:
            return 409, f"{known.size}\n"
        proof = [base64.b64decode(step) for step in steps]
        if not is_consistent(old, head.size, known.root, head.root, proof):
            return 422, ""
        self.heads[head.origin] = head
        return 200, self.key.sign(note.text).partition("\n\n")[2]


@contextmanager
def serving(cosigner: Cosigner) -> Iterator[Cosigner]:
    """The witness on a port of its own."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            status, text = cosigner.add(self.rfile.read(length).decode())
            self.send_response(status)
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    cosigner.url = f"http://127.0.0.1:{server.server_port}/add-checkpoint"
    try:
        yield cosigner
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
