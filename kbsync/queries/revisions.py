"""Where a source's revision of a subject can be read by people."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from kbsync.application import Application

_ITEM = re.compile(r"wd:([QPL][1-9][0-9]*)", re.ASCII)


def revision_link(app: Application, source: str, subject: str, revision: int) -> str | None:
    """The address of the revision at Wikidata; None for other sources, whose revisions have no page that is known."""
    settings = app.settings.sources.get(source, {})
    item = _ITEM.fullmatch(subject)
    host = urlsplit(str(settings.get("endpoint", "https://www.wikidata.org/"))).hostname or ""
    at_wikidata = str(settings.get("kind", "")).startswith("wikidata") and (
        host == "wikidata.org" or host.endswith(".wikidata.org")
    )
    if item is None or not at_wikidata or revision < 1:
        return None
    return f"https://www.wikidata.org/w/index.php?title={item[1]}&oldid={revision}"
