"""Reading facts to edit from files: JSON lines, and the published data sets' own formats.  Torch-free.

The format of a file is recognised by its contents, not by its name:

    lines         {"subject": "Italy", "prompt": "The capital of {} is", "target": "Rome"}, one per line, with
                  optional id, previous, paraphrases and questions (texts), neighbours ({"prompt": …, "target": …}); or
                  ["Italy", "The capital of {} is", "Rome"]
    CounterFact   a JSON list of objects with `requested_rewrite` (Meng et al. 2022); multi-CounterFact likewise
    zsRE          a JSON list of objects with `src`, `subject`, `answers`, … (Mitchell et al. 2021)
    MQuAKE        a JSON list of objects whose `requested_rewrite` is a list (Zhong et al. 2023)
    RippleEdits   a JSON list of objects with `edit` (Cohen et al. 2023)
    WikiBigEdit   a JSON list of objects with `update`, `subject`, `ans`, … (Thede et al. 2025)
    QAEdit        a JSON list of objects with `prompt`, `subject`, `target`, `locality`, … (Yang et al. 2025)

Each format is a pydantic model; an error names the file, the line or entry, the field, and what is expected there.
"""

from editing.datasets.conflicts import Filtered, without_contradictions
from editing.datasets.reading import EXAMPLE, read_records
from editing.datasets.record import Record

__all__ = ["EXAMPLE", "Filtered", "Record", "read_records", "without_contradictions"]
