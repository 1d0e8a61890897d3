"""Key groups: edit requests that share one key, and therefore one δ.

MEMIT writes at the subject's last token.  Prompts that are token-identical up to there have the same key,
whatever follows.  Separate δs for one key would conflict (MEMIT-Merge, arXiv 2502.07322), so a group gets
one δ that serves all its facts.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from editing.editors.contract import Failed, fail_requests
from editing.errors import RequestError
from editing.model.first_token import away_from_start
from editing.model.tokens import Located, Passage, Readable, passage, try_locate
from editing.requests import PLACEHOLDER, EditRequest
from editing.settings import EditSettings

FORMAT = 1
"""Version of stored δs; raised when their meaning changes."""

KL_TEMPLATE = "{} is a"


Tokenised = dict[EditRequest, tuple[tuple[int, ...], list[Located]]]
"""Request → (the bare prompt's tokens through the subject's last one, the whole text in every context)."""


@dataclass(frozen=True, slots=True)
class LossTerm:
    """One row of a group's loss (16): a tokenised text, and the positions read from it."""

    text: Located
    context: int
    """Index of the context: 0 is the bare prompt, then the prefixes; −1 for a KL term."""

    @property
    def kl(self) -> bool:
        """Whether the term preserves the next-token distribution at the text's end; else it predicts the target."""
        return self.context < 0

    @property
    def prefixed(self) -> bool:
        """Whether a context prefix precedes the prompt."""
        return self.context > 0


@dataclass(frozen=True, slots=True)
class Group:
    """Edit requests that share one key."""

    key: str
    """Content key: a digest of everything δ depends on."""
    requests: tuple[EditRequest, ...]
    terms: tuple[LossTerm, ...]
    """NLL terms, fact by fact and context by context (the bare prompt first), then KL terms."""
    contexts: tuple[tuple[int, ...], ...]
    """Token ids through the subject's last token: bare, then after each prefix."""


def in_share(groups: Sequence[Group], share: tuple[int, int]) -> list[Group]:
    """The groups of share `(number, of)`, which follows from their content keys: equal views are divided equally."""
    number, of = share
    return [group for group in groups if int(group.key[:8], 16) % of == number]


def form_groups(
    tokenizer: Any,
    requests: Sequence[EditRequest],
    *,
    prefixes: Sequence[str],
    kl_prompts: Mapping[str, Sequence[str]],
    identity: Mapping[str, object],
    limit: Readable | None = None,
    failed: Failed | None = None,
) -> list[Group]:
    """The key groups of `requests`, ordered by key.

    `kl_prompts` maps a subject to prompts (with `{}`, or rendered) whose next-token distribution should not
    change; one that cannot be tokenised is left out.  `identity` is what all groups depend on (base, layer,
    hyper-parameters, prefixes, tokenizer); `limit` is what the model can read.

    A request that cannot be tokenised, or contradicts another one (5), is left out and reported to `failed`;
    without `failed`, its RequestError is raised.
    """
    lead = limit.lead if limit else ""
    texts_of = locate_requests(tokenizer, requests, prefixes=prefixes, limit=limit, failed=failed)
    members: dict[tuple[int, ...], list[EditRequest]] = {}
    for request, (start, _) in texts_of.items():
        members.setdefault(start, []).append(request)
    kept_prompts = _kl_templates(tokenizer, lead, texts_of, kl_prompts)
    drafts = [_Draft.of(tuple(group), kept_prompts, identity) for group in members.values()]
    drafts.sort(key=lambda draft: draft.key)
    kept = iter(try_locate(tokenizer, [item for draft in drafts for item in draft.kl], limit=limit))
    return [
        draft.group({fact: texts_of[fact][1] for fact in draft.distinct}, [next(kept) for _ in draft.kl])
        for draft in drafts
    ]


def locate_requests(
    tokenizer: Any,
    requests: Sequence[EditRequest],
    *,
    prefixes: Sequence[str] = (),
    limit: Readable | None = None,
    failed: Failed | None = None,
) -> Tokenised:
    """The requests that can be edited, each with its tokens, as `form_groups` reads them.

    A prompt whose subject would end in the first token begins with `limit.lead`.
    """
    lead = limit.lead if limit else ""
    sound = _away_from_start(tokenizer, lead, without_conflicts(requests, failed))
    return _tokenised(tokenizer, sound, ("", *prefixes), limit, failed)


def _away_from_start(tokenizer: Any, lead: str, requests: Sequence[EditRequest]) -> list[EditRequest]:
    prompts = [(request.prompt, request.subject) for request in requests]
    moved = away_from_start(tokenizer, lead, prompts)
    return [replace(request, prompt=prompt) for request, prompt in zip(requests, moved, strict=True)]


def _kl_templates(
    tokenizer: Any, lead: str, requests: Iterable[EditRequest], kl_prompts: Mapping[str, Sequence[str]]
) -> dict[str, tuple[str, ...]]:
    """Subject → the prompts of its KL terms: `KL_TEMPLATE` first, then those given, sorted."""
    subjects = list(dict.fromkeys(request.subject for request in requests))
    pairs = [
        (prompt, subject)
        for subject in subjects
        for prompt in (KL_TEMPLATE, *sorted(set(kl_prompts.get(subject, ()))))
    ]
    found: dict[str, tuple[str, ...]] = dict.fromkeys(subjects, ())
    for (_, subject), prompt in zip(pairs, away_from_start(tokenizer, lead, pairs), strict=True):
        found[subject] += (prompt,)
    return found


def _tokenised(
    tokenizer: Any,
    requests: Sequence[EditRequest],
    contexts: Sequence[str],
    limit: Readable | None,
    failed: Failed | None,
) -> Tokenised:
    """The requests that can be tokenised, with one tokenizer call for each kind of text."""
    passages: dict[EditRequest, list[Passage]] = {}
    for request in requests:
        try:
            passages[request] = [passage(request, context) for context in contexts]
        except RequestError as error:
            fail_requests(failed, [request.id], error)
    texts = [item for some in passages.values() for item in some]
    found = iter(try_locate(tokenizer, texts, limit=limit, labels=True))
    prompts = [passage(request, target=False) for request in passages]
    bare = iter(try_locate(tokenizer, prompts))
    texts_of: Tokenised = {}
    for request in passages:
        start, rows = next(bare), [next(found) for _ in contexts]
        located = [row for row in rows if isinstance(row, Located)]
        if isinstance(start, Located) and len(located) == len(rows):
            texts_of[request] = start.ids[: start.subject + 1], [_ended(row, request.end) for row in located]
        else:
            fail_requests(
                failed, [request.id], next(e for e in (*rows, start) if isinstance(e, RequestError))
            )
    return texts_of


def _ended(text: Located, end: int | None) -> Located:
    """The text with the token `end` after its target, which is predicted but never read."""
    return text if end is None else replace(text, ids=(*text.ids, end))


@dataclass(frozen=True, slots=True)
class _Draft:
    key: str
    requests: tuple[EditRequest, ...]
    distinct: tuple[EditRequest, ...]
    kl: tuple[Passage, ...]

    @classmethod
    def of(
        cls,
        requests: tuple[EditRequest, ...],
        kl_prompts: Mapping[str, Sequence[str]],
        identity: Mapping[str, object],
    ) -> _Draft:
        """The group before its terms are tokenised; KL prompts that the group itself edits are left out."""
        ordered = sorted(requests, key=lambda request: (request.rendered, request.target, request.id))
        distinct = {(request.rendered, request.target): request for request in reversed(ordered)}
        facts = tuple(sorted(distinct.values(), key=lambda request: (request.rendered, request.target)))
        edited = {request.rendered for request in ordered}
        subject = ordered[0].subject
        asked = {request.subject: None for request in ordered}
        first, *_ = kl_prompts[subject]
        prompts = [_kl_passage(first, subject)]
        known = sorted({prompt for name in asked for prompt in kl_prompts[name][1:]})
        for prompt in known:
            kept = _kl_passage(prompt, subject)
            if kept.text not in edited:
                prompts.append(kept)
        content = {
            "format": FORMAT,
            "identity": dict(identity),
            "facts": [_content(fact) for fact in facts],
            "kl": [(kept.text, kept.subject_end) for kept in prompts],
        }
        text = json.dumps(content, sort_keys=True, ensure_ascii=False)
        return cls(hashlib.sha256(text.encode()).hexdigest(), tuple(ordered), facts, tuple(prompts))

    def group(
        self, texts_of: Mapping[EditRequest, Sequence[Located]], kl: Sequence[Located | RequestError]
    ) -> Group:
        """The group, with its facts' texts in every context and its KL prompts; KL prompts that cannot be
        tokenised are left out."""
        texts = [texts_of[fact] for fact in self.distinct]
        terms = [LossTerm(text, context) for rows in texts for context, text in enumerate(rows)]
        first, *others = kl
        if isinstance(first, Located):
            terms.append(LossTerm(_until_subject(first), -1))
        terms += [LossTerm(text, -1) for text in others if isinstance(text, Located)]
        keyed = tuple(text.ids[: text.subject + 1] for text in texts[0])
        return Group(self.key, self.requests, tuple(terms), keyed)


def _content(fact: EditRequest) -> tuple[str | int, ...]:
    """What a key digests of a fact; keys from before targets had an end stay valid."""
    return fact.prompt, fact.subject, fact.target, *(() if fact.end is None else (fact.end,))


def _kl_passage(prompt: str, subject: str) -> Passage:
    """Where `subject` ends in a KL prompt; `{} is a` is read at the subject's last token."""
    if PLACEHOLDER in prompt:
        before, _, after = prompt.partition(PLACEHOLDER)
        text = before + subject + after
        return Passage(text, len(before) + len(subject))
    at = prompt.find(subject)
    if at < 0:
        raise RequestError(f"KL prompt {prompt!r} does not contain its subject {subject!r}")
    return Passage(prompt, at + len(subject))


def _until_subject(text: Located) -> Located:
    """The text cut after the subject's last token, which cannot attend to what follows."""
    return Located(text.ids[: text.subject + 1], text.subject, text.subject + 1)


def without_conflicts(requests: Sequence[EditRequest], failed: Failed | None) -> list[EditRequest]:
    """Eqn. 5 on the rendered prompts: requests that give one prompt different answers are not edited."""
    first: dict[str, EditRequest] = {}
    conflicts: dict[str, RequestError] = {}
    for request in requests:
        if request.prompt.count(PLACEHOLDER) != 1:
            continue  # nothing is rendered; `passage` says so
        other = first.setdefault(request.rendered, request)
        if other.target != request.target:
            conflicts[request.rendered] = RequestError(
                f"requests {other.id!r} and {request.id!r} ask {request.rendered!r} to be answered with "
                f"{other.target!r} and with {request.target!r}: drop one of them",
                "conflict",
            )
    sound = []
    for request in requests:
        if request.prompt.count(PLACEHOLDER) == 1 and request.rendered in conflicts:
            fail_requests(failed, [request.id], conflicts[request.rendered])
        else:
            sound.append(request)
    return sound


def identity_of(
    settings: EditSettings, *, base_digest: str, tokenizer: str, layer: int, prefixes: Sequence[str]
) -> dict[str, object]:
    """What every δ of a build depends on.  R is not part of it: δ depends only on the target layer L.

    Adam is not named, and L-BFGS has no learning rate, so keys from before `optimiser` existed stay valid; so do those
    from before `bare_steps` existed, which is named only where it has an effect.
    """
    by_optimiser: dict[str, object] = (
        {"lr": settings.lr} if settings.optimiser == "adam" else {"optimiser": settings.optimiser}
    )
    if settings.bare_steps and prefixes:
        by_optimiser["bare_steps"] = settings.bare_steps
    return {
        **by_optimiser,
        "base": base_digest,
        "tokenizer": tokenizer,
        "layer": layer,
        "prefixes": list(prefixes),
        "steps": settings.steps,
        "clamp": settings.clamp,
        "kl": settings.kl,
        "weight_decay": settings.weight_decay,
        "stop_loss": settings.stop_loss,
    }
