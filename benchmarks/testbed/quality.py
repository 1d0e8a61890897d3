"""What MEMIT does to a testbed model: S, strict answers, neighbours and untouched facts, for n edits at once.

The edits are counterfactual (another object of the same relation, as in CounterFact), or the world's
real changes.  The editor is the project's own MEMIT (`editing.memit.build`), or the serial algorithm in its place.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.testbed.corpus import Fact, World
from editing.editors.contract import BuildInputs
from editing.evaluation.figures import mean
from editing.evaluation.isolated import stated_alone
from editing.evaluation.metrics import perplexity, strict_argmax
from editing.evaluation.published import CounterFactCase, counterfact
from editing.evaluation.scoring import encode_targets, score
from editing.memit.build import MemitResult, build
from editing.model.weights import swapped
from editing.requests import EditRequest, render
from editing.settings import EditSettings

MATES = 10
"""Maximum number of neighbours with other objects, for an edit whose old object nobody else has."""
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
        self.corpus, self.digest, self.cache = corpus, digest, cache
        right = self.states([self.case(f) for f in world.facts])
        self.known: list[Fact] = [f for f, ok in zip(world.facts, right, strict=True) if ok]
        rows = (tokenizer(text, return_tensors="pt")["input_ids"] for text in heldout)
        self.windows = [row[:, : model.config.n_positions] for row in rows if row.shape[1] > 1]
        self.perplexity = perplexity(model, self.windows)

    def case(self, fact: Fact, template: int = 0) -> tuple[str, str]:
        """The fact as a prompt and its object."""
        subject, relation, object_ = fact
        return render(self.world.templates[relation][template], subject), object_

    def states(self, cases: Sequence[tuple[str, str]]) -> list[bool]:
        """For each prompt and object, whether all tokens of the object are the strict argmax."""
        return strict_argmax(self.model, self.tokenizer, cases)

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
        """How often an edit's δ alone states its new object in each of these wordings."""
        groups = {
            f"{e.subject}|{e.relation}|{t}": built.groups[f"{e.subject}|{e.relation}|0"]
            for e in edits
            for t in range(len(self.world.templates[e.relation]))
        }
        requests = [
            EditRequest(f"{e.subject}|{e.relation}|{t % len(templates)}", templates[t], e.subject, e.new)
            for t in wordings
            for e in edits
            for templates in [self.world.templates[e.relation]]
        ]
        found = stated_alone(self.model, self.tokenizer, requests, replace(built, groups=groups))
        return _share([found[request.id] for request in requests])

    def _ask(
        self, edits: Sequence[Edit], variants: int, alone: tuple[float, float], spent: dict[str, float]
    ) -> Quality:
        slots, subjects = {(e.subject, e.relation) for e in edits}, {e.subject for e in edits}
        untouched = [f for f in self.known if (f[0], f[1]) not in slots]
        cases = [self._published(e, untouched, variants) for e in edits]
        pairs = list(dict.fromkeys(pair for case in cases for pair in case.asked()))
        found = dict(zip(pairs, score(self.model, encode_targets(self.tokenizer, pairs)), strict=True))
        scores = counterfact(cases, found)
        paraphrases = [found[text, case.new] for case in cases for text in case.paraphrases]
        near = [found[pair] for case in cases for pair in case.neighbours]
        kept = dict(zip(untouched, self.states([self.case(f) for f in untouched]), strict=True))
        relations = {e.relation for e in edits}
        away = [f for f in untouched if f[0] not in subjects]
        return Quality(
            n=len(edits),
            alone=alone[0],
            alone_paraphrase=alone[1],
            s=_number(scores.score),
            es=_number(scores.efficacy),
            ps=_number(scores.paraphrase),
            ns=_number(scores.neighbourhood),
            strict=_share([found[case.prompt, case.new].strict for case in cases]),
            paraphrase=_share([one.strict for one in paraphrases]),
            neighbours=_share([one.strict for one in near]),
            same_relation=_share([kept[f] for f in away if f[1] in relations]),
            same_subject=_share([kept[f] for f in untouched if f[0] in subjects]),
            others=_share([kept[f] for f in away]),
            perplexity=perplexity(self.model, self.windows) / self.perplexity,
            **spent,
        )

    def _published(self, edit: Edit, untouched: Sequence[Fact], variants: int) -> CounterFactCase:
        """The edit with the paraphrases that it was not made with, and with neighbours that have its old object."""
        own, *others = self.world.templates[edit.relation]
        mates = [f for f in untouched if f[1] == edit.relation and f[2] != edit.new]
        near = [f for f in mates if f[2] == edit.old] or mates[:MATES]
        return CounterFactCase(
            render(own, edit.subject),
            new=edit.new,
            old=edit.old,
            paraphrases=tuple(render(text, edit.subject) for text in others[variants:]),
            neighbours=tuple(self.case(f) for f in near),
        )


def _share(values: Sequence[bool]) -> float:
    return _number(mean([float(value) for value in values]))


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


def row(quality: Quality, **setting: Any) -> dict[str, Any]:
    return setting | {k: round(v, 4) for k, v in asdict(quality).items()}
