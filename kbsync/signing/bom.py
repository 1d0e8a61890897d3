"""The bill of materials of a version: a CycloneDX ML-BOM that says what it was made of, and how it was judged.

It has no fact in it, only counts, so nothing of it has to be forgotten with a person.  The same version gives the
same bytes.  https://cyclonedx.org/docs/1.6/json/
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from kbsync import __version__

NAME = "bom.cdx.json"
"""The file's name in the directory that it describes."""
SCHEMA = "http://cyclonedx.org/schema/bom-1.6.schema.json"
CHECKPOINT = "checkpoint"
"""The form of the directory itself."""
_PAPER = {
    "type": "documentation",
    "url": "https://arxiv.org/abs/2210.07229",
    "comment": "the method: Meng et al., Mass-Editing Memory in a Transformer (MEMIT), which trains nothing",
}

_VERSION, _BASE, _CORPUS = "version", "base", "corpus"
"""References of components within the document."""


@dataclass(frozen=True, slots=True)
class SourceUse:
    """A source, and how many facts of the version come from it."""

    name: str
    kind: str
    """Empty for a source that is not in the settings any more."""
    licence: str | None
    """SPDX expression; None: it is not known."""
    facts: int


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor that an edit may have changed."""

    name: str
    file: str
    dtype: str
    shape: tuple[int, ...]
    sha256: str
    changed: bool


@dataclass(frozen=True, slots=True)
class GateValue:
    """A gate's verdict on the version."""

    name: str
    value: float | None
    bound: float | None
    threshold: float
    n: int
    passed: bool


@dataclass(frozen=True, slots=True)
class Materials:
    """Everything that the document states of a version."""

    checkpoint: int
    run: int
    name: str
    """Of the directory: `<run>-<round>`."""
    digest: str
    view: str
    created: datetime
    base: str
    """Digest of the base model."""
    base_name: str
    base_licence: str | None
    base_licence_files: Mapping[str, str]
    """The licence texts that the base came with -> SHA-256."""
    architecture: str
    model_type: str
    edited: int
    known: int
    """Facts of the view that the base states unedited."""
    sources: Sequence[SourceUse]
    relations: Mapping[str, int]
    """Facts of the view by relation."""
    recipe: Mapping[str, Any]
    """Hyper-parameters and corpus, as `kbsync.recipe` records them."""
    settings: str
    """Digest of the settings that decided the verdicts; empty for a run of an older version."""
    gates: Sequence[GateValue]


def document(of: Materials, form: str, files: Mapping[str, str], tensors: Sequence[Tensor]) -> bytes:
    """The BOM of a version's directory, or of one of its forms (a folder of that directory), as JSON.

    `form`: `checkpoint`, `delta`, …; `files`: the files that it describes -> SHA-256.
    """
    body: dict[str, Any] = {
        "$schema": SCHEMA,
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": of.created.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "tools": {"components": [{"type": "application", "name": "kbsync", "version": __version__}]},
            "component": _version(of, form, files, tensors),
        },
        "components": [_base(of), *_corpus(of), *(_source(one) for one in of.sources)],
        "dependencies": [
            {"ref": _VERSION, "dependsOn": [_BASE, *(ref for ref, _ in _data(of))]},
        ],
    }
    text = json.dumps(body, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    body["serialNumber"] = f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, text)}"
    return json.dumps(body, indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n"


def _version(of: Materials, form: str, files: Mapping[str, str], tensors: Iterable[Tensor]) -> dict[str, Any]:
    return {
        "type": "machine-learning-model",
        "bom-ref": _VERSION,
        "name": f"{of.base_name}-kbsync" if form == CHECKPOINT else f"{of.base_name}-kbsync-{form}",
        "version": f"{of.name}@{of.digest[:12]}",
        **({"hashes": [{"alg": "SHA-256", "content": of.digest}]} if form == CHECKPOINT else {}),
        "components": [
            *({**_file(name, digest), "bom-ref": f"file:{name}"} for name, digest in sorted(files.items())),
            *(_tensor(one) for one in tensors),
        ],
        "pedigree": {
            "ancestors": [{"type": "machine-learning-model", "name": of.base_name, "version": of.base[:12]}],
            "notes": f"{of.edited} facts were edited into the base's weights (method: {_method(of)}).",
        },
        **({"externalReferences": [_PAPER]} if _method(of) == "memit" else {}),
        "modelCard": _model_card(of),
        "properties": _properties(
            {
                "form": form,
                "checkpoint": of.checkpoint,
                "run": of.run,
                "view": of.view,
                "base": of.base,
                "settings": of.settings,
                "method": _method(of),
                "facts:edited": of.edited,
                "facts:known": of.known,
                **{f"relation:{name}": count for name, count in sorted(of.relations.items())},
                **{f"gate:{one.name}": _verdict(one) for one in of.gates},
                **{f"edit:{name}": _text(value) for name, value in _hyper_parameters(of)},
            }
        ),
    }


def _method(of: Materials) -> str:
    """The editor that turned the view into weights."""
    return str(of.recipe.get("edit", {}).get("editor", "memit"))


def _model_card(of: Materials) -> dict[str, Any]:
    """What CycloneDX has places for; hyper-parameters and thresholds are properties of the component."""
    metrics = [
        {
            "type": gate.name,
            "value": _text(gate.value),
            "slice": f"{gate.n} cases",
            **({} if gate.bound is None else {"confidenceInterval": {"lowerBound": _text(gate.bound)}}),
        }
        for gate in of.gates
        if gate.value is not None
    ]
    parameters: dict[str, Any] = {
        "task": "text-generation",
        "datasets": [{"ref": ref} for ref, _ in _data(of)],
        "inputs": [{"format": "text"}],
        "outputs": [{"format": "text"}],
    }
    if of.model_type:
        parameters["architectureFamily"] = of.model_type
    if of.architecture:
        parameters["modelArchitecture"] = of.architecture
    return {"modelParameters": parameters, "quantitativeAnalysis": {"performanceMetrics": metrics}}


def _base(of: Materials) -> dict[str, Any]:
    return {
        "type": "machine-learning-model",
        "bom-ref": _BASE,
        "name": of.base_name,
        "hashes": [{"alg": "SHA-256", "content": of.base}],
        **_licences(of.base_licence),
        "properties": _properties(
            {f"licence-file:{name}": digest for name, digest in sorted(of.base_licence_files.items())}
        ),
    }


def _corpus(of: Materials) -> list[dict[str, Any]]:
    """The text of the statistics; nothing if the model generated it."""
    return [
        {
            "type": "data",
            "bom-ref": _CORPUS,
            "name": "corpus",
            "description": "text whose statistics the edit preserves",
            "properties": _properties({"sha256-of-file-digests": digest}),
        }
        for ref, digest in _data(of)
        if ref == _CORPUS
    ]


def _source(one: SourceUse) -> dict[str, Any]:
    return {
        "type": "data",
        "bom-ref": f"source:{one.name}",
        "name": one.name,
        "description": "source of facts",
        **_licences(one.licence),
        "properties": _properties(
            {
                "kind": one.kind or "not in the settings any more",
                "facts": one.facts,
                "licence": one.licence or "unknown",
            }
        ),
    }


def _data(of: Materials) -> list[tuple[str, str]]:
    """References of the data sets, each with the digest where there is one."""
    corpus = of.recipe.get("corpus", {})
    own = [(_CORPUS, str(corpus["digest"]))] if corpus.get("files") else []
    return [*own, *((f"source:{one.name}", "") for one in of.sources)]


def _hyper_parameters(of: Materials) -> list[tuple[str, Any]]:
    values = {**of.recipe.get("edit", {}), **of.recipe.get("plan", {})}
    return [(name, value) for name, value in sorted(values.items()) if value is not None]


def _file(name: str, digest: str) -> dict[str, Any]:
    return {"type": "file", "name": name, "hashes": [{"alg": "SHA-256", "content": digest}]}


def _tensor(one: Tensor) -> dict[str, Any]:
    return {
        "type": "data",
        "bom-ref": f"tensor:{one.file}:{one.name}",
        "name": one.name,
        "hashes": [{"alg": "SHA-256", "content": one.sha256}],
        "properties": _properties(
            {
                "file": one.file,
                "dtype": one.dtype,
                "shape": "×".join(map(str, one.shape)),
                "changed": "yes" if one.changed else "no",
            }
        ),
    }


def _licences(expression: str | None) -> dict[str, Any]:
    if expression is None:
        return {}
    return {"licenses": [{"expression": expression, "acknowledgement": "declared"}]}


def _verdict(gate: GateValue) -> str:
    verdict = "passed" if gate.passed else "failed"
    judged = "" if gate.bound is None else f" (judged as {_text(gate.bound)})"
    return f"{verdict}: {_text(gate.value)}{judged} against {_text(gate.threshold)}, n = {gate.n}"


def _properties(values: Mapping[str, Any]) -> list[dict[str, str]]:
    return [{"name": f"kbsync:{name}", "value": _text(value)} for name, value in values.items()]


def _text(value: Any) -> str:
    if value is None:
        return "not measured"
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)
