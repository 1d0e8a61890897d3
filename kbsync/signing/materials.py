"""What a version was made of, collected from the ledger, the settings and the checkpoint's directory."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from editing.storage.base_import import EDITABLE
from editing.storage.manifest import Manifest
from editing.storage.shards import read_header
from kbsync.application import Application
from kbsync.signing.bom import GateValue, Materials, SourceUse, Tensor
from state import Snapshot
from state.records import Checkpoint, Run

CC0 = "CC0-1.0"
"""The licence of Wikidata's statements (https://www.wikidata.org/wiki/Wikidata:Licensing)."""
_CONFIG_BYTES = 4 << 20
_LICENCE_FILES = ("LICENSE", "LICENCE", "NOTICE", "COPYING", "USE_POLICY")
_WEIGHTS = ".safetensors"


def materials(app: Application, checkpoint: Checkpoint, directory: Path, manifest: Manifest) -> Materials:
    """Everything that the bill of materials of `checkpoint`, which lies in `directory`, states."""
    model = app.settings.model
    imported = app.imported_base()
    is_current = imported is not None and imported.digest == checkpoint.base
    config = _config(directory)
    architectures = config.get("architectures")
    with app.state.read() as tx:
        run = judged_by(tx, checkpoint)
        facts = tx.view_facts(checkpoint.view)
        known = tx.known_facts(checkpoint.base, [fact.id for fact in facts])
        gates = [one for one in tx.gate_results(run.id) if one.round == run.round]
        settings = _settings(tx, run)
    by_source = Counter(fact.source for fact in facts)
    return Materials(
        checkpoint=checkpoint.id,
        run=run.id,
        name=checkpoint.path,
        digest=checkpoint.digest,
        view=checkpoint.view,
        created=checkpoint.created,
        base=checkpoint.base,
        base_name=model.path.name
        if is_current and model.path is not None
        else f"base-{checkpoint.base[:12]}",
        base_licence=model.licence if is_current else None,
        base_licence_files={
            name: digest for name, digest in manifest.files.items() if name.startswith(_LICENCE_FILES)
        },
        architecture=str(architectures[0]) if isinstance(architectures, list) and architectures else "",
        model_type=str(config.get("model_type", "")),
        edited=len(facts) - len(known),
        known=len(known),
        sources=[_source(app, name, count) for name, count in sorted(by_source.items())],
        relations=Counter(fact.relation for fact in facts),
        recipe=json.loads(checkpoint.recipe) if checkpoint.recipe else {},
        settings=settings,
        gates=[
            GateValue(one.name, one.value, one.bound, one.threshold, one.n, one.passed)
            for one in sorted(gates, key=lambda one: one.name)
        ],
    )


def judged_by(tx: Snapshot, checkpoint: Checkpoint) -> Run:
    """The run that judged the checkpoint last: the one that built it, or a later one of the same view."""
    runs = [run for run in tx.runs() if run.checkpoint == checkpoint.id and tx.gate_results(run.id)]
    return max(runs, key=lambda run: run.id) if runs else tx.run(checkpoint.run)


def _settings(tx: Snapshot, run: Run) -> str:
    """The digest of the settings that decided the run's verdicts, as the event with them states it."""
    events = tx.events(run=run.id, kind="run.gates")
    return str(json.loads(events[-1].body).get("settings", "")) if events else ""


def licence_of(source: Mapping[str, Any]) -> str | None:
    """The licence of a source's statements: as its settings state, CC0 for Wikidata itself; None: unknown."""
    if source.get("licence"):
        return str(source["licence"])
    host = urlsplit(str(source.get("endpoint", ""))).hostname or ""
    wikidata = str(source.get("kind", "")).startswith("wikidata") and (
        host == "wikidata.org" or host.endswith(".wikidata.org")
    )
    return CC0 if wikidata else None


def _source(app: Application, name: str, facts: int) -> SourceUse:
    settings = app.settings.sources.get(name, {})
    return SourceUse(name, str(settings.get("kind", "")), licence_of(settings), facts)


def _config(directory: Path) -> dict[str, Any]:
    """The model's configuration, as far as it can be read."""
    try:
        found = json.loads((directory / "config.json").read_bytes()[:_CONFIG_BYTES])
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def edited_tensors(directory: Path, base: Path, manifest: Manifest) -> list[Tensor]:
    """The tensors of a checkpoint that an edit can change; one whose base is gone counts as changed.

    Raises DamagedCheckpoint.
    """
    if EDITABLE not in manifest.files:
        return []
    before = (
        {one.name: one.sha256 for one in tensors_in(base, EDITABLE)} if (base / EDITABLE).exists() else {}
    )
    return [
        Tensor(one.name, one.file, one.dtype, one.shape, one.sha256, before.get(one.name) != one.sha256)
        for one in tensors_in(directory, EDITABLE)
    ]


def form_tensors(directory: Path, files: Mapping[str, str]) -> list[Tensor]:
    """The tensors of a form: everything in it was changed.  Raises DamagedCheckpoint."""
    weights = sorted(name for name in files if name.endswith(_WEIGHTS))
    return [tensor for name in weights for tensor in tensors_in(directory, name)]


def tensors_in(directory: Path, file: str) -> Iterator[Tensor]:
    """Every tensor of a safetensors file with its SHA-256, by name.  Raises DamagedCheckpoint."""
    for name, stored in sorted(read_header(directory / file).items()):
        digest = hashlib.sha256()
        for piece in stored.chunks():
            digest.update(piece)
        yield Tensor(name, file, stored.dtype, stored.shape, digest.hexdigest(), True)
