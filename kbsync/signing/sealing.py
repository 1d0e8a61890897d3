"""Completing a version before it goes live: its bill of materials and, where a key exists, its signatures.

Each form (a folder of the checkpoint) has a bill and a signature of its own, so that it can be verified where it was
copied to without the rest.  The checkpoint's signature covers everything else in the directory.

    checkpoints/7-1/
      kbsync.json, config.json, editable.safetensors, …
      bom.cdx.json              bill of materials
      model.sig                 covers every file but itself
      delta/delta.safetensors
      delta/bom.cdx.json
      delta/model.sig           covers the files of delta/ but itself

No file of the manifest is read for the signature: its digests are those that were computed when it was written, and a
promotion verifies them against the bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import structlog

from editing.crashpoints import crash_point
from editing.durable import sha256_of, sweep, write_file
from editing.errors import DamagedCheckpoint, EditingError
from editing.model.directory import TEMPLATES
from editing.storage.manifest import NAME as MANIFEST
from editing.storage.manifest import Manifest, read_manifest, verify
from kbsync.application import Application
from kbsync.errors import BadConfiguration, BadData, KbsyncError
from kbsync.leadership import ACTOR, Leadership
from kbsync.signing import bom, keys
from kbsync.signing.materials import edited_tensors, form_tensors, materials
from kbsync.signing.signatures import SIGNATURE, BadSignature, NotSigned, fingerprint_in, read_signature, sign
from state.model_keys import ModelKey
from state.records import Checkpoint

log = structlog.get_logger()


def seal(app: Application, leadership: Leadership, number: int | None) -> None:
    """Write what is missing of a checkpoint's bills of materials and signatures, and log new signatures.

    Doing it again changes nothing, unless the key was revoked: then another signs.  Raises BadConfiguration if a
    signature is required but there is no key, or no package to sign with; BadData if the directory is not the
    checkpoint's or has a file that does not belong to it; EditingError.
    """
    assert number is not None
    with app.state.read() as tx:
        checkpoint = tx.checkpoint(number)
    key = keys.signer(app)
    if key is None and app.settings.signing.required:
        raise BadConfiguration(
            "[signing] required is set, and there is no key to sign versions with",
            "create one with `kbsync keys create --for models`",
        )
    directory = app.home.checkpoint(checkpoint.path)
    manifest = read_manifest(directory)
    if manifest.digest != checkpoint.digest:
        raise BadData(
            f"{directory} is not checkpoint {checkpoint.id}: its manifest has another digest",
            "build it again with `kbsync sync`",
        )
    for folder in (directory, *(directory / form for form in forms_of(manifest))):
        sweep(folder)  # what a process that was killed here has left
    try:
        _write_bills(app, checkpoint, directory, manifest)
    except DamagedCheckpoint:
        verify(directory)  # names a damaged file of the checkpoint, and what to do
        raise
    crash_point("kbsync.signing:after-bills")
    if key is not None:
        _refuse_strangers(directory, manifest)
        _sign(app, leadership, checkpoint, manifest, key)


def seal_kept(app: Application, leadership: Leadership, checkpoint: Checkpoint) -> None:
    """Seal a checkpoint that was promoted before, if it has no bill of materials or no valid signature.

    A failure is logged: whatever cannot be completed now is refused by what requires it.
    """
    directory = app.home.checkpoint(checkpoint.path)
    try:
        trusted = keys.known(app).trusted()
        complete = (directory / bom.NAME).is_file() and (
            not trusted or fingerprint_in(directory / SIGNATURE) in trusted
        )
        if not complete:
            seal(app, leadership, checkpoint.id)
    except (KbsyncError, EditingError, OSError) as error:
        log.warning("checkpoint.not_sealed", checkpoint=checkpoint.id, reason=str(error))


def forms_of(manifest: Manifest) -> list[str]:
    """The names of the forms in a checkpoint: the folders that its manifest lists, templates excepted."""
    folders = {name.partition("/")[0] for name in manifest.files if "/" in name}
    return sorted(folders - {TEMPLATES})


def _write_bills(app: Application, checkpoint: Checkpoint, directory: Path, manifest: Manifest) -> None:
    made_of = materials(app, checkpoint, directory, manifest)
    for form in forms_of(manifest):
        files = _within(manifest.files, form)
        bill = bom.document(made_of, form, files, form_tensors(directory / form, files))
        _write(directory / form / bom.NAME, bill)
    tensors = edited_tensors(directory, app.home.base / checkpoint.base, manifest)
    _write(directory / bom.NAME, bom.document(made_of, bom.CHECKPOINT, manifest.files, tensors))


def _sign(
    app: Application,
    leadership: Leadership,
    checkpoint: Checkpoint,
    manifest: Manifest,
    key: tuple[ModelKey, Path],
) -> None:
    """Sign the forms, then the whole; a signature that is valid is left as it is."""
    directory = app.home.checkpoint(checkpoint.path)
    trusted = {name: one.pem for name, one in keys.known(app).trusted().items()}
    bills, signatures = {}, {}
    for form in forms_of(manifest):
        bills[f"{form}/{bom.NAME}"] = bill = sha256_of(directory / form / bom.NAME)
        files = {**_within(manifest.files, form), bom.NAME: bill}
        signatures[f"{form}/{SIGNATURE}"] = _signed(directory / form, files, trusted, key[1])
    bills |= {name: sha256_of(directory / name) for name in (MANIFEST, bom.NAME)}
    whole = {**manifest.files, **bills, **signatures}
    signatures[SIGNATURE] = _signed(directory, whole, trusted, key[1])
    _log_signatures(leadership, checkpoint, key[0], signatures)


def _signed(directory: Path, files: Mapping[str, str], trusted: Mapping[str, str], key: Path) -> str:
    """The SHA-256 of the directory's signature, which is made unless there is a valid one."""
    path = directory / SIGNATURE
    try:
        if read_signature(path, trusted).files == files:
            return sha256_of(path)
    except (NotSigned, BadSignature) as reason:
        log.debug("signature.made", directory=str(directory), reason=str(reason))
    content = sign(directory.name, files, key)
    write_file(path, content, mode=0o444)
    return hashlib.sha256(content).hexdigest()


def _log_signatures(
    leadership: Leadership, checkpoint: Checkpoint, key: ModelKey, signatures: Mapping[str, str]
) -> None:
    """Write the event unless the last one about this checkpoint is the same."""
    body = {
        "checkpoint": checkpoint.id,
        "key": key.name,
        "fingerprint": key.fingerprint,
        "signatures": dict(signatures),
    }
    with leadership.write() as tx:
        events = tx.events(run=checkpoint.run, kind="checkpoint.signed")
        logged = [json.loads(event.body) for event in events]
        if not any(
            (one["checkpoint"], one["signatures"]) == (checkpoint.id, body["signatures"]) for one in logged
        ):
            tx.emit("checkpoint.signed", ACTOR, body, run=checkpoint.run)
            log.info("checkpoint.signed", checkpoint=checkpoint.id, key=key.name)


def _refuse_strangers(directory: Path, manifest: Manifest) -> None:
    """Raises BadData for a file that is not the checkpoint's: a signature would vouch for it, or not verify."""
    own = {MANIFEST, bom.NAME, SIGNATURE, *manifest.files}
    for form in forms_of(manifest):
        own |= {f"{form}/{bom.NAME}", f"{form}/{SIGNATURE}"}
    for name in _names(directory):
        if name not in own:
            raise BadData(
                f"{directory / name} does not belong to the checkpoint, which is therefore not signed",
                "move it away, then repeat",
            )


def _names(directory: Path) -> Iterator[str]:
    for path in sorted(directory.rglob("*")):
        if path.is_symlink() or not path.is_dir():
            yield path.relative_to(directory).as_posix()


def _within(files: Mapping[str, str], folder: str) -> dict[str, str]:
    """The files of a folder by their names within it."""
    prefix = f"{folder}/"
    return {name.removeprefix(prefix): digest for name, digest in files.items() if name.startswith(prefix)}


def _write(path: Path, content: bytes) -> None:
    """Write the file unless it has this content."""
    if not path.is_file() or path.read_bytes() != content:
        write_file(path, content, mode=0o444)
