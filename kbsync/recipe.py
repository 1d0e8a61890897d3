"""The recipe of a checkpoint, what it was built with besides its facts: hyper-parameters, text and wordings.

Each candidate stores its recipe.  A kept checkpoint is reused only if today's settings would build it
the same way, and `kbsync status` lists the differences from live.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from editing.durable import sha256_of
from editing.special_tokens import has_chat_template
from kbsync.application import Application
from kbsync.errors import KbsyncError
from kbsync.settings.base_model import edit_settings_of
from kbsync.settings.sections import PlanSettings
from state.records import Checkpoint

IMPLIED = {
    "optimiser": "adam",
    "bare_steps": 0,
    "chat": False,
    "keep": 0.0,
    "long_prefixes": 0,
    "end_token": "none",
}
"""Hyper-parameters that apply to recipes older than the setting."""
NOT_EDITED = "not edited"
"""What recipes say of consequences, and what applies to recipes older than the setting."""
REBUILD = "kbsync rebuild"
"""The command that rebuilds all wanted facts with today's settings."""


def recipe(
    app: Application, relations: Iterable[str], *, known: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Today's recipe for facts of these relations, as plain JSON values; the base model is not part of it.

    `known`: an earlier recipe; the text is not read again if its files look unchanged since then.  Raises
    the errors of settings that cannot be read, and OSError for the text.
    """
    plan, path = app.settings.plan, app.settings.model.path
    edit = app.settings.edit_settings(edit_settings_of(path)) if path is not None else None
    values = json.loads(json.dumps(asdict(edit))) if edit is not None else {}
    if path is not None:
        values["chat"] = edited_in_conversation(app)
    return {
        "edit": values,
        "corpus": _text(app.settings.model.corpus, known["corpus"] if known else {}),
        "plan": {"variants": plan.variants, "aliases": plan.aliases, **_consequences(plan)},
        "wordings": dict(_wordings(app, sorted(set(relations)), keep=bool(values.get("keep")))),
    }


def same(kept: str, now: Mapping[str, Any]) -> bool:
    """Whether a checkpoint would be built the same way today; one without a recipe (an older one) counts as such."""
    return not kept or not any(_compared(json.loads(kept), now))


def differences(app: Application, live: Checkpoint, wordings: Mapping[tuple[str, str], int]) -> list[str]:
    """Describe what today's settings and files would build differently from live.

    `wordings`: the facts of live by relation and pinned template.  No model is read: the base is recognised by the
    state of its files at its import.
    """
    found = [difference] if (difference := _base(app, live)) else []
    found += _templates(app, wordings)
    if not live.recipe:
        return found
    kept = json.loads(live.recipe)
    try:
        now = recipe(app, (relation for relation, _ in wordings), known=kept)
        return [*found, *_compared(kept, now)]
    except (KbsyncError, OSError) as error:
        return [*found, f"what a build would take cannot be read: {error}"]


def _base(app: Application, live: Checkpoint) -> str:
    path, imported = app.settings.model.path, app.imported_base()
    if path is None or imported is None:
        return ""
    if not imported.looks_like(path):
        return "the files of [model] path have changed: the next sync reads them"
    return "" if imported.digest == live.base else "another base model: the next sync builds everything on it"


def _templates(app: Application, wordings: Mapping[tuple[str, str], int]) -> Iterator[str]:
    """Facts that keep their pinned template although their relation has another one now."""
    kept: Counter[str] = Counter()
    for (name, template), count in wordings.items():
        if (relation := app.catalogue.get(name)) and relation.template != template:
            kept[name] += count
    for name, count in sorted(kept.items()):
        yield f"the template of {name}: {count} facts of live keep the one that they are pinned to"


def _compared(kept: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    implied = IMPLIED | {"consequences": NOT_EDITED}
    for section in ("edit", "plan"):
        for key in sorted({*kept[section], *now[section]}):
            before, after = kept[section].get(key, implied.get(key)), now[section].get(key)
            if before != after:
                yield f"[{section}] {key}: {before} → {after}"
    if kept["corpus"]["digest"] != now["corpus"]["digest"]:
        yield "the text of [model] corpus"
    changed = sorted(
        relation
        for relation, wording in now["wordings"].items()
        if kept["wordings"].get(relation, wording) != wording
    )
    if changed:
        yield f"further wordings of {', '.join(changed)}"


def edited_in_conversation(app: Application) -> bool:
    """Whether facts are edited with their questions: the settings require it, and the base has a chat template."""
    path = app.settings.model.path
    if path is None or not has_chat_template(path):
        return False
    return app.settings.edit_settings(edit_settings_of(path)).chat


def _consequences(plan: PlanSettings) -> dict[str, Any]:
    """What is edited of that which follows from facts."""
    if plan.consequences != "edit":
        return {"consequences": NOT_EDITED}
    return {"consequences": "edit", "consequence_questions": plan.consequence_questions}


def _text(corpus: Iterable[Path], known: Mapping[str, Any]) -> dict[str, Any]:
    """A corpus, identified by its content's digest; paths, sizes and dates only avoid reading unchanged files again."""
    files = [file for path in corpus for file in _files(path)]
    states = [(file, file.stat()) for file in files]
    # A copy may keep size and date of what it replaces; nobody sets the time of the inode's change.
    looks = [[str(file), at.st_size, at.st_mtime_ns, at.st_ctime_ns] for file, at in states]
    if looks == known.get("files"):
        return dict(known)
    digest = hashlib.sha256("".join(sha256_of(file) for file in files).encode())
    return {"digest": digest.hexdigest(), "files": looks}


def _files(path: Path) -> list[Path]:
    """A text file, or all files of a Hugging Face dataset saved to disk."""
    return [path] if not path.is_dir() else sorted(child for child in path.rglob("*") if child.is_file())


def _wordings(app: Application, relations: Iterable[str], *, keep: bool) -> Iterator[tuple[str, str]]:
    """The wordings with which facts of a relation are edited besides their pinned prompt, as a digest."""
    for name in relations:
        relation = app.catalogue.get(name)
        if relation is None:
            continue
        further: dict[str, Any] = {
            "variants": relation.templates if app.settings.plan.variants else (),
            "inverse": relation.inverse if relation.edit_inverse else (),
        }
        if relation.questions and edited_in_conversation(app):
            further["questions"] = relation.questions[:1]
        if app.settings.plan.consequences == "edit":
            phrases = (relation.object_phrase, relation.subject_phrase)
            further["consequences"] = [*phrases, relation.symmetric, relation.inverse[:2]]
        if keep:
            others = app.catalogue.others(name)
            further["kept"] = [[*other.bystanders, *other.questions[:1]] for other in others]
        yield name, hashlib.sha256(json.dumps(further).encode()).hexdigest()[:16]
