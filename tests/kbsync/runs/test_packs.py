"""Retrieval packs: every wanted fact is in the weights, proven, or in the pack, whatever happened before."""

from __future__ import annotations

import json
import random
import re
import shutil
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import bm25s
import pytest

from editing.errors import DamagedCheckpoint
from editing.spec import BuildReport
from editing.storage.checkpoints import read_manifest, verify
from editing.storage.pack import FILE, entries
from kbsync.intake.quarantine import reject
from kbsync.runs.packs import pack_now, wanted_facts
from kbsync.service.cycle import CycleReport, cycle
from kbsync.standalone.applying import apply
from state.records import Checkpoint, Fact, Move
from tests.support.micro import Micro, make
from tests.support.proven import kbsync
from tests.support.scripted import Scripted
from tests.support.shell import Shell

FIVE = {"Blue House": "Anna", "Red Boat": "Bob", "Old Mill": "Carl", "New Barn": "Dora", "Big Tower": "Emil"}


def small(root: Path) -> Micro:
    """A base with room for three facts."""
    micro = make(root / "world", extra="[deliver]\nas = ['delta']")
    micro.home.config.write_text(
        micro.home.config.read_text(encoding="utf-8").replace("[plan]", "[plan]\ncapacity = 3"),
        encoding="utf-8",
    )
    return micro


def capacity(micro: Micro, most: int) -> None:
    text = micro.home.config.read_text(encoding="utf-8")
    micro.home.config.write_text(re.sub(r"capacity = \d", f"capacity = {most}", text), encoding="utf-8")


def live_path(micro: Micro, report: CycleReport | None = None) -> str:
    """The directory of live."""
    assert report is None or [run.state for run in report.runs] == ["deployed"], report.nothing
    return live(micro)[0].path


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Micro:
    """Five facts, of which the base has room for three."""
    micro = small(tmp_path_factory.mktemp("home"))
    micro.say(FIVE)
    assert [run.state for run in micro.sync().runs] == ["deployed"]
    return micro


def live(micro: Micro) -> tuple[Checkpoint, tuple[Fact, ...], tuple[Fact, ...]]:
    """Live, its view and what is wanted."""
    with micro.application() as app, app.state.read() as tx:
        found = tx.live()
        assert found is not None
        return found, tx.view_facts(found.view), tx.wanted()


def pack(micro: Micro) -> dict[int, Mapping[str, Any]]:
    return {entry["fact"]: entry for entry in entries(micro.home.live / FILE)}


def stated(micro: Micro) -> set[int]:
    """The facts that live's own report found stated."""
    found, _, _ = live(micro)
    report = BuildReport.read(micro.home.built_in(found.run, found.path).report)
    return {int(fact.id) for fact in report.facts if fact.efficacy}


def check(micro: Micro) -> None:
    """Weights and pack together are what is wanted, and overlap nowhere; in live, and as of now."""
    found, view, wanted = live(micro)
    packed = pack(micro)
    proven = {fact.id for fact in view} - packed.keys()
    with micro.application() as app, app.state.read() as tx:
        everything = {fact.id for fact in wanted_facts(tx)}
        now = {entry["fact"] for entry in pack_now(app)}
    assert everything >= {fact.id for fact in wanted}
    assert proven | packed.keys() == everything, "nothing has changed since live was built"
    assert proven == stated(micro)
    assert now == packed.keys()
    directory = micro.home.checkpoint(found.path)
    assert verify(directory) == found.digest
    files = read_manifest(directory).files
    assert files[FILE] == files[f"delta/{FILE}"]


def test_what_waits_and_what_the_weights_do_not_state_is_in_the_pack(first: Micro) -> None:
    check(first)
    _, view, wanted = live(first)
    waiting = {fact.id for fact in wanted} - {fact.id for fact in view}
    packed = pack(first)
    assert len(waiting) == 2
    assert {id for id, entry in packed.items() if not entry["in_view"]} == waiting
    one = packed[min(waiting)]
    fact = next(fact for fact in wanted if fact.id == one["fact"])
    assert one["text"] == f"The owner of {fact.subject_label} is {fact.target}"
    assert (one["source"], one["revision"]) == ("crm", fact.revision)


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 5))])
def test_weights_and_pack_are_what_is_wanted_after_any_history(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    micro = small(tmp_path)
    for _ in range(4):
        subjects = chance.sample(sorted(FIVE), chance.randint(1, 4))
        micro.say({one: chance.choice(["Anna", "Bob", "Carl", "Fred", None]) for one in subjects})
        if chance.random() < 0.4:
            capacity(micro, chance.randint(1, 5))
        report = micro.sync()
        if {run.state for run in report.runs} == {"deployed"}:
            check(micro)
        with micro.application() as app, app.state.read() as tx:
            current = tx.live()
            now = {entry["fact"] for entry in pack_now(app)}
            everything = {fact.id for fact in wanted_facts(tx)}
            held = {fact.id for fact in tx.view_facts(current.view)} if current else set()
        assert now <= everything <= now | held, "whatever was built, and whatever was not"


def test_a_fact_that_failed_a_gate_is_in_the_pack_until_a_reviewer_rejects_it(tmp_path: Path) -> None:
    micro = small(tmp_path)
    micro.say(FIVE)
    with micro.application() as app, app.leading() as leadership:
        micro.now += timedelta(hours=1)
        cycle(app, leadership, trigger="test", worker=Scripted())
        with app.state.write() as tx:
            current = tx.live()
            assert current is not None
            view = {fact.id for fact in tx.view_facts(current.view)}
            first, second = (fact for fact in tx.wanted() if fact.id not in view)
            moves = [
                Move(one.id, "quarantined", "gate: the value failed a gate", reason_code="gate", bars=True)
                for one in (first, second)
            ]
            tx.move_facts(moves, "test")
        reject(app.intake(leadership), second.id, "it is not true", "ada")
        packed = {entry["fact"]: entry for entry in pack_now(app)}
    assert packed[first.id]["why"].startswith("gate: ")
    assert second.id not in packed


def test_a_kept_checkpoint_is_built_again_if_its_pack_is_not_current(tmp_path: Path) -> None:
    micro = small(tmp_path)
    micro.say({"Blue House": "Anna"})
    micro.sync()
    micro.say({"Blue House": "Bob"})
    micro.sync()
    micro.say({"Blue House": "Anna"})
    assert live_path(micro, micro.sync()) == "1-1", "its pack is still right, so it is only judged again"
    capacity(micro, 1)
    micro.say({"Blue House": "Bob", "Red Boat": "Carl"})
    micro.sync()
    assert live_path(micro) not in ("1-1", "2-1"), "the boat waits, which the old pack does not say"
    check(micro)


def test_the_command_writes_the_pack(first: Micro, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    shell = Shell(first.home, capfd)
    listed = shell.json("pack")
    assert {entry["fact"] for entry in listed} == pack(first).keys()
    code, out, _ = shell("pack")
    assert code == 0
    assert [json.loads(line) for line in out.splitlines()] == listed
    assert shell.json("pack", "--out", tmp_path / "pack.jsonl")["facts"] == len(listed)
    assert list(entries(tmp_path / "pack.jsonl")) == listed


def test_a_subject_that_only_a_pack_names_can_be_forgotten(first: Micro, tmp_path: Path) -> None:
    micro = first.copy(tmp_path / "world")
    entry = next(entry for entry in pack(micro).values() if not entry["in_view"])
    label = entry["text"].removeprefix("The owner of ").partition(" is ")[0].encode()
    assert kbsync(micro.home.root, "forget", entry["subject"], "--reason", "a request", "--yes") == 0
    files = [path for path in micro.home.root.rglob("*") if path.is_file() and label in path.read_bytes()]
    assert files == []
    check(micro)


def test_a_pack_travels_with_the_delta(first: Micro, tmp_path: Path) -> None:
    sent = tmp_path / "delta"
    shutil.copytree(first.home.live.resolve() / "delta", sent)
    base = first.home.base / read_manifest(first.home.live).base
    apply(first.home, sent, base, tmp_path / "served")
    assert list(entries(tmp_path / "served" / FILE)) == list(pack(first).values())


def test_a_changed_pack_does_not_verify(first: Micro, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(first.home.live.resolve(), copy)
    (copy / FILE).chmod(0o644)
    (copy / FILE).write_text("", encoding="utf-8")
    with pytest.raises(DamagedCheckpoint, match=FILE):
        verify(copy)


def test_a_pack_can_be_searched_as_the_page_shows(first: Micro) -> None:
    texts = [entry["text"] for entry in entries(first.home.live / FILE)]
    index = bm25s.BM25()
    index.index(bm25s.tokenize(texts, stopwords=None, show_progress=False), show_progress=False)
    question = bm25s.tokenize([texts[-1].rpartition(" ")[0]], stopwords=None, show_progress=False)
    found, _ = index.retrieve(question, corpus=texts, k=1, show_progress=False)
    assert found[0][0] == texts[-1]
