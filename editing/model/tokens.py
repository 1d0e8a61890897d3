"""Where a subject ends and a target begins, in tokens: by offset mapping, never by re-tokenising parts.

A text is tokenised once, as a whole, exactly as it would be read; the tokenizer's character offsets
then say which token holds the subject's last character and which is the target's first.  So BOS
tokens, prefix spaces, byte fallback and merges across a border need no special cases.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tokenizers import Tokenizer

from editing.errors import RequestError
from editing.requests import SLOT, EditRequest

_SPACELESS = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR", "IDEOGRAPHIC", "FULLWIDTH")
"""Scripts whose running text has no spaces between words, by the first word of a character's name."""


@dataclass(frozen=True, slots=True)
class Passage:
    """A text with the places of interest, in characters."""

    text: str
    subject_end: int
    """Index after the subject's last character."""
    target_start: int | None = None
    """Length of the prompt; None where nothing is to be predicted."""


@dataclass(frozen=True, slots=True)
class Located:
    """A tokenised passage."""

    ids: tuple[int, ...]
    subject: int
    """Index of the subject's last token."""
    target: int
    """Index of the target's first token; `len(ids)` where there is no target."""


def continued(prompt: str, target: str) -> str:
    """`prompt` and `target` as running text has them.

    With one space between, but for a prompt that ends in white space or an opening bracket or
    quote, and between characters of scripts written without spaces.
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
    """x_j ⊕ p(s, r), with the target where asked for."""
    before, found, _ = request.prompt.partition(SLOT)
    if not found or not request.subject:
        raise RequestError(
            f"request {request.id!r}: prompt {request.prompt!r} needs one {SLOT} and a subject to put there"
        )
    prompt = in_context(context, request.rendered)
    start = len(prompt) - len(request.rendered)
    subject_end = start + len(before) + len(request.subject)
    if not target:
        return Passage(prompt, subject_end)
    if not request.target.strip():
        raise RequestError(f"request {request.id!r}: its target is empty; say what the prompt is to end with")
    return Passage(continued(prompt, request.target), subject_end, len(prompt))


def in_context(context: str, text: str) -> str:
    """x_j ⊕ text: the prefix is a sentence of its own (the released implementation's `. `)."""
    if not context:
        return text
    return f"{context} {text}" if context[-1] in ".!?" else f"{context}. {text}"


def locate(tokenizer: Any, passages: Sequence[Passage]) -> list[Located]:
    """Tokenise `passages` as the model would read them; raises RequestError for a place no token covers."""
    if not passages:
        return []
    if not getattr(tokenizer, "is_fast", False):
        raise RequestError(
            f"{type(tokenizer).__name__} gives no character offsets: load the fast tokenizer of this model"
        )
    encoded = tokenizer(
        [item.text for item in passages], return_offsets_mapping=True, return_special_tokens_mask=True
    )
    rows = zip(
        passages, encoded["input_ids"], encoded["offset_mapping"], encoded["special_tokens_mask"], strict=True
    )
    return [_located(*row) for row in rows]


def _located(item: Passage, ids: list[int], offsets: list[tuple[int, int]], special: list[int]) -> Located:
    count = len(ids)
    while count and special[count - 1] and offsets[count - 1][1] == 0:
        count -= 1  # an EOS the tokenizer appends: the text goes on after the prompt
    subject = _ending(item, offsets[:count])
    if subject is None:
        raise RequestError(
            f"no token covers the subject's end (character {item.subject_end}) of {item.text!r}: "
            "the tokenizer drops it; choose another label"
        )
    if item.target_start is None:
        return Located(tuple(ids[:count]), subject, count)
    target = next((i for i in range(subject + 1, count) if offsets[i][1] > item.target_start), None)
    if target is None:
        raise RequestError(
            f"no token of its own for the target of {item.text!r}: the subject must end before it"
        )
    return Located(tuple(ids[:count]), subject, target)


def _ending(item: Passage, offsets: Sequence[tuple[int, int]]) -> int | None:
    """The last token over the subject's last character.

    A normaliser that composes a mark with its letter (NFC, NFKC) leaves the mark without a span of its
    own: then it is the letter's token.
    """
    for character in range(item.subject_end - 1, -1, -1):
        found = _last_token_over(character, offsets)
        if found is not None or not unicodedata.category(item.text[character]).startswith("M"):
            return found
    return None


def _last_token_over(character: int, offsets: Sequence[tuple[int, int]]) -> int | None:
    """The last token whose span holds `character` (one character may be several byte tokens)."""
    found = None
    for index, (start, end) in enumerate(offsets):
        if start <= character < end:
            found = index
    return found


def tokenizer_digest(tokenizer: Any) -> str:
    """What a cache key needs to know of a tokenizer: all that decides how text becomes ids.

    Padding and truncation are left out: they are what the last call of the tokenizer asked for.
    """
    backend = tokenizer.backend_tokenizer
    if backend.padding is not None or backend.truncation is not None:
        backend = Tokenizer.from_str(backend.to_str())
        backend.no_padding()
        backend.no_truncation()
    return hashlib.sha256(backend.to_str().encode()).hexdigest()
