"""A view as a sorted Merkle set: what is in it can be proven, and so can what is not.

A fact's leaf is four SHA-256 digests in a row, of its subject, its relation, its object (their ids) and its key.
Leaves are sorted, so everything about a subject, a slot or a statement stands together, and two neighbours with the
place of something between them prove that it is absent.  The tree is that of `merkle.py`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from state import merkle
from state.records import Fact


def place(subject: str, relation: str | None = None, object: str | None = None) -> bytes:
    """The beginning that the leaves of a subject, of a slot or of a statement have in common."""
    return b"".join(
        hashlib.sha256(text.encode()).digest() for text in (subject, relation, object) if text is not None
    )


def leaf(fact: Fact) -> bytes:
    return place(fact.subject, fact.relation, fact.object) + bytes.fromhex(fact.key)


@dataclass(frozen=True, slots=True)
class Leaf:
    """A leaf with its proof."""

    index: int
    data: bytes
    proof: tuple[bytes, ...]


class ViewSet:
    """The facts of one view."""

    def __init__(self, facts: Iterable[Fact]) -> None:
        self._leaves = sorted(map(leaf, facts))
        self._node = merkle.full_nodes([merkle.leaf_hash(data) for data in self._leaves])

    @property
    def size(self) -> int:
        return len(self._leaves)

    def root(self) -> bytes:
        return merkle.root(self.size, self._node)

    def present(self, fact: Fact) -> Leaf | None:
        """The fact's leaf; None if the view does not have it."""
        data = leaf(fact)
        return self._leaf(self._leaves.index(data)) if data in self._leaves else None

    def absent(self, beginning: bytes) -> tuple[Leaf, ...] | None:
        """The neighbours between which leaves of that beginning would stand; None if there is one.

        Two, or one at an end of the set, or none of an empty set.
        """
        before = [at for at, data in enumerate(self._leaves) if data[: len(beginning)] < beginning]
        after = [at for at, data in enumerate(self._leaves) if data[: len(beginning)] > beginning]
        if len(before) + len(after) < self.size:
            return None
        return tuple(self._leaf(at) for at in (*before[-1:], *after[:1]))

    def _leaf(self, index: int) -> Leaf:
        proof = tuple(merkle.inclusion(index, self.size, self._node))
        return Leaf(index, self._leaves[index], proof)


def is_absent(beginning: bytes, root: bytes, size: int, neighbours: Sequence[Leaf]) -> bool:
    """Whether the neighbours prove that the set of that root has no leaf with the beginning."""
    for one in neighbours:
        hashed = merkle.leaf_hash(one.data)
        if merkle.root_of_inclusion(one.index, size, hashed, one.proof) != root:
            return False
    beginnings = [one.data[: len(beginning)] for one in neighbours]
    match [one.index for one in neighbours]:
        case []:
            return size == 0 and root == merkle.EMPTY
        case [end]:
            first, last = end == 0, end == size - 1
            return (first and beginning < beginnings[0]) or (last and beginnings[0] < beginning)
        case [left, right] if right == left + 1:
            return beginnings[0] < beginning < beginnings[1]
    return False
