"""Key groups: edit requests that share one key, and therefore one δ.

MEMIT writes at the subject's last token.  Prompts that are token-identical up to there have one and
the same key, whatever follows; separate δs for them would fight over it (MEMIT-Merge,
arXiv 2502.07322), so a group gets one δ that serves all its facts.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from editing.errors import RequestError
from editing.model.tokens import Located, Passage, locate, passage
from editing.requests import SLOT, EditRequest
from editing.settings import EditSettings

FORMAT = 1
"""Raised when the meaning of a stored δ changes."""

KL_TEMPLATE = "{} is a"


@dataclass(frozen=True, slots=True)
class Term:
    """One row of a group's loss (16): a tokenised text, and what is read from it."""

    text: Located
    context: int
    """Index of the context: 0 is the bare prompt, then the prefixes; −1 for a KL term."""

    @property
    def kl(self) -> bool:
        """Whether the next-token distribution at the text's last token is to stay; else the target is to be said."""
        return self.context < 0


@dataclass(frozen=True, slots=True)
class Group:
    """Edit requests with one key."""

    key: str
    """Content key: a digest of all that δ depends on."""
    requests: tuple[EditRequest, ...]
    terms: tuple[Term, ...]
    """NLL terms, fact by fact and context by context (the bare prompt first), then KL terms."""
    contexts: tuple[tuple[int, ...], ...]
    """Token ids through the subject's last token: bare, then after each prefix."""


def form_groups(
    tokenizer: Any,
    requests: Sequence[EditRequest],
    *,
    prefixes: Sequence[str],
    kl_prompts: Mapping[str, Sequence[str]],
    identity: Mapping[str, object],
) -> list[Group]:
    """The key groups of `requests`, ordered by key; raises RequestError where two requests conflict (5).

    `kl_prompts` maps a subject to prompts (with `{}`, or rendered) whose next token is to stay as it is.
    `identity` is what all groups depend on (base, layer, hyper-parameters, prefixes, tokenizer).
    """
    _refuse_conflicts(requests)
    bare = locate(tokenizer, [passage(request, target=False) for request in requests])
    members: dict[tuple[int, ...], list[EditRequest]] = {}
    for request, located in zip(requests, bare, strict=True):
        members.setdefault(located.ids[: located.subject + 1], []).append(request)
    drafts = [_Draft.of(tuple(group), kl_prompts, identity) for group in members.values()]
    drafts.sort(key=lambda draft: draft.key)
    return _tokenised(tokenizer, drafts, ("", *prefixes))


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
        ordered = sorted(requests, key=lambda request: (request.rendered, request.target, request.id))
        distinct = {(request.rendered, request.target): request for request in reversed(ordered)}
        facts = tuple(sorted(distinct.values(), key=lambda request: (request.rendered, request.target)))
        edited = {request.rendered for request in ordered}
        subject = ordered[0].subject
        asked = {request.subject: None for request in ordered}
        prompts = [_kl_passage(KL_TEMPLATE, subject)]
        known = sorted({prompt for name in asked for prompt in kl_prompts.get(name, ())})
        for prompt in known:
            kept = _kl_passage(prompt, subject)
            if kept.text not in edited:
                prompts.append(kept)
        content = {
            "format": FORMAT,
            "identity": dict(identity),
            "facts": [(fact.prompt, fact.subject, fact.target) for fact in facts],
            "kl": [(kept.text, kept.subject_end) for kept in prompts],
        }
        text = json.dumps(content, sort_keys=True, ensure_ascii=False)
        return cls(hashlib.sha256(text.encode()).hexdigest(), tuple(ordered), facts, tuple(prompts))


def _kl_passage(prompt: str, subject: str) -> Passage:
    """Where `subject` ends in a KL prompt; `{} is a` is read at the subject's last token itself."""
    if SLOT in prompt:
        before, _, after = prompt.partition(SLOT)
        text = before + subject + after
        return Passage(text, len(before) + len(subject))
    at = prompt.find(subject)
    if at < 0:
        raise RequestError(f"KL prompt {prompt!r} does not contain its subject {subject!r}")
    return Passage(prompt, at + len(subject))


def _tokenised(tokenizer: Any, drafts: Sequence[_Draft], contexts: Sequence[str]) -> list[Group]:
    """Terms and contexts of all groups, with one call of the tokenizer for each kind."""
    said = locate(
        tokenizer,
        [passage(fact, context) for draft in drafts for fact in draft.distinct for context in contexts],
    )
    kept = locate(tokenizer, [item for draft in drafts for item in draft.kl])
    groups, at_said, at_kept = [], 0, 0
    for draft in drafts:
        nll = said[at_said : at_said + len(draft.distinct) * len(contexts)]
        kl = kept[at_kept : at_kept + len(draft.kl)]
        at_said += len(nll)
        at_kept += len(kl)
        shortened = [_until_subject(kl[0]), *kl[1:]]
        terms = [Term(text, index % len(contexts)) for index, text in enumerate(nll)]
        terms += [Term(text, -1) for text in shortened]
        keyed = tuple(text.ids[: text.subject + 1] for text in nll[: len(contexts)])
        groups.append(Group(draft.key, draft.requests, tuple(terms), keyed))
    return groups


def _until_subject(text: Located) -> Located:
    """The text cut after the subject's last token: what follows cannot be seen from there."""
    return Located(text.ids[: text.subject + 1], text.subject, text.subject + 1)


def _refuse_conflicts(requests: Sequence[EditRequest]) -> None:
    """Eqn. 5 on the rendered prompt: one prompt cannot be given two answers."""
    seen: dict[str, EditRequest] = {}
    for request in requests:
        other = seen.setdefault(request.rendered, request)
        if other.target != request.target:
            raise RequestError(
                f"requests {other.id!r} and {request.id!r} ask {request.rendered!r} to be answered with "
                f"{other.target!r} and with {request.target!r}: drop one of them"
            )


def identity_of(
    settings: EditSettings, *, base_digest: str, tokenizer: str, layer: int, prefixes: Sequence[str]
) -> dict[str, object]:
    """What every δ of a build depends on.  R itself is not part of it: δ knows only the target layer L."""
    return {
        "base": base_digest,
        "tokenizer": tokenizer,
        "layer": layer,
        "prefixes": list(prefixes),
        "steps": settings.steps,
        "lr": settings.lr,
        "clamp": settings.clamp,
        "kl": settings.kl,
        "weight_decay": settings.weight_decay,
        "stop_loss": settings.stop_loss,
    }
