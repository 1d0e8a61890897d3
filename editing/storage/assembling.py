"""A model directory from its manifest, with its files from wherever they are.  Importable without torch."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from editing.durable import fsync_directory, fsync_file, link_or_copy, make_directory, staging_name, writing
from editing.errors import SpecError
from editing.storage.manifest import NAME, read_manifest

Fetch = Callable[[Sequence[tuple[str, Path]]], None]
"""Writes files, each given by its SHA-256 and its path, and verifies them."""


def assemble(manifest: bytes, out: Path, sources: Sequence[Path], fetch: Fetch) -> str:
    """Make the directory that `manifest` describes; returns its digest.

    Files that a directory of `sources` has are hard-linked, the others are fetched.  `out` appears complete and synced,
    or not at all.  Raises DamagedCheckpoint for a manifest that is not one, StorageError, and what `fetch` raises.
    """
    make_directory(out.parent)
    staging = staging_name(out)
    with writing(out):
        try:
            staging.mkdir()
            (staging / NAME).write_bytes(manifest)
            fsync_file(staging / NAME)
            described = read_manifest(staging)
            had = {
                digest: source / name
                for source in sources
                for name, digest in read_manifest(source).files.items()
            }
            missing = []
            for name, digest in described.files.items():
                (staging / name).parent.mkdir(exist_ok=True)
                if digest in had:
                    link_or_copy(had[digest], staging / name)
                else:
                    missing.append((digest, staging / name))
            fetch(missing)
            for folder in {(staging / name).parent for name in described.files} | {staging}:
                fsync_directory(folder)
            staging.rename(out)
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)
            raise
        fsync_directory(out.parent)
    return described.digest


def clear(out: Path, live: Path | None) -> None:
    """Remove what an attempt that was killed before it wrote its report left at `out`.

    Raises SpecError if that is the live checkpoint.
    """
    if not out.exists():
        return
    if live is not None and live.resolve() == out.resolve():
        raise SpecError(f"`out` {out} is the live checkpoint: a checkpoint is never overwritten")
    doomed = staging_name(out)
    out.rename(doomed)
    shutil.rmtree(doomed)
