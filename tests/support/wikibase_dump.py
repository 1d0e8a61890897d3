"""The worlds of `wikibase_world` as Wikibase's JSON dumps have them."""

from __future__ import annotations

import bz2
import gzip
import json
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.support.wikibase_world import NO_VALUE, SOME_VALUE, Claim, Item, World

_DAY = 11


def document(item: Item) -> dict[str, Any]:
    """One entity ("Wikibase/DataModel/JSON"); PHP writes empty objects as empty arrays."""
    return {
        "type": "item",
        "id": item.id,
        "labels": {lang: {"language": lang, "value": text} for lang, text in item.labels.items()} or [],
        "descriptions": [],
        "aliases": {"en": [{"language": "en", "value": text} for text in item.aliases]}
        if item.aliases
        else [],
        "claims": {pid: [_claim(pid, claim) for claim in claims] for pid, claims in item.claims.items()}
        or [],
        "sitelinks": [],
        "lastrevid": item.version,
        "modified": f"{item.modified:%Y-%m-%dT%H:%M:%SZ}",
    }


def text(world: World) -> bytes:
    """The whole dump; redirects are not in it."""
    lines = [
        json.dumps(document(item), separators=(",", ":"))
        for item in world.items.values()
        if not item.redirect
    ]
    return ("[\n" + ",\n".join(lines) + "\n]\n").encode()


def write(world: World, path: Path) -> Path:
    """The dump at `path`, compressed as its name says."""
    pack = {".gz": gzip.compress, ".bz2": bz2.compress}.get(path.suffix, bytes)
    path.write_bytes(pack(text(world)))
    return path


def _claim(pid: str, claim: Claim) -> dict[str, Any]:
    qualifiers = {
        qualifier: [_date(qualifier, at, precision)]
        for qualifier, at, precision in (
            ("P580", claim.start, claim.start_precision),
            ("P582", claim.end, claim.end_precision),
        )
        if at is not None
    }
    found: dict[str, Any] = {
        "mainsnak": _snak(pid, claim.value),
        "type": "statement",
        "id": claim.id,
        "rank": claim.rank.lower(),
    }
    if qualifiers:
        found["qualifiers"] = qualifiers
    if claim.references:
        found["references"] = [{"hash": f"{claim.id}-{n}", "snaks": {}} for n in range(claim.references)]
    return found


def _snak(pid: str, value: str) -> dict[str, Any]:
    snak: dict[str, Any] = {"snaktype": "value", "property": pid}
    if value in (NO_VALUE, SOME_VALUE):
        return {**snak, "snaktype": "novalue" if value == NO_VALUE else "somevalue"}
    if value.startswith('"'):
        return {**snak, "datatype": "string", "datavalue": {"type": "string", "value": value.strip('"')}}
    if value.startswith("<"):
        return {**snak, "datatype": "url", "datavalue": {"type": "string", "value": value.strip("<>")}}
    entity = {"entity-type": "item", "numeric-id": int(value[1:]), "id": value}
    return {**snak, "datatype": "wikibase-item", "datavalue": {"type": "wikibase-entityid", "value": entity}}


def _date(pid: str, at: datetime | str, precision: int | None) -> dict[str, Any]:
    if isinstance(at, str):
        return {"snaktype": "somevalue", "property": pid, "datatype": "time"}
    value = {
        "time": f"+{at:%Y-%m-%dT00:00:00Z}",
        "timezone": 0,
        "before": 0,
        "after": 0,
        "precision": _DAY if precision is None else precision,
        "calendarmodel": "http://www.wikidata.org/entity/Q1985727",
    }
    return {
        "snaktype": "value",
        "property": pid,
        "datatype": "time",
        "datavalue": {"type": "time", "value": value},
    }
