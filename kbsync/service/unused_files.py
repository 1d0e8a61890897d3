"""Files that nothing uses any more: imported bases, what builds left in the cache, files of drop folders, logs.

What is in the cache can be computed again, so nothing but time is lost with it.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from datetime import datetime, timedelta
from pathlib import Path

from connectors.rows.kept_files import delete_kept, kept_since_before
from editing.durable import remove, staging_name
from kbsync.application import Application
from kbsync.home import Home
from kbsync.service.residuals import residual_groups
from state import Snapshot

_CONTENT = 40
"""Characters of a name in `stats/` that all files of the same statistics share: those of their content key."""
_DIGEST = 64
_ROTATED = "worker-"


def unused_bases(app: Application, tx: Snapshot, before: datetime, needed: Collection[str]) -> list[Path]:
    """Imported bases that are not the configured one, and that no run has used since `before`.

    `needed`: the digests of the bases that stay.  In a directory that homes share, all stay: this ledger does not know
    what the others use.
    """
    if app.home.shared is not None:
        return []
    imported = app.imported_base()
    stays = {*needed, *((imported.digest,) if imported is not None else ())}
    stays |= {run.base for run in tx.runs() if run.updated >= before}
    directories = (path for path in app.home.base.iterdir() if path.is_dir() and not path.is_symlink())
    return sorted(
        path
        for path in directories
        if len(path.name) == _DIGEST and path.name not in stays and path.stat().st_mtime < before.timestamp()
    )


def delete_bases(home: Home, directories: Collection[Path]) -> None:
    """Also the links that name them.  Checkpoints keep the files that they share with a base: those are hard links."""
    for directory in directories:
        doomed = staging_name(directory)  # if the process dies now, the next start removes it
        directory.rename(doomed)
        remove(doomed)
    for link in home.base.iterdir():
        if link.is_symlink() and not link.exists():
            link.unlink()


def unused_in_cache(home: Home, period: timedelta) -> list[Path]:
    """Statistics, networks and residuals that were used last more than `period` before the newest use of any.

    The time is that of builds, not the clock's: where nothing is built, nothing becomes useless.  A file was used
    when it was written or loaded (`tensor_cache.load`), and statistics when any of their files was.  Residuals that
    a report names are those of a run that is kept.
    """
    named = set(residual_groups(home).values())
    groups: dict[tuple[Path, str], list[Path]] = {}
    for path in _tensors(home):
        key = path.name[:_CONTENT] if path.parent.name == "stats" else path.name
        groups.setdefault((path.parent, key), []).append(path)
    used = {group: max(map(_used, paths)) for group, paths in groups.items()}
    oldest = max(used.values(), default=0.0) - period.total_seconds()
    return sorted(
        path
        for group, paths in groups.items()
        if used[group] < oldest and not (group[0] == home.deltas and paths[0].stem in named)
        for path in paths
    )


def _tensors(home: Home) -> Iterator[Path]:
    places = [path for path in home.cache.iterdir() if path.is_dir()] if home.cache.is_dir() else []
    for place in places:
        yield from (path for path in place.iterdir() if path.is_file() and path.suffix != ".json")


def _used(path: Path) -> float:
    status = path.stat()
    return max(status.st_atime, status.st_mtime)


def read_files(app: Application, before: datetime) -> dict[Path, list[str]]:
    """Files in `done/` and `rejected/` that were moved there before then, by drop folder."""
    folders = {
        app.settings.directory / source["folder"]
        for source in app.settings.sources.values()
        if source.get("kind") == "files"
    }
    found = {folder: kept_since_before(folder, before) for folder in sorted(folders)}
    return {folder: names for folder, names in found.items() if names}


def delete_read_files(found: dict[Path, list[str]]) -> int:
    for folder, names in found.items():
        delete_kept(folder, names)
    return sum(map(len, found.values()))


def old_logs(app: Application, before: datetime) -> list[Path]:
    files = app.home.runs.glob(f"{_ROTATED}*.log")
    return sorted(file for file in files if file.stat().st_mtime < before.timestamp())


def delete_logs(app: Application, before: datetime) -> int:
    """Delete old files, and begin a new one: a worker that runs goes on writing to the file it has open."""
    old = old_logs(app, before)
    for file in old:
        file.unlink()
    current = app.home.worker_log
    if current.is_file() and current.stat().st_size:
        rotated = app.home.runs / f"{_ROTATED}{app.now():%Y%m%dT%H%M%S}.log"
        current.replace(rotated)
        os.utime(rotated, (app.now().timestamp(), app.now().timestamp()))
    return len(old)
