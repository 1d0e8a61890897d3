"""vLLM goes on serving wherever no load began, and stays paused wherever one may have ended halfway."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.promoted import Place
from tests.support.stand_ins import Answer, Vllm, listening

NAMED = (200, {"success": True})


@contextmanager
def serving(tmp_path: Path, *, names: bool = True, **faults: list[Answer]) -> Iterator[tuple[Vllm, Place]]:
    """A server with these faults by request, and a home that deploys to it."""
    server = Vllm(names_versions=names, faults={f"/{path}": answers for path, answers in faults.items()})
    with listening(server):
        yield (
            server,
            Place(tmp_path, f"[deploy.prod]\nkind = 'vllm'\nurl = '{server.url}'\nsettle = 0\n"),
        )


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("pause", 422),
        ("pause", 503),
        ("update_weight_version", 422),
        ("update_weight_version", 500),
        ("update_weight_version", 503),
        ("collective_rpc", 501),
    ],
)
def test_a_failure_before_any_load_leaves_the_server_serving(tmp_path: Path, path: str, status: int) -> None:
    with serving(tmp_path, **{path: [(status, b"<html>")]}) as (server, place):
        place.promoted(Q1="Q10")
        assert f"HTTP {status}" in place.last.detail
        assert "no weight was touched" in place.last.detail
        assert (server.paused, server.version) == (False, "default")
        place.later(minutes=2)
        assert place.last.state == "deployed"


def test_a_server_that_has_no_pause_is_not_sent_anything_else(tmp_path: Path) -> None:
    with serving(tmp_path, pause=[(501, b"")]) as (server, place):
        place.promoted(Q1="Q10")
        assert [path for method, path, _ in server.requests if method == "POST"] == ["/pause?mode=wait"]


@pytest.mark.parametrize("names", [True, False])
def test_a_resume_that_fails_once_is_tried_again(tmp_path: Path, names: bool) -> None:
    faults: dict[str, list[Answer]] = {"collective_rpc": [(404, b"")], "resume": [(500, b"")]}
    with serving(tmp_path, names=names, **faults) as (server, place):
        place.promoted(Q1="Q10")
        assert not server.paused
        server.faults["/resume"] = [(500, b"")]
        place.later(minutes=2)
        assert (place.last.state, server.paused) == ("deployed", False)


def test_a_server_that_cannot_be_named_back_serves_all_the_same(tmp_path: Path) -> None:
    faults: dict[str, list[Answer]] = {
        "collective_rpc": [(404, b"")],
        "update_weight_version": [NAMED, (500, b"")],
    }
    with serving(tmp_path, **faults) as (server, place):
        place.promoted(Q1="Q10")
        assert not server.paused
        assert "under the wrong name" in place.last.detail


@pytest.mark.parametrize("names", [True, False])
def test_weights_in_doubt_are_not_served_because_a_later_attempt_is_refused(
    tmp_path: Path, names: bool
) -> None:
    faults: dict[str, list[Answer]] = {"collective_rpc": [(500, {"error": "out of memory"}), (404, b"")]}
    with serving(tmp_path, names=names, **faults) as (server, place):
        place.promoted(Q1="Q10")
        assert server.paused
        place.later(minutes=2)
        assert "HTTP 404" in place.last.detail
        assert "its weights are in doubt" in place.last.detail
        assert server.paused
        place.later(minutes=10)
        assert (place.last.state, server.paused) == ("deployed", False)


@pytest.mark.parametrize(("workers", "paused"), [(1, False), (2, True)])
def test_a_directory_that_one_of_several_workers_lacks_may_be_loaded_by_another(
    tmp_path: Path, workers: int, paused: bool
) -> None:
    missing = f"No such file or directory: '{tmp_path / 'home' / 'checkpoints' / '1-1'}'"
    faults: dict[str, list[Answer]] = {
        "get_world_size": [(200, {"world_size": workers})],
        "collective_rpc": [(500, {"error": missing})],
    }
    with serving(tmp_path, **faults) as (server, place):
        place.promoted(Q1="Q10")
        assert server.paused is paused
