"""Causal tracing: where is a fact read?  (MEMIT, Appendix A; Figures 3 and 8.)

The subject's embeddings are corrupted with Gaussian noise, one clean state (or a window of MLP or
attention outputs) is put back, and what that recovers of P[o] is measured.  With the MLPs (or the
attention) at the subject's last token *severed*, frozen as they are in the corrupted run, what a
restored state recovers shows how much of its effect passes through them: R is where severing the
MLPs costs most.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from editing.errors import ArchitectureError, DataError
from editing.evaluation.scoring import Question, score
from editing.model.architectures import Architecture, Parts, locate_parts
from editing.model.hooks import frozen, on_output
from editing.model.inference import Ids, target_logits
from editing.model.tokens import locate, passage
from editing.model.weights import refuse_offloaded, unwrapped
from editing.progress import Progress, silent
from editing.requests import SLOT, EditRequest

Kind = Literal["state", "mlp", "attention"]

ROLES = (
    "first subject token",
    "middle subject tokens",
    "last subject token",
    "first subsequent token",
    "further tokens",
    "last token",
)
_ROWS_TOKENS = 16_384


@dataclass(frozen=True)
class TraceResult:
    """Mean effects over the traced facts, in probability of the object."""

    facts: int
    """How many facts the model knew and were traced."""
    sigma: float
    """Standard deviation of the subjects' embeddings; the noise had `noise` times that."""
    clean: float
    """Mean P[o] of the untouched model."""
    corrupted: float
    """Mean P[o] with the subject corrupted."""
    effects: dict[str, list[list[float | None]]]
    """Kind → (layer, role): mean P[o] recovered by restoring there; None where no fact has such a token."""
    severed: dict[str, list[float]]
    """`nothing`, `mlp`, `attention` → by layer what restoring the state at the subject's last token
    recovers with that severed above it."""

    def cost_of_severing(self) -> list[float]:
        """By layer what severing the MLPs takes away of the restored effect: the gap of Figure 3."""
        pairs = zip(self.severed["nothing"], self.severed["mlp"], strict=True)
        return [whole - without for whole, without in pairs]

    def suggested_layers(self, count: int = 5) -> tuple[int, ...]:
        """R: the `count` consecutive layers (not the last) where severing the MLPs costs most."""
        gaps = self.cost_of_severing()[:-1]
        count = min(count, len(gaps))
        starts = range(len(gaps) - count + 1)
        best = max(starts, key=lambda start: sum(gaps[start : start + count]))
        return tuple(range(best, best + count))


@dataclass(frozen=True)
class _Fact:
    """One known fact, tokenised, with its clean run."""

    ids: Ids
    first: int
    """Index of the subject's first token."""
    last: int
    """Index of the subject's last token."""
    prompt: int
    """Number of prompt tokens; the target follows."""

    def roles(self) -> dict[str, list[int]]:
        """Role → token indices; from the first subject token on (earlier tokens are never corrupted)."""
        end = self.prompt - 1
        return {
            ROLES[0]: [self.first] if self.first < self.last else [],
            ROLES[1]: list(range(self.first + 1, self.last)),
            ROLES[2]: [self.last],
            ROLES[3]: [self.last + 1] if self.last + 1 < end else [],
            ROLES[4]: list(range(self.last + 2, end)),
            ROLES[5]: [end] if end > self.last else [],
        }


@dataclass(frozen=True)
class _Restore:
    """An intervention: clean outputs of one kind at `layers`, at one token; what is severed above."""

    kind: Kind
    layers: range
    token: int
    sever: Kind | None = None


@torch.inference_mode()
def trace(
    model: Any,
    tokenizer: Any,
    facts: Sequence[EditRequest],
    *,
    samples: int = 10,
    noise: float = 3.0,
    window: int = 10,
    seed: int = 0,
    described: Architecture | None = None,
    progress: Progress = silent,
) -> TraceResult:
    """Trace those of `facts` that the model knows (strict argmax).

    `samples` noise draws a fact of `noise` standard deviations; `window` consecutive MLP or attention
    outputs are restored at once (at most half the depth).  A model outside the table of architectures has
    to be `described`.  Raises DataError if the model knows none of the facts, ArchitectureError if no
    attention module is found.
    """
    model = unwrapped(model)
    refuse_offloaded(model)
    parts = locate_parts(model, described)
    known = _known(model, tokenizer, facts)
    if not known:
        raise DataError(f"the model states none of the {len(facts)} facts unedited: nothing can be traced")
    sigma = _embedding_deviation(model, known)
    generator = torch.Generator().manual_seed(seed)
    sums = _Sums(len(parts.blocks))
    with frozen(model):
        for number, fact in enumerate(known):
            width = fact.last + 1 - fact.first
            drawn = torch.randn(samples, width, parts.width, generator=generator) * (noise * sigma)
            run = _Run(model, parts, fact, drawn, min(window, max(1, len(parts.blocks) // 2)))
            sums.add(fact, run)
            progress("tracing", number + 1, len(known))
    return sums.result(len(known), sigma)


class _Run:
    """All interventions on one fact."""

    def __init__(self, model: Any, parts: Parts, fact: _Fact, noise: Tensor, window: int) -> None:
        self.model, self.parts, self.fact, self.window = model, parts, fact, window
        self.noise = noise.to(model.device, model.dtype)
        self.modules: dict[Kind, list[nn.Module]] = {
            "state": list(parts.blocks),
            "mlp": [parts.writer(layer) for layer in range(len(parts.blocks))],
            "attention": [attention_of(block) for block in parts.blocks],
        }
        self.clean_values, (self.clean,) = self._observe(None)
        self.corrupted_values, corrupted = self._observe(self.noise)
        self.corrupted = sum(corrupted) / len(corrupted)

    def effects(self, kind: Kind) -> dict[tuple[int, int], float]:
        """(layer, token) → P[o] recovered by restoring the clean output (a window of them) there."""
        depth = len(self.parts.blocks)
        half = 0 if kind == "state" else self.window // 2
        plans = {
            (layer, token): _Restore(kind, range(max(0, layer - half), min(depth, layer + half + 1)), token)
            for layer in range(depth)
            for tokens in self.fact.roles().values()
            for token in tokens
        }
        return dict(zip(plans, self._recovered(list(plans.values())), strict=True))

    def severed(self, what: Kind | None) -> list[float]:
        """By layer, P[o] recovered by restoring the state at the subject's last token with `what` severed."""
        layers = range(len(self.parts.blocks))
        return self._recovered(
            [_Restore("state", range(layer, layer + 1), self.fact.last, what) for layer in layers]
        )

    def _observe(self, noise: Tensor | None) -> tuple[dict[Kind, list[Tensor]], list[float]]:
        """Outputs (rows, tokens, d) of every module, and P[o] of every row, of one run."""
        seen: dict[Kind, list[Tensor]] = {"state": [], "mlp": [], "attention": []}
        rows = 1 if noise is None else len(noise)
        with ExitStack() as stack:
            for kind, modules in self.modules.items():
                for module in modules:
                    stack.enter_context(on_output(module, seen[kind].append))
            probabilities = self._probabilities(rows, noise)
        return seen, probabilities

    def _recovered(self, plans: Sequence[_Restore]) -> list[float]:
        """Mean P[o] over noise samples under each plan, less that of the corrupted run."""
        samples = len(self.noise)
        step = max(1, _ROWS_TOKENS // (samples * len(self.fact.ids)))
        found: list[float] = []
        for start in range(0, len(plans), step):
            chunk = plans[start : start + step]
            with ExitStack() as stack:
                for hook in self._hooks(chunk):
                    stack.enter_context(hook)
                rows = self._probabilities(samples * len(chunk), self.noise.repeat(len(chunk), 1, 1))
            for index in range(len(chunk)):
                own = rows[index * samples : (index + 1) * samples]
                found.append(sum(own) / samples - self.corrupted)
        return found

    def _hooks(self, plans: Sequence[_Restore]) -> Iterator[Any]:
        """One hook a module that any of the plans touches; plan n has rows n·samples … (n+1)·samples."""
        for kind, modules in self.modules.items():
            for layer, module in enumerate(modules):
                changes = []
                for index, plan in enumerate(plans):
                    if plan.kind == kind and layer in plan.layers:
                        changes.append((index, plan.token, self.clean_values[kind][layer][0, plan.token]))
                    elif plan.sever == kind and layer > plan.layers[-1]:
                        changes.append((index, plan.token, self.corrupted_values[kind][layer][:, plan.token]))
                if changes:
                    yield on_output(module, _Put(changes, len(self.noise)))

    def _probabilities(self, rows: int, noise: Tensor | None) -> list[float]:
        """P[o] (all its tokens) of `rows` copies of the fact under whatever hooks are in place."""
        fact = self.fact

        def corrupt(embedded: Tensor) -> Tensor | None:
            if noise is None:
                return None
            changed = embedded.clone()
            changed[:, fact.first : fact.last + 1] += noise
            return changed

        target = torch.tensor(fact.ids[fact.prompt :], device=self.model.device)
        with on_output(self.model.get_input_embeddings(), corrupt):
            read = target_logits(self.model, [fact.ids] * rows, [fact.prompt] * rows)
            logits = torch.stack(list(read)).float()  # (rows, target tokens, V)
        wanted = target.expand(rows, -1)[..., None]
        logprobs = logits.log_softmax(-1).gather(-1, wanted)[..., 0]
        probabilities: list[float] = logprobs.double().sum(-1).exp().tolist()
        return probabilities


@dataclass(frozen=True)
class _Put:
    """Puts values into a module's output: for plan `index`, at one token, (d,) or one (samples, d)."""

    changes: list[tuple[int, int, Tensor]]
    samples: int

    def __call__(self, output: Tensor) -> Tensor:
        changed = output.clone()
        for index, token, value in self.changes:
            changed[index * self.samples : (index + 1) * self.samples, token] = value
        return changed


@dataclass
class _Sums:
    """Running means over facts."""

    depth: int
    clean: float = 0.0
    corrupted: float = 0.0
    effects: dict[str, list[list[list[float]]]] = field(default_factory=dict)
    severed: dict[str, list[float]] = field(default_factory=dict)

    def add(self, fact: _Fact, run: _Run) -> None:
        self.clean += run.clean
        self.corrupted += run.corrupted
        kinds: tuple[Kind, ...] = ("state", "mlp", "attention")
        for kind in kinds:
            table = self.effects.setdefault(kind, [[[] for _ in ROLES] for _ in range(self.depth)])
            found = run.effects(kind)
            for column, tokens in enumerate(fact.roles().values()):
                for layer in range(self.depth):
                    if tokens:
                        values = [found[layer, token] for token in tokens]
                        table[layer][column].append(sum(values) / len(values))
        for name, what in (("nothing", None), ("mlp", "mlp"), ("attention", "attention")):
            sums = self.severed.setdefault(name, [0.0] * self.depth)
            for layer, value in enumerate(run.severed(what)):  # type: ignore[arg-type]
                sums[layer] += value

    def result(self, count: int, sigma: float) -> TraceResult:
        means = {
            kind: [[sum(cell) / len(cell) if cell else None for cell in row] for row in table]
            for kind, table in self.effects.items()
        }
        severed = {name: [value / count for value in sums] for name, sums in self.severed.items()}
        return TraceResult(count, sigma, self.clean / count, self.corrupted / count, means, severed)


def attention_of(block: nn.Module) -> nn.Module:
    """The attention module of a block: the child whose name says so; raises ArchitectureError."""
    for name, child in block.named_children():
        if ("attn" in name and "norm" not in name) or name in ("attention", "self_attention"):
            return child
    children = ", ".join(name for name, _ in block.named_children())
    raise ArchitectureError(f"no attention among the parts of a block ({children}): it cannot be traced")


def _known(model: Any, tokenizer: Any, facts: Sequence[EditRequest]) -> list[_Fact]:
    """Those of `facts` the model states, tokenised."""
    located = locate(tokenizer, [passage(fact) for fact in facts])
    starts = locate(tokenizer, [passage(_begun(fact)) for fact in facts])
    candidates = [
        _Fact(text.ids, start.subject, text.subject, text.target)
        for text, start in zip(located, starts, strict=True)
    ]
    questions = [Question(fact.ids[: fact.prompt], fact.ids[fact.prompt :]) for fact in candidates]
    answers = score(model, questions)
    return [fact for fact, answer in zip(candidates, answers, strict=True) if answer.strict]


def _begun(fact: EditRequest) -> EditRequest:
    """The same text with only the subject's first character for a subject, so that its token is found."""
    head, rest = fact.subject[:1], fact.subject[1:]
    return EditRequest(fact.id, fact.prompt.replace(SLOT, SLOT + rest), head, fact.target)


def _embedding_deviation(model: Any, facts: Sequence[_Fact]) -> float:
    """σ: the standard deviation of the subjects' embedding activations."""
    embedding = model.get_input_embeddings()
    ids = sorted({token for fact in facts for token in fact.ids[fact.first : fact.last + 1]})
    return float(embedding(torch.tensor(ids, device=model.device)).float().std())
