"""The retrieval pack of a checkpoint: wanted facts that its weights do not state, as text for a retriever.

`retrieval.jsonl` has a JSON object per line: `fact` (its number), `text` (the statement as a sentence without its full
stop), `subject`, `relation`, `object`, `source`, `revision`, `statement`, `in_view` (whether the checkpoint was
built with it) and `why` it is here.  It lies in the checkpoint and in the folder of each form, and is covered by the
manifest.

What is wanted is written by whoever plans the build, in the same lines; the build leaves out what the weights were seen
to state.  So every wanted fact is in the weights, proven, or in the pack.  Torch-free.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from editing.durable import open_regular, sha256_of, staged
from editing.errors import DamagedCheckpoint, SpecError

FILE = "retrieval.jsonl"
UNPROVEN = "built into the checkpoint, whose weights were not seen to state it"

Entry = Mapping[str, Any]
"""A line."""


def write_entries(entries: Iterable[Entry], file: Path) -> None:
    """Write the lines, atomically and synced.  Raises OSError."""
    with staged(file, 0o666) as lines:
        for entry in entries:
            lines.write(json.dumps(entry, ensure_ascii=False).encode() + b"\n")


def entries(file: Path) -> Iterator[Entry]:
    """The lines of a pack; none if there is no file.  Raises DamagedCheckpoint if it cannot be read."""
    try:
        with open_regular(file) as lines:
            for line in lines:
                entry = json.loads(line)
                if not isinstance(entry, dict) or not isinstance(entry.get("fact"), int):
                    raise ValueError("a line is not an object with the number of a fact")
                yield entry
    except FileNotFoundError:
        return
    except (OSError, ValueError, RecursionError) as error:
        raise DamagedCheckpoint(f"the retrieval pack {file} cannot be read: {error}") from error


def write_pack(wanted: Path, digest: str, proven: Collection[str], file: Path) -> None:
    """Write the lines of `wanted` whose facts are not among `proven` (fact ids) to `file`.

    Raises SpecError if `wanted` does not have this SHA-256, or cannot be read.
    """
    try:
        if sha256_of(wanted) != digest:
            raise SpecError(f"{wanted} is not the file that the spec was written with: plan the build again")
        write_entries((entry for entry in entries(wanted) if str(entry["fact"]) not in proven), file)
    except (OSError, DamagedCheckpoint) as error:
        raise SpecError(f"what is wanted cannot be read: {error}") from error
