"""Verifying a version's directory: its signature, its manifest, the digest of every file and tensor, its bill.

It works on a checkpoint in the home, and on a copy of a checkpoint, or of one of its forms, anywhere else.  Every
file is read once, the tensors of the bill once more.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from editing.durable import open_regular, sha256_of
from editing.errors import EditingError
from editing.storage.manifest import NAME as MANIFEST
from editing.storage.manifest import Manifest, read_manifest
from kbsync.application import Application
from kbsync.errors import BadData, NoInput
from kbsync.signing import bom
from kbsync.signing.keys import known as keys_of
from kbsync.signing.materials import tensors_in
from kbsync.signing.signatures import SIGNATURE, BadSignature, NotSigned, read_signature
from state.records import Checkpoint

Part = Literal["signature", "manifest", "file", "tensor", "bom"]
_BOM_BYTES = 64 << 20
_DELTA, _ADAPTER = "delta.safetensors", "adapter_config.json"


@dataclass(frozen=True, slots=True)
class Deviation:
    """Something that is not as it was signed."""

    part: Part
    name: str
    """Of the file or tensor."""
    what: str

    def __str__(self) -> str:
        return f"{self.name}: {self.what}"


@dataclass(frozen=True, slots=True)
class VerifiedVersion:
    """The outcome of a verification."""

    directory: Path
    kind: str
    """`base`, `checkpoint`, `delta`, `adapter`, or `files` for another form."""
    digest: str
    """Of the manifest; empty where there is none."""
    key: str
    """The fingerprint of the key that signed; empty for a directory without a valid signature."""
    files: int
    tensors: int
    problems: tuple[Deviation, ...] = ()

    @property
    def ok(self) -> bool:
        return not self.problems

    def require(self) -> None:
        """Raises BadData that names what differs, if anything does."""
        if not self.ok:
            first, more = self.problems[0], len(self.problems) - 1
            raise BadData(
                f"{self.directory} does not verify: {first}" + (f" (and {more} more)" if more else ""),
                "`kbsync verify` lists everything; build it again, or restore it",
            )


def require(app: Application, checkpoint: Checkpoint, alive: Callable[[], None] = lambda: None) -> None:
    """Raise BadData unless the checkpoint's directory is what was promoted, signed with a key of this ledger."""
    found = verify(app.home.checkpoint(checkpoint.path), trusted(app), alive=alive)
    found.require()
    if found.digest != checkpoint.digest:
        raise BadData(
            f"{found.directory} is signed, but is not checkpoint {checkpoint.id}",
            "build it again with `kbsync rebuild`",
        )


def trusted(app: Application) -> dict[str, str]:
    """The keys of the ledger whose signatures are valid: fingerprint -> PEM."""
    return {name: key.pem for name, key in keys_of(app).trusted().items()}


@dataclass
class _Verification:
    """One directory while it is being verified."""

    directory: Path
    alive: Callable[[], None]
    problems: list[Deviation] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    """Every regular file -> SHA-256."""

    def add(self, part: Part, name: str, what: str) -> None:
        self.problems.append(Deviation(part, name, what))


def verify(
    directory: Path,
    keys: Mapping[str, str],
    *,
    signed: bool = True,
    alive: Callable[[], None] = lambda: None,
) -> VerifiedVersion:
    """Read every byte of `directory` and compare it with its signature, manifest and bill of materials.

    `keys`: fingerprint -> PEM of every key that is trusted.  `signed`: a signature is required.  `alive` is called
    after each file.  Raises NoInput if there is no such directory, BadConfiguration without the package model-signing.
    """
    directory = directory.resolve()
    if not directory.is_dir():
        raise NoInput(f"there is no directory {directory}", "name a checkpoint, or one of its folders")
    at_work = _Verification(directory, alive)
    _hash(at_work)
    key = _signature(at_work, keys, required=signed)
    manifest = _manifest(at_work)
    bill = _bill(at_work, manifest, required=signed)
    tensors = _tensors(at_work, bill)
    return VerifiedVersion(
        directory,
        _kind(at_work.files, manifest),
        manifest.digest if manifest else "",
        key,
        len(at_work.files),
        tensors,
        tuple(at_work.problems),
    )


def _hash(at: _Verification) -> None:
    """Hash every file; what is neither a regular file nor a directory is a problem."""
    for path in sorted(at.directory.rglob("*")):
        name = path.relative_to(at.directory).as_posix()
        at.alive()
        if path.is_symlink():
            at.add("file", name, "is a symbolic link, which is not followed")
        elif not path.is_dir():
            try:
                at.files[name] = sha256_of(path)
            except OSError as error:
                at.add("file", name, f"cannot be read: {error.strerror or error}")


def _signature(at: _Verification, keys: Mapping[str, str], *, required: bool) -> str:
    """The key that signed; files that are not as they were signed are problems."""
    try:
        found = read_signature(at.directory / SIGNATURE, keys)
    except NotSigned as error:
        if required:
            at.add("signature", SIGNATURE, f"is missing: {error}")
        return ""
    except BadSignature as error:
        at.add("signature", SIGNATURE, str(error))
        return ""
    actual = {name: digest for name, digest in at.files.items() if name != SIGNATURE}
    for name, what in _compared(found.files, actual):
        at.add("file", name, what)
    return found.key


def _compared(expected: Mapping[str, str], found: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Files that are missing, renamed, changed or too many."""
    missing = {name: digest for name, digest in expected.items() if name not in found}
    surplus = {name: digest for name, digest in found.items() if name not in expected}
    for name, digest in sorted(missing.items()):
        other = next((one for one in surplus if surplus[one] == digest), None)
        if other is not None:
            del surplus[other]
        yield name, "is missing" if other is None else f"was renamed to {other}"
    for name in sorted(surplus):
        yield name, "was not signed: it does not belong here"
    for name, digest in sorted(expected.items()):
        if found.get(name, digest) != digest:
            yield name, f"was changed: SHA-256 {found[name]}, signed was {digest}"


def _manifest(at: _Verification) -> Manifest | None:
    """The manifest of a checkpoint or base; files that differ from it are problems.  None for a form."""
    if MANIFEST not in at.files:
        return None
    try:
        manifest = read_manifest(at.directory)
    except EditingError as error:
        at.add("manifest", MANIFEST, str(error))
        return None
    known = {problem.name for problem in at.problems}
    for name, digest in sorted(manifest.files.items()):
        if name not in known and at.files.get(name) != digest:
            found = at.files.get(name)
            at.add(
                "manifest",
                name,
                "is missing" if found is None else f"has SHA-256 {found}, the manifest has {digest}",
            )
    own = {MANIFEST, bom.NAME, SIGNATURE}
    for name in sorted(at.files.keys() - manifest.files.keys()):
        if name not in known and name.rpartition("/")[2] not in own:
            at.add("manifest", name, "is not in the manifest: it does not belong here")
    return manifest


def _bill(at: _Verification, manifest: Manifest | None, *, required: bool) -> dict[str, dict[str, str]]:
    """The tensors of the bill of materials: file -> tensor -> SHA-256.

    A bill that is about another version, or that CycloneDX does not accept, is a problem.
    """
    if bom.NAME not in at.files:
        if required and not (manifest is not None and manifest.kind == "base"):
            at.add("bom", bom.NAME, "is missing")
        return {}
    try:
        with open_regular(at.directory / bom.NAME) as file:
            text = file.read(_BOM_BYTES).decode()
        component = json.loads(text)["metadata"]["component"]
        base = _stated(component)["base"]
        hashes = {one["content"] for one in component.get("hashes", ())}
        tensors: dict[str, dict[str, str]] = {}
        for one in component["components"]:
            if one["type"] == "data":
                tensors.setdefault(_stated(one)["file"], {})[one["name"]] = one["hashes"][0]["content"]
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        at.add("bom", bom.NAME, f"is not a bill of materials of kbsync ({type(error).__name__}: {error})")
        return {}
    if manifest is not None and base != manifest.base:
        at.add("bom", bom.NAME, f"is about another base, {base[:12]}…")
    if manifest is not None and manifest.digest not in hashes:
        at.add("bom", bom.NAME, "is about another version than the manifest")
    if (wrong := _against_schema(text)) is not None:
        at.add("bom", bom.NAME, f"does not match CycloneDX's schema: {wrong}")
    return tensors


def _stated(component: Mapping[str, Any]) -> dict[str, str]:
    """The properties of a component that are kbsync's own."""
    return {one["name"].removeprefix("kbsync:"): str(one["value"]) for one in component["properties"]}


def _against_schema(text: str) -> str | None:
    """What CycloneDX's own schema finds wrong; None if nothing, or if its package is not installed."""
    try:
        from cyclonedx.schema import SchemaVersion
        from cyclonedx.validation.json import JsonStrictValidator
    except ImportError:
        return None
    error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    return None if error is None else str(error.data.message)[:200]


def _tensors(at: _Verification, stated: Mapping[str, Mapping[str, str]]) -> int:
    """How many tensors were compared with the bill; one that differs, or is not in it, is a problem."""
    count = 0
    for file, expected in sorted(stated.items()):
        if file not in at.files:
            continue  # it is missing, which is among the problems
        at.alive()
        try:
            found = {one.name: one.sha256 for one in tensors_in(at.directory, file)}
        except EditingError as error:
            at.add("tensor", file, f"its tensors cannot be read: {error}")
            continue
        count += len(found)
        for name, what in _compared(expected, found):
            at.add("tensor", f"{file}: {name}", what.replace("signed was", "the bill has"))
    return count


def _kind(files: Iterable[str], manifest: Manifest | None) -> str:
    names = set(files)
    if manifest is not None:
        return manifest.kind
    if _DELTA in names:
        return "delta"
    return "adapter" if _ADAPTER in names else "files"
