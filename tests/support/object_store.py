"""A real S3 server (moto's) for tests, and how processes are let in."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.support.ray_clusters import free_port

BUCKET = "kbsync-tests"
START_S = 120.0
"""How long the server may take to start on a busy machine."""


@dataclass(frozen=True)
class S3:
    """A running server with one empty bucket."""

    endpoint: str
    log: Path
    url: str = f"s3://{BUCKET}/some/prefix"

    def environment(self, endpoint: str = "") -> dict[str, str]:
        """The variables with which a process reaches it, perhaps at another address."""
        return {
            "AWS_ENDPOINT_URL": endpoint or self.endpoint,
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "tester",
            "AWS_SECRET_ACCESS_KEY": "not-a-secret",
        }

    def sent(self, folder: str) -> Counter[str]:
        """How often each object of a folder was written, by its last name, as the server's log has it."""
        pattern = re.compile(rf'"PUT \S+/{folder}/([^/? ]+)[? ]')
        return Counter(pattern.findall(self.log.read_text(errors="replace")))


@contextmanager
def s3(log: Path) -> Iterator[S3]:
    """A server, as a process of its own, for as long as the block lasts."""
    port = free_port()
    with log.open("wb") as output:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        server = S3(f"http://127.0.0.1:{port}", log)
        deadline = time.monotonic() + START_S
        while True:
            try:
                httpx.put(f"{server.endpoint}/{BUCKET}").raise_for_status()
                break
            except httpx.TransportError:
                assert process.poll() is None, log.read_text(errors="replace")
                assert time.monotonic() < deadline, "the S3 server did not start"
                time.sleep(0.1)
        yield server
    finally:
        process.terminate()
        process.wait()
