"""A round on a machine that has none of the daemon's files: what it needs, and what it made, goes through the store."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest

from editing.cluster.objects import Objects
from editing.cluster.parcels import Parcel, ThroughObjects
from editing.cluster.scratch import Scratch
from editing.errors import SpecError
from editing.mirror import mirrored
from editing.progress import silent
from editing.spec import BuildReport, BuildSpec
from editing.storage.checkpoints import verify
from editing.worker.protocol import Channel
from editing.worker.rounds import Workshop
from tests.support.object_store import S3, s3
from tests.support.shared_builds import FACTS, SharedBuild, assert_same


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    with s3(tmp_path_factory.mktemp("s3") / "server.log") as found, pytest.MonkeyPatch.context() as patch:
        for name, value in found.environment().items():
            patch.setenv(name, value)
        yield found


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> SharedBuild:
    shared = SharedBuild(tmp_path_factory.mktemp("daemon"))
    Workshop(Channel(StringIO())).round(shared.spec("local"))
    return shared


class Actor:
    """What `Builder` does with a parcel, without Ray."""

    def __init__(self, url: str, root: Path) -> None:
        self.scratch = Scratch(url, silent, root)
        self.workshop = Workshop(Channel(StringIO()))

    def round(self, carrier: ThroughObjects, path: Path) -> BuildReport:
        """The report of the spec in `path`, as it is received."""
        carrier.prepare(BuildSpec.read(path))
        parcel = carrier.request(path)
        assert isinstance(parcel, Parcel)
        here = self.scratch.unpack(parcel)
        with mirrored(self.scratch.cache):
            delivery = self.scratch.delivery(parcel, self.workshop.round(here))
        self.spec = BuildSpec.read(here)
        return BuildReport.read(carrier.received(path, delivery))


def test_a_build_elsewhere_gives_the_weights_of_a_local_one(
    server: S3, shared: SharedBuild, tmp_path: Path
) -> None:
    url = f"{server.url}/build"
    carrier = ThroughObjects(Objects(url), silent)
    actor = Actor(url, tmp_path / "node")
    live = shared.root / "local" / "checkpoint"
    path = shared.spec("elsewhere", live=str(live))
    report = actor.round(carrier, path)
    assert str(shared.root) not in json.dumps(
        [actor.spec.base, actor.spec.out, actor.spec.cache, actor.spec.live]
    )
    out = shared.root / "elsewhere" / "checkpoint"
    assert verify(out) == report.checkpoint_digest
    assert report.checkpoint == str(out)
    assert report.spec_digest == BuildSpec.read(path).digest
    assert_same(shared.changed("elsewhere"), shared.changed("local"))
    assert shared.deltas("elsewhere").keys() == shared.deltas("local").keys(), "a home keeps its residuals"
    frozen = [file for file in out.iterdir() if file.stat().st_nlink > 1]
    assert frozen, "files of the base are linked"
    assert not list(Objects(url).names("checkpoints")), "checkpoints only pass through the store"
    actor.scratch.close()
    assert [one.name for one in (tmp_path / "node").glob("actor-*")] == []
    assert (tmp_path / "node" / "bases" / shared.digest).is_dir(), (
        "a base stays for the next actor of the machine"
    )


def test_another_machine_finds_every_finished_residual(
    server: S3, shared: SharedBuild, tmp_path: Path
) -> None:
    url = f"{server.url}/resumed"
    carrier = ThroughObjects(Objects(url), silent)
    spec = BuildSpec.read(shared.spec("resumed"))
    part = shared.root / "resumed" / "part" / "spec.json"
    part.parent.mkdir()
    replace(spec, mode="residuals", share=(0, 1), out="").write(part)
    Actor(url, tmp_path / "one").round(carrier, part)
    assert not (shared.root / "resumed" / "cache" / "deltas").exists()
    shutil.rmtree(tmp_path / "one")
    report = Actor(url, tmp_path / "other").round(carrier, shared.root / "resumed" / "spec.json")
    assert report.cost.groups_cached == len(FACTS)
    assert_same(shared.changed("resumed"), shared.changed("local"))


def test_a_kept_checkpoint_is_judged_elsewhere(server: S3, shared: SharedBuild, tmp_path: Path) -> None:
    url = f"{server.url}/judged"
    kept = shared.root / "local" / "checkpoint"
    path = shared.spec("judged", mode="judge", out=str(kept))
    report = Actor(url, tmp_path).round(ThroughObjects(Objects(url), silent), path)
    assert report.checkpoint_digest == verify(kept)
    assert report.checkpoint == str(kept)
    assert len(report.facts) == len(FACTS)


def test_a_base_on_the_nodes_is_not_fetched_and_has_to_be_the_right_one(
    server: S3, shared: SharedBuild, tmp_path: Path
) -> None:
    url = f"{server.url}/image"
    image = tmp_path / "image"
    shutil.copytree(shared.base, image)
    carrier = ThroughObjects(Objects(url), silent, str(image))
    actor = Actor(url, tmp_path / "node")
    actor.round(carrier, shared.spec("image", mode="ask", out=""))
    assert actor.spec.base == str(image)
    assert not list(Objects(url).names("blobs"))
    shutil.rmtree(image)
    shutil.copytree(shared.root / "local" / "checkpoint", image)
    with pytest.raises(SpecError, match="put that one there"):
        actor.round(carrier, shared.spec("image", mode="ask", out="", canaries=()))


def test_what_a_killed_actor_left_is_removed_by_the_next_one(server: S3, tmp_path: Path) -> None:
    left = tmp_path / "actor-killed"
    (left / "cache").mkdir(parents=True)
    working = Scratch(server.url, silent, tmp_path)
    other = Scratch(server.url, silent, tmp_path)
    assert not left.exists()
    assert len(list(tmp_path.glob("actor-*"))) == 2, "those of living processes stay"
    working.close()
    other.close()
