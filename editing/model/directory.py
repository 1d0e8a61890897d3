"""Reading a model directory from an untrusted source: which files are read, and what is refused.

A downloaded directory may contain anything: links to private files, pipes, code, files that name other files,
deeply nested JSON.  So only files with known names are read, each as a regular file of bounded size that lies in
the directory itself (or in the hub cache of which it is a snapshot), and settings that would run code or fetch
something are refused by name before transformers reads them.  Torch-free.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any

from editing.durable import open_regular
from editing.errors import ModelError

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
TEMPLATES = "additional_chat_templates"
"""The only subdirectory that belongs to a model: chat templates by name (transformers, since 4.51)."""

MIB = 1 << 20
SMALL = 8 * MIB
"""Largest configuration, licence or template, in bytes."""
LARGE = 256 * MIB
"""Largest vocabulary, in bytes; Gemma 3's tokenizer.json has 32 MiB."""

KNOWN: dict[str, int] = {
    "config.json": SMALL,
    "generation_config.json": SMALL,
    "kbsync-edit.json": SMALL,
    "recipe.json": SMALL,
    "tokenizer.json": LARGE,
    "tokenizer_config.json": SMALL,
    "special_tokens_map.json": SMALL,
    "added_tokens.json": SMALL,
    "vocab.json": LARGE,
    "vocab.txt": LARGE,
    "merges.txt": LARGE,
    "tokenizer.model": LARGE,
    "spiece.model": LARGE,
    "sentencepiece.bpe.model": LARGE,
    "chat_template.jinja": SMALL,
    "chat_template.json": SMALL,
    "preprocessor_config.json": SMALL,
    "processor_config.json": SMALL,
    "video_preprocessor_config.json": SMALL,
    INDEX: 64 * MIB,
    "README.md": SMALL,
    "USE_POLICY.md": SMALL,
}
"""Files that belong to a model besides its weights, and their maximum sizes."""
_KNOWN_KINDS = (
    (re.compile(r"(LICEN[CS]E|NOTICE)[\w.-]*", re.ASCII | re.IGNORECASE), SMALL),
    (re.compile(r"[\w-][\w.-]*\.tiktoken", re.ASCII), LARGE),
    (re.compile(rf"{TEMPLATES}/[\w-][\w.-]*\.jinja", re.ASCII), SMALL),
)
_WEIGHTS = re.compile(r"[\w-][\w.-]*\.safetensors", re.ASCII)

_CODE = "it names code to be run when the model is loaded"
_PLAIN = "and an edit needs plain ones. Take the model in fp32, bf16 or fp16"
_REFUSED_KEYS = {
    "auto_map": f"{_CODE}. If transformers knows this model_type by itself, remove the key from a copy",
    "custom_generate": f"{_CODE}. Remove the key from a copy",
    "attn_implementation": "how attention is computed is decided when a model is loaded. Remove the key from a copy",
    "quantization_config": f"the weights are quantised, {_PLAIN}",
    "compression_config": f"the weights are compressed, {_PLAIN}",
}
_LOADED = (".safetensors", ".bin", ".pt", ".pth", ".gguf", ".py")
_ADAPTER = "adapter_config.json"


@dataclass(frozen=True)
class ModelDirectory:
    """An untrusted model directory.  All its methods raise ModelError."""

    path: Path

    @classmethod
    def at(cls, path: Path) -> ModelDirectory:
        """The directory at `path`; raises ModelError if there is none, or if it is an adapter."""
        if not path.is_dir():
            raise ModelError(f"no model directory at {path}: give the path of a local Hugging Face model")
        if os.path.lexists(path / _ADAPTER):
            raise ModelError(
                f"{path} holds an {_ADAPTER}: an adapter is loaded over another model, which the file names. Merge "
                "it into its model first (peft: model.merge_and_unload().save_pretrained(…))"
            )
        return cls(path)

    @cached_property
    def config(self) -> dict[str, Any]:
        """`config.json`, after checking that no JSON file asks for code, a kernel or a quantiser."""
        if not os.path.lexists(self.path / "config.json"):
            raise ModelError(f"{self.path} has no readable config.json: it is not a Hugging Face model")
        self._refuse_pipes()
        config: dict[str, Any] = {}
        for name in self.small_files():
            self._opened(name).close()
            if name.endswith(".json") and KNOWN.get(name) == SMALL:
                found = self._object(name)
                config = found if name == "config.json" else config
        return config

    def small_files(self) -> tuple[str, ...]:
        """Names of the small files that belong to the model, in order; a template's includes its folder."""
        names = [entry.name for entry in self._entries(self.path)]
        if TEMPLATES in names and not (self.path / TEMPLATES).is_symlink():
            names += [f"{TEMPLATES}/{entry.name}" for entry in self._entries(self.path / TEMPLATES)]
        return tuple(sorted(name for name in names if name != INDEX and _limit(name) is not None))

    def read(self, name: str) -> bytes:
        """The contents of a small file."""
        limit = _limit(name)
        if limit is None:
            raise ModelError(f"{self.path / name} is not a file of a model")
        with self._opened(name) as file:
            content = file.read(limit + 1)
        if len(content) > limit:
            raise ModelError(f"{self.path / name} is larger than {limit // MIB} MiB: it is not a {name}")
        return content

    def weight_map(self) -> dict[str, str] | None:
        """Tensor name → file, from the index; None if all weights are in one file."""
        index, single = (os.path.lexists(self.path / name) for name in (INDEX, SINGLE))
        if index and single:
            raise ModelError(
                f"{self.path} holds both {SINGLE} and {INDEX}: loaders disagree on them; remove one"
            )
        if single:
            return None
        if index:
            return self._indexed()
        if any(self.path.glob("*.bin")) or any(self.path.glob("*.pt*")):
            raise ModelError(
                f"{self.path} holds its weights in pickled files, which can run code when they are read: convert "
                "them where you trust them, with AutoModelForCausalLM.from_pretrained(…).save_pretrained(…)"
            )
        raise ModelError(f"{self.path} contains no weights: expected {SINGLE} or {INDEX}")

    def weight_files(self) -> tuple[Path, ...]:
        """The weight files, in order of their names: each a regular file of the model."""
        weights = self.weight_map()
        names = [SINGLE] if weights is None else sorted(set(weights.values()))
        for name in names:
            self._opened(name).close()
        return tuple(self.path / name for name in names)

    def _indexed(self) -> dict[str, str]:
        weights = self._object(INDEX).get("weight_map")
        if not isinstance(weights, dict) or not weights:
            raise ModelError(f"{self.path / INDEX} has no weight_map: copy or download it again")
        for tensor, name in weights.items():
            if not isinstance(name, str) or not _WEIGHTS.fullmatch(name):
                raise ModelError(
                    f"{self.path / INDEX} puts {tensor[:80]!r} into {name!r:.80}: expected the name of a "
                    ".safetensors file beside it; copy or download the model again"
                )
        return weights

    def _object(self, name: str) -> dict[str, Any]:
        """The JSON object in a file, checked."""
        path = self.path / name
        content = self.read(name)
        try:
            value = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise ModelError(f"{path} is not JSON ({error}): copy or download it again") from error
        if not isinstance(value, dict):
            raise ModelError(f"{path} does not contain a JSON object: copy or download it again")
        _refuse(value, path)
        return value

    def _entries(self, directory: Path) -> Iterator[os.DirEntry[str]]:
        try:
            with os.scandir(directory) as entries:
                yield from entries
        except OSError as error:
            raise ModelError(f"{directory} cannot be read: {error.strerror}") from error

    def _opened(self, name: str) -> IO[bytes]:
        """Open a regular file of the model; anything else with that name is refused unread."""
        path = self.path / name
        try:
            file = open_regular(path)
        except (OSError, ValueError) as error:
            raise ModelError(f"{path} cannot be read: {getattr(error, 'strerror', error)}") from error
        if not self._belongs(path):
            file.close()
            raise ModelError(
                f"{path} is a link to a file outside the model: copy that file here if it belongs to the model"
            )
        return file

    def _refuse_pipes(self) -> None:
        """Check all names: loaders open more names than are known here, and opening a pipe blocks forever."""
        for entry in self._entries(self.path):
            with suppress(OSError):  # a link that leads nowhere is no file
                mode = entry.stat().st_mode
                if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
                    raise ModelError(f"{entry.path} is not a regular file: a model consists of files")

    def _belongs(self, path: Path) -> bool:
        """Whether `path` leads to a file of this directory, or of the hub cache that it is a snapshot in.

        That cache stores files by digest: models--ORG--NAME/blobs/DIGEST, linked to from
        models--ORG--NAME/snapshots/REVISION/.
        """
        own, real = self.path.resolve(), path.resolve()
        if own in real.parents:
            return True
        return own.parent.name == "snapshots" and own.parent.parent / "blobs" == real.parent


def called(path: Path) -> str:
    """What a report calls the model in this directory: ORG/NAME in a hub's cache, else the directory's name."""
    own = path.resolve()
    of_hub = own.parent.parent.name if own.parent.name == "snapshots" else ""
    return of_hub.removeprefix("models--").replace("--", "/") if of_hub.startswith("models--") else own.name


def loaders_read(name: str) -> bool:
    """Whether a loader may read a file with this name: weights, code, an adapter, or what belongs to a model."""
    kind = Path(name).suffix
    return (
        kind in _LOADED or name == _ADAPTER or (kind not in ("", ".md", ".txt") and _limit(name) is not None)
    )


def _limit(name: str) -> int | None:
    """The largest size of the small file with this name; None for one that does not belong to a model."""
    known = KNOWN.get(name)
    return known or next((limit for pattern, limit in _KNOWN_KINDS if pattern.fullmatch(name)), None)


def _refuse(value: object, path: Path) -> None:
    """Raise ModelError if a key that runs code, or overrides a decision of the loader, occurs anywhere."""
    waiting = [value]
    while waiting:
        found = waiting.pop()
        if isinstance(found, dict):
            for key, item in found.items():
                why = _REFUSED_KEYS.get("attn_implementation" if "attn_implementation" in key else key)
                if why is not None and item is not None:
                    raise ModelError(f"{path} has {key!r}: {why}; it is refused before anything is loaded")
            waiting += found.values()
        elif isinstance(found, list):
            waiting += found
