"""Checkpoint directories: writing one, checking it, making it live, cleaning up after crashes.

A checkpoint is a complete Hugging Face directory.  Files that are never edited are hard links to the imported
base (`base_import.py`), the editable shard is written for each checkpoint, and `live` is a symbolic link that is
switched by rename.  No file is ever changed in place.  Importable without torch.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from editing.crashpoints import crash_point
from editing.durable import (
    STAGING,
    fsync_directory,
    fsync_file,
    link_or_copy,
    remove,
    sha256_of,
    staging_name,
)
from editing.errors import CheckpointError
from editing.storage.base_import import EDITABLE, import_base
from editing.storage.forms import Form, Measure, form_named
from editing.storage.manifest import NAME, Manifest, read_manifest, verify
from editing.storage.pack import FILE as PACK
from editing.storage.shards import StoredTensor, encoded, read_header, write_shard

if TYPE_CHECKING:
    import torch

LIVE = "live"
_SWITCH = f"{STAGING}{LIVE}-"

__all__ = [
    "Extras",
    "collect_garbage",
    "import_base",
    "read_changed",
    "read_editable",
    "read_live",
    "read_manifest",
    "relink",
    "switch_live",
    "verify",
    "write_checkpoint",
]


@dataclass(frozen=True, slots=True)
class Extras:
    """What a build adds to a checkpoint besides its weights."""

    measure: Measure | None = None
    """Further figures of forms for the manifest."""
    pack: Path | None = None
    """A retrieval pack (`editing.storage.pack`), copied into the checkpoint and into each form's folder."""


def write_checkpoint(
    base: Path,
    out: Path,
    tensors: Mapping[str, torch.Tensor],
    forms: Collection[str] | Mapping[str, Form | None] = (),
    *,
    solved: Mapping[str, float] | None = None,
    options: Mapping[str, Mapping[str, int]] | None = None,
    extras: Extras | None = None,
) -> str:
    """Write the base with `tensors` (by parameter name) in place of its own; returns the digest.

    `forms` lists further forms of the same candidate (`editing.storage.forms`), each in a separate folder; a mapping
    gives those that are prepared already.  `options` are their settings by form.  `solved` (λ and leverage) is written
    to the manifest, and so are the figures of forms: those that writing them gives, and those of `extras`, which may
    also name a retrieval pack.
    The tensors are rounded to the dtype that the base is stored in.  `out` appears complete and synced, or not at
    all.  Raises CheckpointError if it exists, if a tensor is not editable, has another shape or is not finite after
    rounding, or if the file system refuses.
    """
    manifest, extras = read_manifest(base), extras or Extras()
    if out.exists() or out.is_symlink():
        raise CheckpointError(f"{out} exists already: a checkpoint is never overwritten; choose another name")
    stored = read_header(base / EDITABLE)
    replaced = {}
    for name, tensor in tensors.items():
        if name not in manifest.editable:
            raise CheckpointError(f"{name!r} is not an editable tensor of {base}: import the base again")
        entry = stored[manifest.editable[name]]
        replaced[entry.name] = encoded(name, tensor, entry)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with _staged(out) as staging:
            files = _write_shards(base, manifest, staging, stored.values(), replaced)
            written, figures = _write_forms(staging, base, tensors, forms, options or {}, extras.measure)
            written |= _copy_pack(extras.pack, staging, forms) if extras.pack is not None else {}
            built = replace(
                manifest,
                kind="checkpoint",
                base=manifest.digest,
                files=files | written,
                solved=dict(solved or {}),
                forms=figures,
                tensors={name: one.digest() for name, one in read_header(staging / EDITABLE).items()},
            )
            return _complete(built, staging, out)
    except OSError as error:
        raise CheckpointError(
            f"cannot write checkpoint {out}: {error.strerror or error}; nothing was left behind"
        ) from error


@contextmanager
def _staged(out: Path) -> Iterator[Path]:
    """A directory next to `out` for the block to fill and rename; removed after an error."""
    staging = staging_name(out)
    staging.mkdir()
    try:
        yield staging
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise


def _write_shards(
    base: Path, manifest: Manifest, staging: Path, stored: Iterable[StoredTensor], replaced: dict[str, bytes]
) -> dict[str, str]:
    """The base's files, linked, and the editable shard, written; file → SHA-256."""
    for name in manifest.files:
        if name != EDITABLE:
            (staging / name).parent.mkdir(exist_ok=True)
            link_or_copy(base / name, staging / name)
    return {**manifest.files, EDITABLE: write_shard(staging / EDITABLE, stored, replaced)}


def _write_forms(
    staging: Path,
    base: Path,
    tensors: Mapping[str, torch.Tensor],
    forms: Collection[str] | Mapping[str, Form | None],
    options: Mapping[str, Mapping[str, int]],
    measure: Measure | None,
) -> tuple[dict[str, str], dict[str, dict[str, float]]]:
    """Write each form; returns file → SHA-256 of all, and the figures of those that have some."""
    files: dict[str, str] = {}
    figures: dict[str, dict[str, float]] = {}
    for name in sorted(forms):
        prepared = forms[name] if isinstance(forms, Mapping) else None
        directory, write = staging / name, prepared or form_named(name)
        directory.mkdir()
        found = dict(write(base, tensors, directory, **options.get(name, {})) or {})
        found |= measure(name, directory) if measure else {}
        figures |= {name: found} if found else {}
        for path in sorted(directory.iterdir()):
            if not path.is_file() or path.is_symlink():
                raise CheckpointError(f"the form {name!r} wrote {path.name!r}, which is not a regular file")
            fsync_file(path)
            files[f"{name}/{path.name}"] = sha256_of(path)
    return files, figures


def _copy_pack(pack: Path, staging: Path, forms: Iterable[str]) -> dict[str, str]:
    """Put the pack into the checkpoint and each form's folder; file → SHA-256."""
    shutil.copyfile(pack, staging / PACK)
    fsync_file(staging / PACK)
    digest = sha256_of(staging / PACK)
    for name in sorted(forms):
        link_or_copy(staging / PACK, staging / name / PACK)
    return {PACK: digest} | {f"{name}/{PACK}": digest for name in sorted(forms)}


def _complete(built: Manifest, staging: Path, out: Path) -> str:
    """Write the manifest, sync, and rename the directory; returns the digest."""
    (staging / NAME).write_bytes(built.to_bytes())
    fsync_file(staging / NAME)
    for folder in {(staging / name).parent for name in built.files} | {staging}:
        fsync_directory(folder)
    crash_point("editing.checkpoints:before-rename")
    staging.rename(out)
    crash_point("editing.checkpoints:after-rename")
    fsync_directory(out.parent)
    return built.digest


def read_editable(directory: Path, names: Collection[str] | None = None) -> dict[str, torch.Tensor]:
    """The editable tensors of a base or checkpoint (all, or `names`), by parameter name, as stored."""
    from safetensors import safe_open

    manifest = read_manifest(directory)
    wanted = manifest.editable if names is None else {name: manifest.editable[name] for name in names}
    with safe_open(directory / EDITABLE, framework="pt") as file:
        return {name: file.get_tensor(stored) for name, stored in wanted.items()}


def read_changed(base: Path, directory: Path) -> dict[str, torch.Tensor]:
    """The editable tensors of `directory` that differ from those of its base `base`: one at a time in memory."""
    import torch
    from safetensors import safe_open

    editable = read_manifest(base).editable
    changed = {}
    with (
        safe_open(base / EDITABLE, framework="pt") as before,
        safe_open(directory / EDITABLE, framework="pt") as after,
    ):
        for name, stored in editable.items():
            tensor = after.get_tensor(stored)
            if not torch.equal(tensor, before.get_tensor(stored)):
                changed[name] = tensor
    return changed


def switch_live(root: Path, name: str) -> None:
    """Make `<root>/live` point to the checkpoint `<root>/<name>`; a reader sees the old or the new one."""
    if Path(name).name != name or not (root / name / NAME).is_file():
        raise CheckpointError(f"{root / name} is not a complete checkpoint: live stays as it is")
    if (root / LIVE).exists() and not (root / LIVE).is_symlink():
        raise CheckpointError(f"{root / LIVE} is not a symbolic link: move it away, then promote again")
    temporary = root / f"{_SWITCH}{os.getpid()}-{secrets.token_hex(4)}"
    try:
        temporary.symlink_to(name)
        crash_point("editing.checkpoints:before-switch")
        temporary.replace(root / LIVE)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise CheckpointError(f"cannot switch {root / LIVE}: {error.strerror or error}") from error
    crash_point("editing.checkpoints:after-switch")
    fsync_directory(root)


def read_live(root: Path) -> str | None:
    """The target of the link `live`; None if nothing is live yet.

    It is the name of a checkpoint, unless somebody changed the link: a path that leads elsewhere names no
    checkpoint of `root`, whatever its last component is.
    """
    link = root / LIVE
    return str(link.readlink()) if link.is_symlink() else None


def relink(base: Path, directory: Path) -> tuple[str, ...]:
    """Replace damaged files of a checkpoint with intact ones of its base; returns their names.

    Both share their frozen files, so damage to one is damage to both until the base is imported again.
    The editable shard belongs to the checkpoint: only a build can restore it.  Raises CheckpointError.
    """
    whole, ours = read_manifest(base), read_manifest(directory)
    if ours.base != whole.digest:
        raise CheckpointError(f"{directory} was built from another base than {base}: nothing was replaced")
    replaced = []
    for name, expected in sorted(ours.files.items()):
        if (
            whole.files.get(name) != expected
            or _is(directory / name, expected)
            or not _is(base / name, expected)
        ):
            continue
        temporary = staging_name(directory / name)
        try:
            link_or_copy(base / name, temporary)
            temporary.replace(directory / name)
            fsync_directory((directory / name).parent)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise CheckpointError(f"cannot replace {directory / name}: {error.strerror or error}") from error
        replaced.append(name)
    return tuple(replaced)


def _is(path: Path, digest: str) -> bool:
    return path.is_file() and sha256_of(path) == digest


def collect_garbage(root: Path, keep: Collection[str]) -> tuple[str, ...]:
    """Remove unfinished directories and links, and checkpoints that are not in `keep`; returns their names.

    The target of `live` is never removed, nor any file that kbsync did not write.  Call it only while no other
    process writes below `root`.  A checkpoint that is not kept is first renamed, so that a crash in the middle leaves
    a directory that the next call recognises as unfinished.
    """
    if not root.is_dir():
        return ()
    live = read_live(root)
    removed = []
    for path in sorted(root.iterdir()):
        doomed = path
        if path.name.startswith(STAGING):
            pass
        elif path.is_symlink() or path.name in keep or path.name == live or not (path / NAME).is_file():
            continue
        else:
            doomed = staging_name(path)
            path.rename(doomed)
            crash_point("editing.checkpoints:during-removal")
        remove(doomed)
        removed.append(path.name)
    if removed:
        fsync_directory(root)
    return tuple(removed)
