"""An object store as storage: what is read was written whole, and failures are repeated, then named."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import httpx
import pytest
import torch

from editing.cluster.object_cache import ObjectCache
from editing.cluster.objects import Blobs, Objects
from editing.errors import ClusterError, SpecError
from editing.memit import tensor_cache
from editing.memit.deltas import Delta, DeltaStore
from editing.mirror import mirrored
from tests.support.object_store import S3, s3

SHORT = timedelta(seconds=1)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    with s3(tmp_path_factory.mktemp("s3") / "server.log") as found:
        yield found


@pytest.fixture
def store(server: S3, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Objects:
    """A prefix of the test's own."""
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    return Objects(f"{server.url}/{request.node.name}")


def test_what_was_stored_is_read_again_whatever_its_size(store: Objects, tmp_path: Path) -> None:
    large = tmp_path / "large"
    large.write_bytes(os.urandom(12 << 20))  # in several parts
    store.put("folder/large", large)
    store.put("folder/small", b"small")
    assert store.get("folder/small") == b"small"
    assert store.get("folder/none") is None
    assert sorted(store.names("folder")) == ["folder/large", "folder/small"]
    copy = tmp_path / "copies" / "large"
    assert store.fetch("folder/large", copy)
    assert copy.read_bytes() == large.read_bytes()
    assert not store.fetch("folder/none", tmp_path / "none")
    store.remove("folder/small")
    store.remove("folder/small")
    assert list(store.names("folder")) == ["folder/large"]
    store.check()
    assert not list(store.names("checks"))


def test_a_damaged_object_is_named_and_never_becomes_a_file(store: Objects, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"contents")
    digest = hashlib.sha256(b"contents").hexdigest()
    Blobs(store, "blobs").offer({digest: file})
    store.put(f"blobs/{digest}", b"content!")
    copy = tmp_path / "copy"
    with pytest.raises(ClusterError, match=f"blobs/{digest} is damaged.*remove the object"):
        Blobs(store, "blobs").fetch([(digest, copy)])
    store.remove(f"blobs/{digest}")
    with pytest.raises(ClusterError, match="is missing"):
        Blobs(store, "blobs").fetch([(digest, copy)])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


def test_a_file_is_sent_once(store: Objects, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"contents")
    digest = hashlib.sha256(b"contents").hexdigest()
    sent: list[tuple[int, int]] = []
    for _ in range(2):
        Blobs(store, "blobs").offer({digest: file}, lambda done, total: sent.append((done, total)))
    assert sent == [(0, 1), (1, 1)]


def test_a_request_that_fails_is_repeated(
    server: S3, store: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = [503, 500]

    class Unsteady(BaseHTTPRequestHandler):
        """Fails a few times, then passes everything on."""

        def do_PUT(self) -> None:
            content = self.rfile.read(int(self.headers["content-length"]))
            if failures:
                status = failures.pop()
            else:
                headers = {"content-type": "application/octet-stream"}
                status = httpx.put(server.endpoint + self.path, content=content, headers=headers).status_code
            self.send_response(status)
            self.send_header("content-length", "0")
            self.send_header("etag", '"x"')
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    front = ThreadingHTTPServer(("127.0.0.1", 0), Unsteady)
    Thread(target=front.serve_forever).start()
    try:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{front.server_port}")
        Objects(store.url).put("name", b"contents")
    finally:
        front.shutdown()
        front.server_close()
    assert not failures
    assert store.get("name") == b"contents"


def test_a_store_that_is_not_there_is_named_with_what_to_do(
    store: Objects, server: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(
        ClusterError, match=r"cannot write s3://no-such-bucket/x/name: .*check that the bucket exists"
    ):
        Objects("s3://no-such-bucket/x", SHORT).put("name", b"contents")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(ClusterError, match="credentials"):
        Objects(server.url, SHORT).fetch("name", tmp_path / "file")
    assert not list(tmp_path.iterdir())


def test_a_url_of_another_kind_and_a_missing_extra_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SpecError, match=r"is not an object store.*s3://BUCKET/PREFIX"):
        Objects("nonsense://bucket")
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(SpecError, match=r"kbsync\[object-store\]"):
        Objects("s3://bucket")


def test_a_residual_is_in_the_store_as_soon_as_it_is_done(store: Objects, tmp_path: Path) -> None:
    delta = Delta(torch.randn(8), 1.0, 0.5, 3)
    here, there = tmp_path / "here", tmp_path / "there"
    with mirrored(ObjectCache(store, here)):
        DeltaStore(here / "deltas").put("key", delta)
        assert list(store.names("cache")) == ["cache/deltas/key.safetensors"]
        tensor_cache.store(here / "stats" / "sums.partial", {"sum": delta.value}, {})
        tensor_cache.store(here / "stats" / "key-3-factor.safetensors", {"factor": delta.value}, {})
    assert len(list(store.names("cache"))) == 1, "what only helps this machine stays here"
    deltas = DeltaStore(there / "deltas")
    assert not deltas.present(["key"]), "a process without a mirror has only its directory"
    with mirrored(ObjectCache(store, there)):
        assert deltas.present(["key", "other"]) == {"key"}
        found = deltas.get_all(["key", "other"])
    assert torch.equal(found["key"].value, delta.value)
    assert found.keys() == {"key"}


def test_a_damaged_residual_in_the_store_counts_as_absent_and_is_replaced(
    store: Objects, tmp_path: Path
) -> None:
    delta = Delta(torch.randn(8), 1.0, 0.5, 3)
    with mirrored(ObjectCache(store, tmp_path / "one")):
        DeltaStore(tmp_path / "one" / "deltas").put("key", delta)
    whole = store.get("cache/deltas/key.safetensors")
    assert whole is not None
    store.put("cache/deltas/key.safetensors", whole[:-1] + bytes([whole[-1] ^ 1]))
    with mirrored(ObjectCache(store, tmp_path / "two")):
        deltas = DeltaStore(tmp_path / "two" / "deltas")
        assert deltas.get_all(["key"]) == {}
        deltas.put("key", delta)
    with mirrored(ObjectCache(store, tmp_path / "three")):
        found = DeltaStore(tmp_path / "three" / "deltas").get_all(["key"])
    assert torch.equal(found["key"].value, delta.value)


def test_what_one_machine_has_is_sent_once_and_shares_are_found_by_pattern(
    store: Objects, tmp_path: Path
) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    tensor_cache.store(one / "deltas" / "a.safetensors", {"delta": torch.ones(2)}, {})
    tensor_cache.store(one / "stats" / "b-3.0-of-2.sums", {"3": torch.ones(2)}, {})
    (one / "prefixes").mkdir()
    (one / "prefixes" / "p.json").write_text("{}", encoding="utf-8")
    (one / "rates.json").write_text("{}", encoding="utf-8")
    ObjectCache(store, one).send_all()
    assert sorted(store.names("cache")) == [
        "cache/deltas/a.safetensors",
        "cache/prefixes/p.json",
        "cache/stats/b-3.0-of-2.sums",
    ]
    cache = ObjectCache(store, other)
    cache.fetch_drawn()
    assert (other / "prefixes" / "p.json").read_text(encoding="utf-8") == "{}"
    (share,) = cache.matching(other / "stats", "b-3.*-of-*.sums")
    assert share == other / "stats" / "b-3.0-of-2.sums"
    cache.remove(share)
    assert not cache.matching(other / "stats", "*")
