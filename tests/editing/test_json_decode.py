"""Values are decoded strictly, and an error names the place, however fast the rest is read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from editing.cost import Cost
from editing.errors import SpecError
from editing.json_decode import decode


@dataclass(frozen=True)
class Leaf:
    name: str
    kind: Literal["a", "b"] = "a"
    weight: float | None = None


@dataclass(frozen=True)
class Tree:
    leaves: tuple[Leaf, ...]
    own: Leaf | None = None
    counts: dict[str, int] = field(default_factory=dict)
    limit: float | Literal["auto"] = 1.0
    cost: Cost = field(default_factory=Cost)
    below: tuple[Tree, ...] = ()


def test_every_type_is_decoded() -> None:
    value = {
        "leaves": [{"name": "x", "kind": "b", "weight": 2}, {"name": "y"}],
        "own": {"name": "z", "weight": None},
        "counts": {"n": 3},
        "limit": "auto",
        "cost": Cost(groups=4).entries(),
        "below": [{"leaves": []}],
    }
    expected = Tree(
        leaves=(Leaf("x", "b", 2.0), Leaf("y")),
        own=Leaf("z"),
        counts={"n": 3},
        limit="auto",
        cost=Cost(groups=4),
        below=(Tree(()),),
    )
    found = decode(Tree, value, "tree.json")
    assert found == expected
    assert type(found.leaves[0].weight) is float
    assert decode(Tree, {"leaves": [], "own": None}, "tree.json") == Tree(())


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ([], "tree.json: expected an object"),
        ({}, "tree.json: 'leaves' is missing"),
        ({"leaves": [], "more": 1}, "tree.json: unknown key 'more'"),
        ({"leaves": {}}, "tree.json.leaves: expected"),
        ({"leaves": [{"name": "x"}, {"name": 5}]}, r"tree.json.leaves\[1\].name: expected str, found 5"),
        ({"leaves": [{"name": "x", "kind": "c"}]}, r"tree.json.leaves\[0\].kind: 'c' is not one of 'a', 'b'"),
        ({"leaves": [{"name": "x", "kind": []}]}, r"tree.json.leaves\[0\].kind: \[\] is not one of"),
        ({"leaves": [{"name": "x", "weight": True}]}, r"tree.json.leaves\[0\].weight: expected float"),
        ({"leaves": [], "own": 3}, "tree.json.own: expected an object"),
        ({"leaves": [], "counts": {"n": 1.5}}, "tree.json.counts.n: expected int, found 1.5"),
        ({"leaves": [], "counts": []}, "tree.json.counts: expected"),
        ({"leaves": [], "limit": None}, "tree.json.limit: expected"),
        ({"leaves": [], "limit": "other"}, "tree.json.limit: expected float"),
        ({"leaves": [], "cost": 3}, "tree.json.cost"),
        ({"leaves": [], "below": [{"leaves": [1]}]}, r"tree.json.below\[0\].leaves\[0\]: expected an object"),
    ],
)
def test_an_error_names_the_place(value: Any, place: str) -> None:
    with pytest.raises(SpecError, match=f"^{place}"):
        decode(Tree, value, "tree.json")
