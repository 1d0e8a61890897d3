"""`kbsync backup` and `kbsync restore`: saving a home to one file, and restoring it.

The ledger and the residuals cannot be computed again; checkpoints can.  A backup can be taken while a daemon runs.
A restore makes the ledger a new *instance* with the backup's history: the next cycle reads the sources from the
backup's cursors, builds live again from the cache if its checkpoint is missing, and gives its runs numbers that no
file in the home uses.  What is served stays until that cycle has read the sources (`kbsync.deployment.live.withheld`).
"""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from editing.durable import STAGING, fsync_directory, staging_name
from kbsync import __version__
from kbsync.application import Application
from kbsync.errors import BadConfiguration, BadData, KbsyncError, UsageError
from kbsync.home import PRIVATE, Home
from kbsync.leadership import LEASE_NAME
from kbsync.proofs import keys
from kbsync.proofs.witnesses import configured, publish
from kbsync.runs.ending import end_run
from kbsync.service import archive
from kbsync.service.archive import ANCHORS, LEDGER, SETTINGS, Contents
from kbsync.service.forgotten_file import forget_again
from kbsync.service.later_decisions import keep_out, made_since
from kbsync.settings.loading import load
from state import State, Transaction
from state.copies import check_file, is_empty, make_single
from state.database import sqlite_url
from state.driver_errors import shown
from state.errors import Damaged, LeaseHeld, NotMigrated, StateError
from state.hash_chain import instant
from state.records import Fact

EVERY = ("deltas", "prefixes", "networks")
"""Folders of the cache that belong together: a residual is valid for the prefixes it was optimised with.  A trained
network (MEND) would differ in its last digits elsewhere."""
STATISTICS = "stats"
SUFFIX = ".tar"
_REPLACED = ".replaced-"


def backup(
    app: Application, target: Path, *, deltas: bool = True, statistics: bool = False
) -> tuple[Path, Contents]:
    """Write everything needed to restore a home into one file; returns its path and contents.

    `target`: the file, or a directory in which the file gets a name with the date.  Other processes may write to the
    ledger meanwhile.  Raises BadData if the file exists or cannot be written.
    """
    now = app.now()
    file = target / f"kbsync-{now:%Y%m%dT%H%M%SZ}{SUFFIX}" if target.is_dir() else target
    if file.exists():
        raise BadData(f"{file} exists already", "a backup is never overwritten: choose another name")
    folders = (*(EVERY if deltas else ()), *((STATISTICS,) if statistics else ()))
    app.home.prepare()
    copy = staging_name(app.home.root / LEDGER)
    try:
        app.state.copy_to(copy)
        members = _members(app, copy, folders)
        return file, archive.write(file, members, _about(app, copy, now))
    except OSError as error:
        raise BadData(
            f"{file} cannot be written: {error.strerror or error}", "choose another place, or make room"
        ) from error
    finally:
        copy.unlink(missing_ok=True)


def _members(app: Application, copy: Path, folders: tuple[str, ...]) -> Iterator[tuple[str, Path]]:
    yield LEDGER, copy
    if app.home.config.is_file():
        yield SETTINGS, app.home.config
    if (anchor := app.settings.state.anchor) is not None and anchor.is_file():
        yield ANCHORS, anchor
    for name in _archived(app, copy):
        yield f"archive/{name}", app.home.archive / name
    for folder in folders:
        place = app.home.cache / folder
        for path in sorted(place.iterdir()) if place.is_dir() else ():
            if path.is_file() and not path.name.startswith((STAGING, ".")):
                yield f"cache/{folder}/{path.name}", path


def _archived(app: Application, copy: Path) -> list[str]:
    """The files of archived events that the copy of the ledger names; one that was moved away is left out."""
    taken = State.open(sqlite_url(copy), clock=app.now)
    with taken.read() as tx:
        cut = tx.cut()
    taken.close()
    return [] if cut is None else cut.names


def _about(app: Application, copy: Path, now: datetime) -> dict[str, object]:
    """The contents of the backup, read from the copy of the ledger."""
    taken = State.open(sqlite_url(copy), clock=app.now)
    with taken.read() as tx:
        head, instance = tx.head(), tx.instance()
    taken.close()
    return {
        "format": archive.FORMAT,
        "version": __version__,
        "made": now.isoformat(),
        "home": f"{socket.gethostname()}:{app.home.root}",
        "instance": instance,
        "revision": State.revision(),
        "head": head.seq if head else 0,
        "hash": head.hash if head else "",
    }


@dataclass(frozen=True, slots=True)
class Restored:
    """The result of a restore."""

    contents: Contents
    instance: str
    """The new instance id of the ledger."""
    settings: bool
    """Whether the backup's settings are now the home's."""
    files: int
    """Files that were added to the cache."""
    aside: Path | None
    """Where the previous ledger was moved to."""
    anchor: Path | None
    """The anchor file of the settings, if it already has lines that contradict the log: a new one has to be started."""
    undeclared: dict[str, str]
    """Witnesses to which the restore could not be declared, with the reason."""
    decisions: int
    """Facts that stay out because of decisions made after the backup, in the previous ledger."""
    forgotten: int = 0
    """Subjects that were forgotten after the backup, and were erased from the restored ledger."""


def restore(
    home: Home, source: Path, *, config: Path | None, replace: bool, actor: str, now: datetime
) -> Restored:
    """Restore a home from a backup; the ledger is restored entirely or not at all.

    `replace`: restore even if there is a ledger or anything else; an SQLite ledger is moved aside.  Existing settings
    stay.  What the existing ledger has decided to keep out since the backup stays out (`later_decisions`).
    Raises UsageError if the home is not empty and `replace` is not set, HomeInUse if a process works in it,
    state.errors.LeaseHeld if another home leads the ledger, BadData for a damaged backup.
    """
    if not replace:
        _check_empty(home)
    home.prepare()
    with home.locked("kbsync restore"):
        staging = staging_name(home.root / "restore")
        staging.mkdir(mode=0o700)
        try:
            return _restore(home, source, staging, config or home.config, replace, actor, now)
        finally:
            shutil.rmtree(staging, ignore_errors=True)


def _restore(
    home: Home, source: Path, staging: Path, config: Path, replace: bool, actor: str, now: datetime
) -> Restored:
    contents = archive.extract(source, staging)
    kept, given = config.is_file(), staging / SETTINGS
    settings = load(config if kept else given if given.is_file() else None, directory=config.parent)
    state = State.open(settings.database_url(home), archive=home.archive)
    _check_replaceable(state, home, replace, now)
    later = made_since(state, contents) if replace else ()
    instance, decisions = _begin_instance(staging, contents, later, actor)
    app = Application(home, settings)
    added = _fill_cache(staging / "cache", app.home.cache)
    if not kept and given.is_file():
        given.chmod(0o600)
        given.replace(config)
    aside = _aside(home, state, now)
    if aside is not None:
        _keep_archive(home, now)
    _put_archived(staging / "archive", home.archive)
    state.replace_with(staging / LEDGER, aside)
    fsync_directory(home.root)
    forgotten = forget_again(app, app.state.write, actor)
    app.state.tidy_archive()
    anchor, undeclared = _declared(app)
    return Restored(contents, instance, not kept, added, aside, anchor, undeclared, decisions, forgotten)


def _declared(app: Application) -> tuple[Path | None, dict[str, str]]:
    """Declare the restore to every witness, signed by the operator's key.

    Without a key nobody could tell it from a log that was cut: returns the anchor file, which contradicts the log.
    """
    anchor, failed = app.settings.state.anchor, {}
    started = anchor is not None and anchor.is_file() and anchor.stat().st_size > 0
    with app:
        try:
            if keys.signer(app) is None:
                return anchor if started else None, {}
        except BadConfiguration as error:
            return anchor if started else None, {app.home.keys.name: str(error)}
        for witness in configured(app):
            try:
                publish(app, [witness], restored=True)
            except (KbsyncError, StateError) as error:
                failed[witness.name] = str(error)
    return None, failed


def _check_empty(home: Home) -> None:
    """Raise UsageError if the home contains anything but settings."""
    folders = (home.root / "base", home.root / "cache", home.runs, home.checkpoints)
    found = [place for place in folders if place.is_dir() and any(place.iterdir())]
    if home.database.exists():
        found.append(home.database)
    if found:
        raise UsageError(
            f"the home {home.root} is not empty: {found[-1]} is there",
            "choose another --home, or add --replace: the ledger that is there is set aside",
        )


def _check_replaceable(state: State, home: Home, replace: bool, now: datetime) -> None:
    """Raise if a ledger exists and `replace` is not set, or if another home leads it."""
    if is_empty(state.url):
        return
    if not replace:
        raise UsageError(
            f"there is a ledger in {shown(state.url)} already",
            "name another database, or add --replace: what is in this one is removed",
        )
    try:
        with state.read() as tx:
            lease = tx.lease(LEASE_NAME)
    except (NotMigrated, Damaged):
        return  # what is there is no ledger that anybody could lead
    finally:
        state.close()
    if lease is not None and lease.expires > now and lease.holder != home.identity():
        raise LeaseHeld(lease.name, lease.holder, instant(lease.expires))


def _begin_instance(staging: Path, contents: Contents, later: Sequence[Fact], actor: str) -> tuple[str, int]:
    """Verify the backup's ledger, migrate it and give it a new instance id.

    Returns the id, and how many of the facts in `later` are kept out as decided.
    """
    ledger = staging / LEDGER
    check_file(ledger)
    state = State.open(sqlite_url(ledger), archive=staging / "archive")
    try:
        found = state.audit.verify()
        head = state.audit.anchor()
        if not found.ok:
            raise BadData(f"the backup's log does not verify: {found.reason}", "use another backup")
        if (contents.head, contents.hash) != ((head.seq, head.hash) if head else (0, "")):
            raise BadData("the backup's log is not the one that it was made of", "use another backup")
        state.migrate()
        with state.write() as tx:
            _answer_requests(tx, actor)
            _end_open_ends(tx, actor)
            about = {"made": contents.made, "from": contents.home, "head": contents.head}
            instance = tx.begin_instance(about, actor)
            return instance, keep_out(tx, later, actor)
    finally:
        state.close()
        make_single(ledger)


def _answer_requests(tx: Transaction, actor: str) -> None:
    """Withdraw the requests to the leader that were open when the backup was made."""
    for request in tx.open_requests():
        if request.state == "waiting":
            tx.withdraw_request(request.id, actor)
        else:
            tx.answer_request(request.id, "refused", {"reason": "the ledger was restored meanwhile"}, actor)


def _end_open_ends(tx: Transaction, actor: str) -> None:
    """End runs that waited for others when the backup was made.

    Servers that were being notified serve something else by now.  A candidate that waited for a review may have been
    judged since, and its time to be reviewed would be over: the next cycle proposes a new one.
    """
    waiting = [run for run in tx.open_runs() if run.state in ("promoted", "awaiting_review")]
    for run in waiting:
        end_run(tx, run, "failed", "the ledger was restored meanwhile", actor)


def _fill_cache(given: Path, cache: Path) -> int:
    """Move the backup's files into the cache; existing files with the same names have the same contents."""
    added = 0
    for path in sorted(given.glob("*/*")):
        target = cache / path.parent.name / path.name
        if not target.exists():
            target.parent.mkdir(exist_ok=True)
            path.replace(target)
            added += 1
    for folder in cache.iterdir():
        if folder.is_dir():
            fsync_directory(folder)
    return added


def _keep_archive(home: Home, now: datetime) -> None:
    """The archived events of a ledger that is set aside, beside it; what both ledgers name is there once."""
    files = list(home.archive.iterdir()) if home.archive.is_dir() else []
    place = home.root / f"{home.archive.name}{_REPLACED}{now:%Y%m%dT%H%M%S%fZ}"
    for path in files:
        place.mkdir(mode=0o700, exist_ok=True)
        os.link(path, place / path.name)
    if files:
        fsync_directory(place)


def _put_archived(given: Path, archive: Path) -> None:
    """Move the backup's files of archived events into the home; those with the same names have the same contents."""
    for path in sorted(given.iterdir()) if given.is_dir() else ():
        archive.mkdir(mode=0o700, exist_ok=True)
        path.chmod(PRIVATE)
        path.replace(archive / path.name)
    if archive.is_dir():
        fsync_directory(archive)


def _aside(home: Home, state: State, now: datetime) -> Path | None:
    """Where an existing SQLite ledger is kept."""
    place = Path(str(state.url.database))
    if state.url.get_backend_name() != "sqlite" or not place.exists():
        return None
    return place.with_name(f"{place.name}{_REPLACED}{now:%Y%m%dT%H%M%S%fZ}")
