"""Housekeeping: `live` follows the ledger, and unreferenced directories and unfinished files are removed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import structlog

from editing.durable import sweep
from editing.storage import checkpoints
from kbsync.application import Application
from kbsync.deployment.live import absent
from kbsync.leadership import Leadership
from kbsync.runs import packs, promotion
from kbsync.service.scrub import check_link
from kbsync.signing.sealing import seal_kept

log = structlog.get_logger()


def clean_up(app: Application, leadership: Leadership) -> None:
    """Make `live` follow the database and remove what is not referenced; runs at every start.

    Retired checkpoints beyond `state.keep` are removed unless they are pinned; those that were built with a subject
    which was forgotten always are.  So are the unfinished files of processes that were killed.
    Those that stay get the bill of materials and the signature that they lack.
    """
    check_link(app, leadership)
    promotion.project(app.state, app.home)
    with app.state.read() as tx:
        roots = tx.roots()
        erased = tx.views_with_erased()
        retired = sorted(
            (c for c in tx.checkpoints(status="retired") if c.collected is None),
            key=lambda c: (c.promotion or 0, c.id),  # by history, not by a clock
            reverse=True,
        )
        open_runs = {run.id: run for run in tx.open_runs()}
    told = packs.with_erased(app, (*retired, *roots.checkpoints))
    kept = [c for c in retired if c.view not in erased and c.id not in told][: app.settings.state.keep]
    needed = [c for c in roots.checkpoints if c.status == "live" or c.id not in told]
    keep = {c.path for c in needed} | {c.path for c in kept}
    # The directory of an open run's round exists before its row does.
    keep |= {f"{run.id}-{run.round}" for run in open_runs.values()}
    removed = [*checkpoints.collect_garbage(app.home.checkpoints, keep), *_sweep(app, open_runs)]
    gone = [c.id for c in retired if absent(app.home, c) or c.path not in keep]
    for checkpoint in {one.id: one for one in (*needed, *kept)}.values():
        if checkpoint.promoted is not None and not absent(app.home, checkpoint):
            seal_kept(app, leadership, checkpoint)
    if gone:
        with leadership.write() as tx:
            for id in gone:
                tx.collected(id)
    if removed:
        log.info("garbage.removed", names=len(removed))


def _sweep(app: Application, open_runs: Iterable[int]) -> Iterator[str]:
    """Remove unfinished files outside the checkpoints, where only the leader writes; yields their names."""
    home = app.home
    yield from home.sweep_storage()
    for place in (
        home.root,
        home.imported_base.parent,
        *(home.questions(name).path for name in ("ask", "plan", "probes", "said")),
    ):
        yield from sweep(place)
    for directory in (home.run(run) for run in open_runs):
        for child in directory.iterdir() if directory.is_dir() else ():
            yield from sweep(child)
