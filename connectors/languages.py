"""Choosing among texts in several languages."""

from __future__ import annotations

from collections.abc import Sequence


def language_rank(tag: str, languages: Sequence[str]) -> int | None:
    """Position of a language tag among `languages`, best first; None if it is not wanted.

    A region counts as its language (RFC 4647, section 3.4), no tag comes after all languages, and where
    there are no languages every tag is as good.
    """
    tag = tag.lower()
    for position, language in enumerate(languages):
        if tag == language.lower():
            return 2 * position
        if tag.startswith(f"{language.lower()}-"):
            return 2 * position + 1
    return 2 * len(languages) if not tag or not languages else None
