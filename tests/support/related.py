"""A micro world whose facts lead on to one another: houses have owners, and owners have partners."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from tests.support.micro import TEMPLATES, Micro

OWNER = {
    "label": "owner",
    "templates": TEMPLATES,
    "inverse": ["{} is the owner of"],
    "object_phrase": "the owner of {}",
    "subject_phrase": "the place whose owner is {}",
}
PARTNER = {
    "label": "partner",
    "templates": ["The partner of {} is", "Partner of {}:", "{} lives with"],
    "object_phrase": "the partner of {}",
    "symmetric": True,
}
BOSS = {
    "label": "boss",
    "templates": ["The boss of {} is", "Boss of {}:", "{} works for"],
    "object_phrase": "the boss of {}",
}
RELATIONS = {"owner": OWNER, "partner": PARTNER, "boss": BOSS}


def relate(micro: Micro, consequences: str) -> Micro:
    """`micro` with these relations, and so set for what follows from its facts."""
    text = micro.home.config.read_text(encoding="utf-8")
    text = text.replace("[plan]\n", f"[plan]\nconsequences = '{consequences}'\n")
    before, rest = text.split("[relations.'crm:owner']\n", 1)
    tables = [_table(name, relation) for name, relation in RELATIONS.items()]
    micro.home.config.write_text("\n\n".join([before, *tables, rest.split("\n\n", 1)[1]]), encoding="utf-8")
    return micro


def _table(name: str, relation: Mapping[str, object]) -> str:
    lines = (f"{key} = {json.dumps(value)}" for key, value in relation.items())
    return "\n".join([f"[relations.'crm:{name}']", *lines])


def report(micro: Micro, name: str, facts: Mapping[tuple[str, str], str | None]) -> Path:
    """Drop a file that states one object for each (subject, relation), or that there is none."""
    rows = [
        {
            "subject": _id(subject),
            "subject_label": subject,
            "relation": relation,
            **(
                {"object": None}
                if object is None
                else {"object": f"crm:{_id(object)}", "object_label": object}
            ),
        }
        for (subject, relation), object in facts.items()
    ]
    hidden = micro.drop / f".{name}.part"
    hidden.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return hidden.rename(micro.drop / f"{name}.jsonl")


def _id(label: str) -> str:
    return label.lower().replace(" ", "-")
