"""The Merkle tree of RFC 6962 and RFC 9162: roots, inclusion proofs, consistency proofs, and their verification.

Pure: a tree is a function `node(level, number)` that gives the hash of the full subtree over the leaves
`number * 2**level` up to `(number + 1) * 2**level`.  Where those hashes lie is the caller's affair
(`state/tree.py` keeps them in the ledger; `full_nodes` makes them of a list).

A leaf is hashed after a byte 0x00 and two nodes after a byte 0x01, so that no node passes for a leaf.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence

Node = Callable[[int, int], bytes]
"""The hash of the full subtree of this level and number; a leaf's hash is on level 0."""

EMPTY = hashlib.sha256().digest()
"""The root of a tree without leaves."""


def leaf_hash(data: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + data).digest()


def parent(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def root(size: int, node: Node) -> bytes:
    """The tree head over the first `size` leaves (RFC 9162, 2.1.1)."""
    return _hash(0, size, node) if size else EMPTY


def inclusion(index: int, size: int, node: Node) -> list[bytes]:
    """The proof that leaf `index` is in the tree over the first `size` leaves (RFC 9162, 2.1.3.1).

    Raises ValueError unless there is such a leaf.
    """
    if not 0 <= index < size:
        raise ValueError(f"a tree of {size} leaves has no leaf {index}")
    return list(_path(index, 0, size, node))


def consistency(old: int, size: int, node: Node) -> list[bytes]:
    """The proof that the tree over the first `old` leaves is a beginning of that over `size` (RFC 9162, 2.1.4.1).

    Empty where the older tree is empty or the same.  Raises ValueError where it is larger.
    """
    if not 0 <= old <= size:
        raise ValueError(f"a tree of {size} leaves has none of {old} as its beginning")
    return [] if old in (0, size) else list(_subproof(old, 0, size, node, whole=True))


def root_of_inclusion(index: int, size: int, leaf: bytes, proof: Sequence[bytes]) -> bytes | None:
    """The root that the proof leads to from a leaf's hash (RFC 9162, 2.1.3.2); None where it leads nowhere."""
    if not 0 <= index < size:
        return None
    place, last, found = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return None
        if place & 1 or place == last:
            found = parent(sibling, found)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            found = parent(found, sibling)
        place, last = place >> 1, last >> 1
    return found if last == 0 else None


def is_consistent(old: int, size: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether the proof shows that the older tree is a beginning of the newer one (RFC 9162, 2.1.4.2)."""
    if old == size:
        return not proof and old_root == new_root
    if old == 0:
        return not proof and old_root == EMPTY
    if not 0 < old < size or not proof:
        return False
    path = list(proof)
    if old & (old - 1) == 0:  # a full subtree: its root is the first step
        path.insert(0, old_root)
    place, last = old - 1, size - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    before = after = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if place & 1 or place == last:
            before, after = parent(sibling, before), parent(sibling, after)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            after = parent(after, sibling)
        place, last = place >> 1, last >> 1
    return last == 0 and before == old_root and after == new_root


class Frontier:
    """A tree that only grows: it keeps the roots of the full subtrees that it consists of, largest first.

    Appending costs one hash for the leaf and, on average, one for nodes; `root` as many as there are subtrees.
    """

    def __init__(self, size: int = 0, subtrees: Sequence[bytes] = ()) -> None:
        self.size, self._subtrees = size, list(subtrees)

    @classmethod
    def of(cls, size: int, node: Node) -> Frontier:
        """The frontier of the tree over the first `size` leaves."""
        levels = [level for level in reversed(range(size.bit_length())) if size >> level & 1]
        return cls(size, [node(level, (size >> level) - 1) for level in levels])

    def append(self, leaf: bytes) -> Iterator[tuple[int, int, bytes]]:
        """Add a leaf's hash; gives level, number and hash of every node above it that it completes."""
        level, number, made = 0, self.size, leaf
        self.size += 1
        completed = []
        while number & 1:
            made = parent(self._subtrees.pop(), made)
            level, number = level + 1, number >> 1
            completed.append((level, number, made))
        self._subtrees.append(made)
        return iter(completed)

    def root(self) -> bytes:
        """The tree head now."""
        if not self._subtrees:
            return EMPTY
        *others, found = self._subtrees
        for left in reversed(others):
            found = parent(left, found)
        return found


def full_nodes(leaves: Sequence[bytes]) -> Node:
    """The nodes over a list of leaf hashes, each computed once."""
    levels = [list(leaves)]
    while len(levels[-1]) > 1:
        below = levels[-1]
        levels.append([parent(below[at], below[at + 1]) for at in range(0, len(below) - 1, 2)])
    return lambda level, number: levels[level][number]


def _split(width: int) -> int:
    """The largest power of two below `width`."""
    return 1 << (width - 1).bit_length() - 1


def _hash(start: int, stop: int, node: Node) -> bytes:
    width = stop - start
    if width & (width - 1) == 0:
        level = width.bit_length() - 1
        return node(level, start >> level)
    middle = start + _split(width)
    return parent(_hash(start, middle, node), _hash(middle, stop, node))


def _path(index: int, start: int, stop: int, node: Node) -> Iterator[bytes]:
    """The siblings on the way from leaf `index` up to the root over `start` up to `stop`, lowest first."""
    if stop - start == 1:
        return
    middle = start + _split(stop - start)
    if index < middle:
        yield from _path(index, start, middle, node)
        yield _hash(middle, stop, node)
    else:
        yield from _path(index, middle, stop, node)
        yield _hash(start, middle, node)


def _subproof(old: int, start: int, stop: int, node: Node, *, whole: bool) -> Iterator[bytes]:
    """SUBPROOF of the RFC for the leaves up to `old`; `whole`: the older root itself is known to the verifier."""
    if old == stop:
        if not whole:
            yield _hash(start, stop, node)
        return
    middle = start + _split(stop - start)
    if old <= middle:
        yield from _subproof(old, start, middle, node, whole=whole)
        yield _hash(middle, stop, node)
    else:
        yield from _subproof(old, middle, stop, node, whole=False)
        yield _hash(start, middle, node)
