"""The relation catalogue: each relation's label, whether it is single-valued, and its templates.

A template is the text before the object: it contains one `{}` for the subject and does not end with
a space.  Facts are edited with the first template, and the others are paraphrases that judge them.  A fact is
pinned to the template that it was first rendered with, so a changed catalogue changes no existing fact.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from connectors.guesses import did_you_mean
from editing import requests
from kbsync.errors import BadConfiguration

CATALOGUE = Path(__file__).with_name("catalogue.toml")
MIN_TEMPLATES = 2
"""One to edit with, and at least one to judge the edit by (kbsync's own entries have five)."""

_CURIE = re.compile(r"[A-Za-z][\w.-]*:\S+")


@dataclass(frozen=True, slots=True)
class Relation:
    """One entry of the catalogue."""

    id: str
    label: str
    single_valued: bool
    subject_type: str
    """What its subjects are: `country`, `company`, `human`, … (`human` brings the living-persons policy)."""
    templates: tuple[str, ...]
    inverse: tuple[str, ...] = ()
    """Templates around the *object*, with the subject last: they state the inverse fact, which is a separate edit."""
    edit_inverse: bool = False
    """Whether the inverse of each fact is edited as well, with the first inverse template."""
    questions: tuple[str, ...] = ()
    """Questions whose answer is the object; facts are also edited with the first if the base has a chat template."""
    enabled: bool = True
    """False: the relation is in the catalogue, but no facts of it are learnt until the settings enable it."""
    object_phrase: str = ""
    """The object as a noun phrase around its subject, such as `the capital of {}`; empty: not used in two hops."""
    subject_phrase: str = ""
    """The subject as a noun phrase around its object, such as `the country whose capital is {}`; likewise."""
    symmetric: bool = False
    """Whether the object has the same relation to the subject."""

    @property
    def template(self) -> str:
        """The template that facts are edited with."""
        return self.templates[0]

    @property
    def bystanders(self) -> tuple[str, ...]:
        """Templates whose meaning an edit of another relation should not change.  The first template is not among
        them: it is the wording in which such an edit is judged."""
        return self.templates[1:3]


class RelationEntry(BaseModel):
    """One table of a catalogue file or of the settings' [relations]; unset keys keep their values."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    label: str | None = Field(None, description="name shown to people")
    single_valued: bool | None = Field(None, description="whether a subject has at most one current object")
    subject_type: str | None = Field(None, description="type of its subjects; `human` for persons")
    templates: tuple[str, ...] | None = Field(
        None, description="text with one {} each, followed by the object; the first is edited with"
    )
    inverse: tuple[str, ...] | None = Field(
        None, description="templates of the inverse fact: {} stands for the object, and the subject follows"
    )
    edit_inverse: bool | None = Field(
        None,
        description="whether the inverse of a fact is edited too, if no other subject has its object",
    )
    questions: tuple[str, ...] | None = Field(
        None,
        description="questions with one {}, for models with a chat template; the first is edited with",
    )
    enabled: bool | None = Field(None, description="whether facts of it are learnt")
    object_phrase: str | None = Field(
        None, description="noun phrase for the object, with {} for the subject: `the capital of {}`"
    )
    subject_phrase: str | None = Field(
        None,
        description="noun phrase for the subject, with {} for the object: `the country whose capital is {}`",
    )
    symmetric: bool | None = Field(
        None, description="whether the object has the same relation to the subject"
    )


class Catalogue(Mapping[str, Relation]):
    """Relations by id, in the file's order."""

    def __init__(self, relations: Mapping[str, Relation]) -> None:
        self._relations = dict(relations)

    def __getitem__(self, relation: str) -> Relation:
        return self._relations[relation]

    def __iter__(self) -> Iterator[str]:
        return iter(self._relations)

    def __len__(self) -> int:
        return len(self._relations)

    def named(self, relation: str) -> Relation:
        """The relation; raises BadConfiguration if the catalogue has none of that id."""
        if relation not in self:
            raise BadConfiguration(
                f"the relation {relation} is not in the catalogue",
                f'add [relations."{relation}"] with label and templates to the settings',
            )
        return self[relation]

    def paraphrases(self, relation: str, subject: str) -> tuple[str, ...]:
        """The relation's other templates rendered with `subject`; empty for a relation no longer listed."""
        return render(self[relation], subject)[1:] if relation in self else ()

    def others(self, relation: str) -> tuple[Relation, ...]:
        """The other relations of subjects of the same type."""
        own = self[relation].subject_type
        return tuple(other for other in self.values() if other.subject_type == own and other.id != relation)

    def enabled(self) -> tuple[Relation, ...]:
        return tuple(relation for relation in self.values() if relation.enabled)

    def overridden(self, tables: Mapping[str, Mapping[str, Any]], where: str = "[relations]") -> Catalogue:
        """This catalogue with the overrides in `tables`; a new id needs at least label and templates.

        Raises BadConfiguration naming the relation and what is wrong with it.
        """
        merged = dict(self._relations)
        for identifier, table in tables.items():
            entry = _entry(identifier, table, where)
            changes = entry.model_dump(exclude_none=True)
            known = merged.get(identifier)
            if known is None:
                known = _new_relation(identifier, entry, where)
            merged[identifier] = _checked(replace(known, **changes), where)
        return Catalogue(merged)


def load_catalogue(
    overrides: Mapping[str, Mapping[str, Any]] | None = None, path: Path = CATALOGUE
) -> Catalogue:
    """The catalogue in `path` with the settings' `overrides`; raises BadConfiguration."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BadConfiguration(f"the relation catalogue {path} cannot be read: {error}") from error
    catalogue = Catalogue({}).overridden(tables, where=str(path))
    return catalogue.overridden(overrides) if overrides else catalogue


def render(relation: Relation, subject: str) -> tuple[str, ...]:
    """Every template of `relation` rendered with `subject`, the one for editing first."""
    return tuple(requests.render(template, subject) for template in relation.templates)


def render_inverse(relation: Relation, object: str) -> tuple[str, ...]:
    """Every inverse template of `relation` rendered with `object`, the one for editing first."""
    return tuple(requests.render(template, object) for template in relation.inverse)


def _entry(identifier: str, table: Mapping[str, Any], where: str) -> RelationEntry:
    if not isinstance(table, Mapping):
        raise _wrong(identifier, "it is not a table", where)
    try:
        return RelationEntry.model_validate(dict(table))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        reason = first["msg"]
        if first["type"] == "extra_forbidden":
            guess = did_you_mean(str(first["loc"][-1]), RelationEntry.model_fields)
            reason = f"there is no such key; {guess}".rstrip("; ")
        raise _wrong(identifier, f"{key}: {reason}", where) from error


def _new_relation(identifier: str, entry: RelationEntry, where: str) -> Relation:
    if not entry.label or not entry.templates:
        raise _wrong(identifier, "a relation that is not built in needs a label and templates", where)
    return Relation(identifier, entry.label, True, "thing", entry.templates)


def _checked(relation: Relation, where: str) -> Relation:
    if not _CURIE.fullmatch(relation.id):
        raise _wrong(relation.id, "an id is a CURIE such as wdt:P6 or crm:owner", where)
    if len(relation.templates) < MIN_TEMPLATES:
        raise _wrong(
            relation.id,
            f"it has {len(relation.templates)} templates, at least {MIN_TEMPLATES} are needed: one to edit "
            "with, the others to judge it by",
            where,
        )
    phrases = filter(None, (relation.object_phrase, relation.subject_phrase))
    for template in (*relation.templates, *relation.inverse, *relation.questions, *phrases):
        if flaw := template_flaw(template):
            raise _wrong(relation.id, f"the template {template!r} {flaw}", where)
    for templates in (relation.templates, relation.inverse, relation.questions):
        if len({requests.prompt_key(template) for template in templates}) < len(templates):
            raise _wrong(relation.id, "two of its templates are the same", where)
    if relation.edit_inverse and not relation.inverse:
        raise _wrong(relation.id, "edit_inverse needs inverse templates", where)
    return relation


def template_flaw(template: str) -> str | None:
    """Why `template` cannot be used, None if it can."""
    if template.count(requests.PLACEHOLDER) != 1:
        return "must contain {} exactly once"
    if "{" in template.replace(requests.PLACEHOLDER, "") or "}" in template.replace(requests.PLACEHOLDER, ""):
        return "contains a brace besides {}"
    if template != template.strip():
        return "must not begin or end with a space: the object follows after one"
    if not template.isprintable():
        return "contains a control character"
    if template == requests.PLACEHOLDER:
        return "contains nothing but the place of the subject"
    return None


def _wrong(identifier: str, reason: str, where: str) -> BadConfiguration:
    return BadConfiguration(f'{where}: relation "{identifier}": {reason}', "see docs/admission.md, Relations")
