"""Writing records in CounterFact's format, which every editor's tools read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from editing.datasets.record import Record
from editing.durable import write_file


def as_counterfact(record: Record, number: int) -> dict[str, Any]:
    """One entry.  `reference_texts` is kbsync's addition: CounterFact has its texts about the new object elsewhere.

    A neighbour's own answer is only kept by `read_records` if it is the old object, as in CounterFact.
    """
    request = record.request
    return {
        "case_id": number,
        "pararel_idx": number,
        "requested_rewrite": {
            "prompt": request.prompt,
            "relation_id": record.relation,
            "target_new": {"str": request.target},
            "target_true": {"str": record.previous or ""},
            "subject": request.subject,
        },
        "paraphrase_prompts": list(record.paraphrases),
        "neighborhood_prompts": [prompt for prompt, answer in record.neighbours if answer == record.previous],
        "attribute_prompts": [prompt for prompt, answer in record.neighbours if answer == request.target],
        "generation_prompts": list(record.generation),
        "reference_texts": list(record.references),
    }


def write_counterfact(path: Path, records: Sequence[Record]) -> None:
    """Write the records as a JSON list; raises StorageError."""
    entries = [as_counterfact(record, number) for number, record in enumerate(records)]
    write_file(path, (json.dumps(entries, ensure_ascii=False, indent=1) + "\n").encode())
