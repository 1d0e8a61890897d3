"""Which optimised residuals in the cache belong to which facts, as the reports of runs name them."""

from __future__ import annotations

import json

from kbsync.home import Home


def residual_groups(home: Home) -> dict[tuple[str, str], str]:
    """The key group of each fact in every report that is left, by the fact's id and the report's directory."""
    found = {}
    for path in home.runs.glob("*/round-*/report.json"):
        try:
            facts = json.loads(path.read_bytes())["facts"]
        except (OSError, ValueError, LookupError, TypeError):
            continue  # it was never finished: the build that follows writes another
        for fact in facts:
            if fact.get("group"):
                found[str(fact["id"]), str(path.parent)] = str(fact["group"])
    return found
