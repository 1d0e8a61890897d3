"""Roots and proofs equal what RFC 6962 defines, and a proof of anything else is refused."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from state import merkle
from tests.support.properties import drawing, editions

PUBLISHED = {  # certificate-transparency's test vectors (RFC 6962's reference implementation)
    0: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    2: "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    3: "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    4: "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    5: "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    6: "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    7: "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
}
LEAVES = [bytes.fromhex(text) for text in (
    "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f",
)]  # fmt: skip


def naive(data: list[bytes]) -> bytes:
    """MTH of RFC 6962, word for word."""
    if not data:
        return hashlib.sha256(b"").digest()
    if len(data) == 1:
        return hashlib.sha256(b"\x00" + data[0]).digest()
    k = 1
    while k * 2 < len(data):
        k *= 2
    return hashlib.sha256(b"\x01" + naive(data[:k]) + naive(data[k:])).digest()


def data(size: int) -> list[bytes]:
    return [str(number).encode() for number in range(size)]


def nodes(leaves: list[bytes]) -> merkle.Node:
    return merkle.full_nodes([merkle.leaf_hash(leaf) for leaf in leaves])


@pytest.mark.parametrize("size", PUBLISHED)
def test_the_published_roots(size: int) -> None:
    assert merkle.root(size, nodes(LEAVES)).hex() == PUBLISHED[size]


def test_every_root_and_frontier_is_the_naive_one() -> None:
    leaves, frontier = data(70), merkle.Frontier()
    node = nodes(leaves)
    for size in range(71):
        expected = naive(leaves[:size])
        assert merkle.root(size, node) == frontier.root() == expected
        assert merkle.Frontier.of(size, node).root() == expected
        if size < 70:
            made = list(frontier.append(merkle.leaf_hash(leaves[size])))
            assert all(node(level, number) == found for level, number, found in made)


def test_every_inclusion_proof_leads_to_the_root_and_no_other_leaf_does() -> None:
    leaves = data(40)
    node = nodes(leaves)
    for size in range(1, 41):
        root = naive(leaves[:size])
        for index in range(size):
            proof = merkle.inclusion(index, size, node)
            leaf = merkle.leaf_hash(leaves[index])
            assert merkle.root_of_inclusion(index, size, leaf, proof) == root
            for other in {0, index - 1, index + 1, size - 1} - {index}:
                assert merkle.root_of_inclusion(other, size, leaf, proof) != root
            assert merkle.root_of_inclusion(index, size, leaf, [*proof, root]) != root
            if proof:
                assert merkle.root_of_inclusion(index, size, leaf, proof[:-1]) != root


def test_every_consistency_proof_holds_and_for_no_other_beginning() -> None:
    leaves = data(34)
    node = nodes(leaves)
    for size in range(35):
        new = naive(leaves[:size])
        for old in range(size + 1):
            proof, before = merkle.consistency(old, size, node), naive(leaves[:old])
            assert merkle.is_consistent(old, size, before, new, proof)
            other = naive([*leaves[: max(old - 1, 0)], b"another"])
            assert not merkle.is_consistent(old, size, other, new, proof)
            # Nothing is the beginning of everything.
            assert merkle.is_consistent(old, size, before, other, proof) == (old == 0 < size)
            assert not merkle.is_consistent(old, size, before, new, [*proof, new])


@editions(quick=50)
def test_a_proof_with_any_change_is_refused(examples: int) -> None:
    @drawing(examples)
    @given(st.integers(2, 5_000), st.data())
    def holds(size: int, draw: st.DataObject) -> None:
        leaves = data(size)
        node = nodes(leaves)
        root = merkle.root(size, node)
        index, old = draw.draw(st.integers(0, size - 1)), draw.draw(st.integers(1, size - 1))
        included, grown = merkle.inclusion(index, size, node), merkle.consistency(old, size, node)
        leaf, before = merkle.leaf_hash(leaves[index]), merkle.root(old, node)
        assert merkle.root_of_inclusion(index, size, leaf, included) == root
        assert merkle.is_consistent(old, size, before, root, grown)
        at, bit = draw.draw(st.integers(0, 255)), draw.draw(st.integers(0, 255))
        assert merkle.root_of_inclusion(index, size, leaf, flipped(included, at, bit)) != root
        assert not merkle.is_consistent(old, size, before, root, flipped(grown, at, bit))

    holds()


def flipped(proof: list[bytes], at: int, bit: int) -> list[bytes]:
    changed = list(proof)
    step = bytearray(changed[at % len(proof)])
    step[bit // 8] ^= 1 << bit % 8
    changed[at % len(proof)] = bytes(step)
    return changed


def test_a_proof_of_what_is_not_there_is_no_proof() -> None:
    node = nodes(data(5))
    for call in (lambda: merkle.inclusion(5, 5, node), lambda: merkle.consistency(6, 5, node)):
        with pytest.raises(ValueError, match="a tree of 5 leaves"):
            call()
    assert merkle.root_of_inclusion(5, 5, merkle.EMPTY, []) is None
