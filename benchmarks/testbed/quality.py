"""What MEMIT does to a testbed model: S, strict answers, neighbours and untouched facts, for n edits at once.

The edits are counterfactual (another object of the same relation, as in CounterFact), or the world's
real changes.  The editor is the project's own MEMIT (`editing.memit.build`), or the serial algorithm in its place.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.testbed.corpus import Fact, World
from benchmarks.testbed.measure import Case, perplexity, states, states_with
from editing.editors.contract import BuildInputs
from editing.memit.build import MemitResult, build
from editing.model.weights import swapped
from editing.requests import EditRequest
from editing.settings import EditSettings

EDITED_OBJECTS = 3
"""A relation with fewer objects than this has no counterfactual worth asking."""


@dataclass(frozen=True, slots=True)
class Quality:
    """Shares in [0, 1]; ES, PS, NS and S as in CounterFact, the others by strict argmax of all target tokens."""

    n: int
    alone: float
    """The free-z ceiling: each δ added by itself, nothing else changed."""
    alone_paraphrase: float
    s: float
    es: float
    ps: float
    ns: float
    strict: float
    paraphrase: float
    neighbours: float
    """Same relation and same old object, unedited."""
    same_relation: float
    same_subject: float
    others: float
    """All unedited facts, subjects of edits left out."""
    perplexity: float
    """Edited over base, on held-out text."""
    growth: float
    """The largest ‖W + Δ‖ / ‖W‖ of the edited layers."""
    seconds: float


@dataclass(frozen=True, slots=True)
class Edit:
    """A slot and its new object."""

    subject: str
    relation: str
    old: str
    new: str


class Bench:
    """One model and what it knows, ready to be edited again and again."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        world: World,
        *,
        corpus: Sequence[Path],
        heldout: Sequence[str],
        digest: str,
        cache: Path,
    ) -> None:
        self.model, self.tokenizer, self.world = model, tokenizer, world
        self.corpus, self.heldout, self.digest, self.cache = corpus, heldout, digest, cache
        right, _ = states(model, tokenizer, [self.case(f) for f in world.facts])
        self.known: list[Fact] = [f for f, ok in zip(world.facts, right, strict=True) if ok]
        self.perplexity = perplexity(model, tokenizer, heldout)

    def case(self, fact: Fact, template: int = 0) -> Case:
        subject, relation, object_ = fact
        return self.world.templates[relation][template], subject, object_

    def counterfactuals(self, n: int, seed: int = 0) -> list[Edit]:
        """`n` known facts, each with another object that its relation has elsewhere."""
        rng = random.Random(seed)
        objects: dict[str, set[str]] = {}
        for _, relation, object_ in self.world.facts:
            objects.setdefault(relation, set()).add(object_)
        able = [f for f in self.known if len(objects[f[1]]) > EDITED_OBJECTS]
        chosen = rng.sample(able, n)
        return [Edit(s, r, o, rng.choice(sorted(objects[r] - {o}))) for s, r, o in chosen]

    def requests(self, edits: Sequence[Edit], variants: int = 0) -> list[EditRequest]:
        """One request an edit, and one for each of its first `variants` further wordings."""
        return [
            EditRequest(
                f"{e.subject}|{e.relation}|{t}", self.world.templates[e.relation][t], e.subject, e.new
            )
            for e in edits
            for t in range(variants + 1)
        ]

    def kl_prompts(self, edits: Sequence[Edit]) -> dict[str, list[str]]:
        """For each edited subject the prompts of what else is known of it."""
        slots = {(e.subject, e.relation) for e in edits}
        prompts: dict[str, list[str]] = {e.subject: [] for e in edits}
        for subject, relation, _ in self.known:
            if subject in prompts and (subject, relation) not in slots:
                prompts[subject].append(self.world.templates[relation][0])
        return prompts

    def judge(
        self,
        edits: Sequence[Edit],
        settings: EditSettings,
        *,
        variants: int = 0,
        editor: Callable[..., MemitResult] = build,
    ) -> Quality:
        """Edit, ask everything, undo."""
        built = editor(
            self.model,
            self.tokenizer,
            BuildInputs(
                self.requests(edits, variants),
                settings,
                cache=self.cache,
                base_digest=self.digest,
                corpus=self.corpus,
                kl_prompts=self.kl_prompts(edits),
            ),
        )
        spent = {
            "growth": max(built.cost.growth.values()),
            "seconds": sum(built.cost.seconds.values()),
        }
        alone = self._alone(edits, built, [0]), self._alone(edits, built, [variants + 1, -1])
        with swapped(self.model, built.tensors):
            return self._ask(edits, variants, alone, spent)

    def _alone(self, edits: Sequence[Edit], built: MemitResult, wordings: Sequence[int]) -> float:
        cases = [self.case((e.subject, e.relation, e.new), t) for t in wordings for e in edits]
        deltas = [built.deltas[built.groups[f"{e.subject}|{e.relation}|0"]].value for e in edits]
        stacked = torch.stack(deltas).repeat(len(wordings), 1)
        return _share(states_with(self.model, self.tokenizer, cases, built.layer, stacked))

    def _ask(
        self, edits: Sequence[Edit], variants: int, alone: tuple[float, float], spent: dict[str, float]
    ) -> Quality:
        slots = {(e.subject, e.relation): e for e in edits}
        subjects = {e.subject for e in edits}
        templates = self.world.templates
        es, strict = self._prefers([(templates[e.relation][0], e.subject, e.new, e.old) for e in edits])
        ps, paraphrase = self._prefers(
            [(t, e.subject, e.new, e.old) for e in edits for t in templates[e.relation][variants + 1 :]]
        )
        untouched = [f for f in self.known if (f[0], f[1]) not in slots]
        near = [
            (templates[r][0], s, o, e.new)
            for e in edits for s, r, o in untouched if (r, o) == (e.relation, e.old)
        ]  # fmt: skip
        if len(near) < len(edits):
            near += [
                (templates[r][0], s, o, e.new)
                for e in edits for s, r, o in untouched if r == e.relation and o != e.new
            ][: 10 * len(edits)]  # fmt: skip
        ns, neighbours = self._prefers(near)
        right, _ = states(self.model, self.tokenizer, [self.case(f) for f in untouched])
        kept = dict(zip(untouched, right, strict=True))
        relations = {e.relation for e in edits}
        away = [f for f in untouched if f[0] not in subjects]
        return Quality(
            n=len(edits),
            alone=alone[0],
            alone_paraphrase=alone[1],
            s=_harmonic(es, ps, ns),
            es=es,
            ps=ps,
            ns=ns,
            strict=strict,
            paraphrase=paraphrase,
            neighbours=neighbours,
            same_relation=_share([kept[f] for f in away if f[1] in relations]),
            same_subject=_share([kept[f] for f in untouched if f[0] in subjects]),
            others=_share([kept[f] for f in away]),
            perplexity=perplexity(self.model, self.tokenizer, self.heldout) / self.perplexity,
            **spent,
        )

    def _prefers(self, cases: Sequence[tuple[str, str, str, str]]) -> tuple[float, float]:
        """Shares of (template, subject, this, that) where `this` is likelier, and where it is the strict argmax."""
        right, loss = states(self.model, self.tokenizer, [(t, s, a) for t, s, a, _ in cases])
        _, other = states(self.model, self.tokenizer, [(t, s, b) for t, s, _, b in cases])
        return _share([a < b for a, b in zip(loss, other, strict=True)]), _share(right)


def _share(values: Sequence[bool]) -> float:
    return sum(values) / len(values) if values else float("nan")


def _harmonic(*values: float) -> float:
    return len(values) / sum(1 / max(v, 1e-9) for v in values)


def row(quality: Quality, **setting: Any) -> dict[str, Any]:
    return setting | {k: round(v, 4) for k, v in asdict(quality).items()}
