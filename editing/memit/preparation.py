"""Preparing a build before its first optimisation: everything is tokenised, and the cache is looked up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

from editing.editors.contract import BuildInputs, Failed
from editing.errors import RequestError, SpecError
from editing.memit.cost import Work
from editing.memit.deltas import DeltaStore
from editing.memit.ends import with_ends
from editing.memit.groups import Group, form_groups, identity_of
from editing.memit.kept import kept_groups
from editing.memit.prefixes import context_prefixes
from editing.memit.statistics import Statistics
from editing.memit.targets import RULES
from editing.model.architectures import Parts, described, locate_parts
from editing.model.first_token import lead_of
from editing.model.loading import readable
from editing.model.self_test import check
from editing.model.tokens import Readable, tokenizer_digest
from editing.requests import EditRequest
from editing.settings import EditSettings
from editing.storage.self_tests import tested


@dataclass(frozen=True)
class Grouping:
    """How the requests of one build become key groups."""

    model: Any
    tokenizer: Any
    inputs: BuildInputs
    prefixes: tuple[str, ...]
    limit: Readable
    layer: int

    def of(self, requests: Sequence[EditRequest], failed: Failed | None, *, kl: bool = True) -> list[Group]:
        """The key groups of `requests`; `kl`: with their KL prompts."""
        identity = identity_of(
            self.inputs.settings,
            base_digest=self.inputs.base_digest + self.inputs.edited,
            tokenizer=tokenizer_digest(self.tokenizer),
            layer=self.layer,
            prefixes=self.prefixes,
        )
        return form_groups(
            self.tokenizer,
            with_ends(self.tokenizer, requests, self.inputs.settings.end_token),
            prefixes=self.prefixes,
            kl_prompts=self.inputs.kl_prompts if kl else {},
            identity=identity,
            limit=self.limit,
            failed=failed,
        )

    def kept(self, edited: Sequence[Group]) -> list[Group]:
        """The sentences whose keys should stay as they are, without those that are edited."""
        return kept_groups(self.tokenizer, self.inputs.kept, edited, self.limit)


@dataclass(frozen=True)
class Job:
    """The work of a build."""

    inputs: BuildInputs
    tokenizer: Any
    failed: Failed | None
    """Called with requests that cannot be edited; None: their errors are raised."""
    grouping: Grouping
    groups: Sequence[Group]
    preserved: Sequence[Group]
    kept: Sequence[Group]
    store: DeltaStore
    statistics: Statistics
    work: Work

    @property
    def prefixes(self) -> tuple[str, ...]:
        """The context prefixes, without the bare prompt."""
        return self.grouping.prefixes

    @property
    def layer(self) -> int:
        """L, the target layer."""
        return self.work.layers[-1]

    def group_of(self, requests: Sequence[EditRequest]) -> Group:
        """`requests`, all of one key, as a group of their own."""
        (group,) = self.grouping.of(requests, None)
        return group


@dataclass(frozen=True)
class _Formed:
    """The tokenised requests of the last part of a build that a process did, for its next part."""

    inputs: BuildInputs
    prefixes: tuple[str, ...]
    groups: Sequence[Group]
    preserved: Sequence[Group]
    kept: Sequence[Group]

    @classmethod
    def of(cls, grouping: Grouping, failed: Failed | None) -> _Formed:
        inputs = grouping.inputs
        groups = grouping.of(inputs.requests, failed)
        preserved = grouping.of(inputs.preserved, None, kl=False)
        kept = grouping.kept(groups) if inputs.settings.keep else []
        return cls(inputs, grouping.prefixes, groups, preserved, kept)


_LAST: WeakKeyDictionary[Any, _Formed] = WeakKeyDictionary()
"""By model, whose tokenizer does not change."""


def prepare_part(model: Any, tokenizer: Any, inputs: BuildInputs) -> Job:
    """As `prepare`, for a part of a build; what is tokenised stays in memory for the next part with equal inputs."""
    return prepare(model, tokenizer, inputs, lambda id, error: None, remember=True)


def prepare(
    model: Any, tokenizer: Any, inputs: BuildInputs, failed: Failed | None, *, remember: bool = False
) -> Job:
    """Tokenise the requests and look up their δs in the cache.

    A request that cannot be tokenised is reported to `failed` and left out, or raises RequestError.  Raises
    ArchitectureError if the model fails its self-test.
    """
    if not inputs.requests:
        raise RequestError("no requests: there is nothing to build")
    settings = inputs.settings
    if flaw := settings.flaw():
        raise SpecError(flaw)
    parts = locate_parts(model, described(settings))
    layers = chosen_layers(parts, settings)
    check(tested(model, parts, inputs.base_digest, inputs.cache), layers)
    prefixes = context_prefixes(
        model, tokenizer, settings, base_digest=inputs.base_digest, cache=inputs.cache
    )
    lead = inputs.lead if inputs.lead is not None else lead_of(model, parts, tokenizer)
    limit = replace(readable(model), lead=lead)
    grouping = Grouping(model, tokenizer, inputs, prefixes, limit, layers[-1])
    formed = _LAST.get(model) if remember else None
    if formed is None or (formed.inputs, formed.prefixes) != (inputs, prefixes):
        formed = _Formed.of(grouping, failed)
    if remember:
        _LAST[model] = formed
    groups, preserved, kept = formed.groups, formed.preserved, formed.kept
    store = DeltaStore(inputs.cache / "deltas")
    statistics = Statistics(
        model, tokenizer, settings, corpus=inputs.corpus, base_digest=inputs.base_digest, cache=inputs.cache
    )
    uncounted = len(statistics.missing(layers)) if groups else 0
    every = [*groups, *preserved]
    stored = store.present(group.key for group in groups)
    work = Work(
        model=model,
        parts=parts,
        layers=layers,
        steps=RULES[settings.optimiser].evaluations(settings.steps) + 1,
        bare_steps=settings.bare_steps,
        groups=every,
        missing=[group for group in groups if group.key not in stored],
        columns=len(every) * (len(prefixes) + 1 if settings.keys == "all" else 1) + len(kept),
        statistics=uncounted,
        tokens=statistics.estimated_tokens() if uncounted else 0,
    )
    return Job(inputs, tokenizer, failed, grouping, groups, preserved, kept, store, statistics, work)


def chosen_layers(parts: Parts, settings: EditSettings, *, last: bool = False) -> tuple[int, ...]:
    """R as set, or the default for this architecture and depth; `last`: whether the last block may be among them."""
    layers = tuple(settings.layers) or parts.default_layers()
    count = len(parts.blocks)
    top = count - 1 if last else count - 2
    if list(layers) != sorted(set(layers)) or layers[0] < 0 or layers[-1] > top:
        reason = "" if last else ": something above the last one has to read what is written there"
        raise RequestError(f"layers {layers} must be ascending and between 0 and {top}{reason}")
    for layer in layers:
        parts.writer(layer)  # raises where the layer has no W_out
    return layers
