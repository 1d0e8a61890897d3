"""Locating subject and target in tokens: by offset mapping, never by tokenising parts separately.

A text is tokenised once, as a whole, exactly as it would be read; the tokenizer's character offsets then give
the token with the subject's last character and the target's first token.  So BOS tokens, prefix spaces, byte
fallback and merges across a border need no special cases.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tokenizers import Tokenizer

from editing.errors import RequestError
from editing.model.spelling import Spelling, shortened
from editing.requests import PLACEHOLDER, EditRequest
from editing.undisturbed import undisturbed

_SPACELESS = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR", "IDEOGRAPHIC", "FULLWIDTH")
"""Scripts whose running text has no spaces between words, by the first word of a character's name."""

LEAD = "The following is true."
"""The sentence put before a prompt whose subject would end in the first token."""


@dataclass(frozen=True, slots=True)
class Passage:
    """A text with the positions of subject and target, in characters."""

    text: str
    subject_end: int
    """Index after the subject's last character."""
    target_start: int | None = None
    """Length of the prompt; None if nothing is to be predicted."""
    subject_start: int | None = None
    """Index of the subject's first character, if its tokens are to be checked."""


@dataclass(frozen=True, slots=True)
class Located:
    """A tokenised passage."""

    ids: tuple[int, ...]
    subject: int
    """Index of the subject's last token."""
    target: int
    """Index of the target's first token; `len(ids)` if there is no target."""


def continued(prompt: str, target: str) -> str:
    """`prompt` and `target` joined as in running text.

    With one space between, except after a prompt that ends in white space or an opening bracket or quote, and
    between characters of scripts written without spaces.
    """
    if not prompt or not target:
        return prompt + target
    last = prompt[-1]
    if last.isspace() or unicodedata.category(last) in ("Ps", "Pi"):
        return prompt + target
    if _spaceless(last) and _spaceless(target[0]):
        return prompt + target
    return f"{prompt} {target}"


def _spaceless(character: str) -> bool:
    return unicodedata.name(character, "").startswith(_SPACELESS)


def passage(request: EditRequest, context: str = "", *, target: bool = True) -> Passage:
    """x_j ⊕ p(s, r), with the target if requested."""
    before, _, _ = request.prompt.partition(PLACEHOLDER)
    if request.prompt.count(PLACEHOLDER) != 1 or not request.subject:
        raise RequestError(
            f"request {request.id!r}: prompt {request.prompt!r} needs one {PLACEHOLDER} and a subject to put there"
        )
    prompt = in_context(context, request.rendered)
    subject_start = len(prompt) - len(request.rendered) + len(before)
    subject_end = subject_start + len(request.subject)
    if not target:
        return Passage(prompt, subject_end, subject_start=subject_start)
    if not request.target.strip():
        raise RequestError(
            f"request {request.id!r}: its target is empty; write the text that completes the prompt"
        )
    return Passage(continued(prompt, request.target), subject_end, len(prompt), subject_start)


def in_context(context: str, text: str) -> str:
    """x_j ⊕ text: the prefix is a separate sentence (the released implementation's `. `)."""
    if not context:
        return text
    return f"{context} {text}" if context[-1] in ".!?" else f"{context}. {text}"


def locate(tokenizer: Any, passages: Sequence[Passage]) -> list[Located]:
    """Tokenise `passages` as the model would read them; raises RequestError for a position that no token covers."""
    found = []
    for item in try_locate(tokenizer, passages):
        if isinstance(item, RequestError):
            raise item
        found.append(item)
    return found


@dataclass(frozen=True, slots=True)
class Readable:
    """What a model can read."""

    tokens: int
    """The longest text, in tokens."""
    vocabulary: int
    """Number of rows of its embedding: larger ids are not tokens of the model."""
    lead: str = ""
    """Put before a text whose subject would end in the first token, if the model does not read subjects there."""


def try_locate(
    tokenizer: Any, passages: Sequence[Passage], *, limit: Readable | None = None, labels: bool = False
) -> list[Located | RequestError]:
    """Like `locate`, but a passage that cannot be used yields its error and does not affect the others.

    `limit` is what the model can read.  With `labels`, the tokens of subject and target are also checked: neither
    may contain a control token of the tokenizer or be unknown to it.
    Raises RequestError only for a tokenizer that gives no offsets.
    """
    if not passages:
        return []
    if not getattr(tokenizer, "is_fast", False):
        raise RequestError(
            f"{type(tokenizer).__name__} gives no character offsets: load the fast tokenizer of this model"
        )
    spelling = Spelling(tokenizer) if labels else None
    found: list[Located | RequestError] = []
    for item, row in zip(passages, _encoded(tokenizer, [item.text for item in passages]), strict=True):
        try:
            if isinstance(row, RequestError):
                raise row
            located = _located(item, *row)
            if limit is not None:
                _check_readable(item, located, limit)
            if spelling is not None:
                _check_labels(spelling, item, located, row[1])
            found.append(located)
        except RequestError as error:
            found.append(error)
    return found


def _check_readable(item: Passage, located: Located, limit: Readable) -> None:
    """Raise RequestError if a passage is too long, or has tokens that the model has no embedding for."""
    if len(located.ids) > limit.tokens:
        raise RequestError(
            f"{shortened(item.text)} has {len(located.ids)} tokens, the model reads {limit.tokens}: "
            "shorten the label or the template",
            "too_long",
        )
    if max(located.ids, default=0) >= limit.vocabulary:
        raise RequestError(
            f"{shortened(item.text)} has the token {max(located.ids)}, the model's embedding {limit.vocabulary} rows: "
            "leave out the special token, or use the tokenizer that belongs to the model",
            "label_special",
        )


Encoded = tuple[list[int], list[tuple[int, int]], list[int]]
"""(ids, offsets, special tokens mask) of one text."""


def _encoded(tokenizer: Any, texts: Sequence[str]) -> list[Encoded | RequestError]:
    """Tokenise the texts in one call; if the tokenizer refuses the batch, one by one, to find the cause."""

    def encode(some: Sequence[str]) -> list[Encoded]:
        with undisturbed():
            rows = tokenizer(list(some), return_offsets_mapping=True, return_special_tokens_mask=True)
            columns = (rows[name] for name in ("input_ids", "offset_mapping", "special_tokens_mask"))
            return list(zip(*columns, strict=True))

    try:
        return [*encode(texts)]
    except Exception as error:  # noqa: BLE001  the Rust tokenizers raise bare Exception, among others
        if len(texts) == 1:
            reason = " ".join(str(error).split())[:200]
            return [RequestError(f"the tokenizer refuses {shortened(texts[0])}: {reason}", "untokenised")]
    return [row for text in texts for row in _encoded(tokenizer, [text])]


def _check_labels(
    spelling: Spelling, item: Passage, located: Located, offsets: Sequence[tuple[int, int]]
) -> None:
    """Raise RequestError if subject or target is not spelled with ordinary tokens."""
    tokens = list(zip(located.ids, offsets, strict=False))
    if item.subject_start is not None:
        spelling.check_subject(item.text, tokens, (item.subject_start, item.subject_end))
    if item.target_start is not None:
        spelling.check_target(item.text, tokens, (item.target_start, len(item.text)))


def _located(item: Passage, ids: list[int], offsets: list[tuple[int, int]], special: list[int]) -> Located:
    count = len(ids)
    while count and special[count - 1] and offsets[count - 1][1] == 0:
        count -= 1  # an EOS the tokenizer appends: the text goes on after the prompt
    subject = _ending(item, offsets[:count])
    if subject is None:
        raise RequestError(
            f"no token covers the subject's end (character {item.subject_end}) of {item.text!r}: "
            "the tokenizer drops it; choose another label",
            "untokenised",
        )
    if item.target_start is None:
        return Located(tuple(ids[:count]), subject, count)
    target = next((i for i in range(subject + 1, count) if offsets[i][1] > item.target_start), None)
    if target is None:
        raise RequestError(
            f"no token of its own for the target of {item.text!r}: the subject must end before it",
            "unsayable",
        )
    return Located(tuple(ids[:count]), subject, target)


def _ending(item: Passage, offsets: Sequence[tuple[int, int]]) -> int | None:
    """The last token that covers the subject's last character.

    A normaliser that composes a mark with its letter (NFC, NFKC) leaves the mark without a span; the letter's
    token is then used.
    """
    for character in range(item.subject_end - 1, -1, -1):
        found = _last_token_over(character, offsets)
        if found is not None or not unicodedata.category(item.text[character]).startswith("M"):
            return found
    return None


def _last_token_over(character: int, offsets: Sequence[tuple[int, int]]) -> int | None:
    """The last token whose span contains `character` (one character may be several byte tokens)."""
    found = None
    for index, (start, end) in enumerate(offsets):
        if start <= character < end:
            found = index
    return found


def tokenizer_digest(tokenizer: Any) -> str:
    """Everything that decides how a tokenizer turns text into ids, for cache keys.

    Padding and truncation are left out: they are settings of the tokenizer's last call.
    """
    backend = tokenizer.backend_tokenizer
    if backend.padding is not None or backend.truncation is not None:
        backend = Tokenizer.from_str(backend.to_str())
        backend.no_padding()
        backend.no_truncation()
    return hashlib.sha256(backend.to_str().encode()).hexdigest()
