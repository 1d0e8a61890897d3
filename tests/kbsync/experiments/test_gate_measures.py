"""The gates' measures in experiments: what follows from an edit, and what a model answers, on a tiny taught model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from editing.calibration.statements import WordedTriple
from editing.datasets import Record
from editing.evaluation.questions import AskedBase
from editing.evaluation.responses import Responses
from editing.model.loading import load_model, load_tokenizer
from editing.model.weights import swapped
from editing.requests import EditRequest
from editing.settings import EditSettings
from kbsync.catalogue.relations import Catalogue, Relation
from kbsync.experiments import gate_measures
from kbsync.experiments.cases import EditCase
from kbsync.experiments.consequences import Background, common_catalogue
from kbsync.experiments.gate_measures import GateExam, exam
from tests.support import taught_facts

CATALOGUE = Catalogue(
    {
        "x:owner": Relation(
            "x:owner", "owner", True, "thing", ("The owner of {} is", "Owner of {}:"),
            inverse=("{} is the owner of",), object_phrase="the owner of {}", subject_phrase="the thing of {}",
        ),
        "x:town": Relation(
            "x:town", "town", True, "thing", ("The town of {} is", "Town of {}:"), object_phrase="the town of {}"
        ),
    }
)  # fmt: skip


def edit(subject: str, relation: str, new: str, old: str) -> EditCase:
    request = EditRequest(f"{subject} · {relation}", CATALOGUE[relation].template, subject, new)
    return EditCase(Record(request, previous=old), relation=relation)


def stated(subject: str, relation: str, value: str) -> WordedTriple:
    return WordedTriple(subject, relation, value, CATALOGUE[relation].templates)


def test_two_hops_follow_from_an_edit_and_from_what_the_model_states() -> None:
    case = edit("Mill", "x:owner", "Anna", "Bob")
    known = (stated("Mill", "x:owner", "Bob"), stated("Anna", "x:town", "Oslo"))
    found = Background(known, CATALOGUE).consequences([case])[case.record.request.id]
    assert {(one.kind, one.rendered, one.target) for one in found} == {
        ("two_hop", "The town of the owner of Mill is", "Oslo"),
        ("reversed", "Anna is the owner of", "Mill"),
    }


def test_nothing_is_reversed_where_another_subject_has_the_object_too() -> None:
    case = edit("Mill", "x:owner", "Anna", "Bob")
    known = (stated("Boat", "x:owner", "Anna"),)
    assert Background(known, CATALOGUE).consequences([case])[case.record.request.id] == ()


def test_the_key_changes_with_what_consequences_depend_on() -> None:
    known = (stated("Mill", "x:owner", "Bob"),)
    keys = {Background(*parts).key for parts in ((known, CATALOGUE), ((), CATALOGUE), (known, Catalogue({})))}
    assert len(keys) == 3


def test_the_common_knowledge_has_two_hops() -> None:
    assert common_catalogue()["country"].object_phrase == "the country of {}"


@pytest.fixture(scope="module")
def base(taught_model: Path) -> AskedBase:
    return AskedBase(load_model(taught_model), load_tokenizer(taught_model), Responses())


@pytest.fixture(scope="module")
def cases() -> list[EditCase]:
    """Facts that the model states already, as if they had been edited in."""
    templates, other = taught_facts.TEMPLATES["owner"], taught_facts.TEMPLATES["town"][0]
    owners = {s: o for s, relation, o in taught_facts.facts() if relation == "owner"}
    found = []
    for subject in taught_facts.SUBJECTS[:4]:
        wrong = next(name for name in taught_facts.OWNERS if name != owners[subject])
        neighbour = next(name for name in taught_facts.SUBJECTS[4:] if owners[name] != wrong)
        record = Record(
            EditRequest(subject, templates[0], subject, owners[subject]),
            previous=wrong,
            paraphrases=tuple(template.format(subject) for template in templates[1:]),
            neighbours=((templates[0].format(neighbour), owners[neighbour]),),
        )
        found.append(EditCase(record, relation="x:owner", protected=(other,)))
    return found


def examined(base: AskedBase, cases: list[EditCase]) -> GateExam:
    return exam(
        base, cases, Background(), EditSettings(), variants=0, windows=[torch.tensor([[3, 4, 5, 6] * 8])]
    )


def test_what_a_model_states_is_said_and_kept(base: AskedBase, cases: list[EditCase]) -> None:
    found = examined(base, cases).taken()
    assert {id: row["said"] for id, row in found.by_fact.items()} == {case.subject: 1.0 for case in cases}
    assert {row["same_subject"] for row in found.by_fact.values()} == {1.0}
    assert found.of_model == pytest.approx({"kl_median": 0.0, "kl_p99": 0.0}, abs=1e-6)


def test_what_it_does_not_state_is_not_said(base: AskedBase, cases: list[EditCase]) -> None:
    turned = [
        replace(
            case,
            record=replace(
                case.record,
                request=replace(case.record.request, target=str(case.record.previous)),
                previous=case.record.request.target,
            ),
        )
        for case in cases
    ]
    found = examined(base, turned).taken(unedited=True)
    assert {row["said"] for row in found.by_fact.values()} == {0.0}


def test_damage_shows_in_the_divergence_and_in_other_relations(
    base: AskedBase, cases: list[EditCase]
) -> None:
    asked = examined(base, cases)
    name, weight = next((n, p) for n, p in base.model.named_parameters() if n.endswith("mlp.c_proj.weight"))
    noise = torch.randn(weight.shape, generator=torch.Generator().manual_seed(0)) * weight.std() * 20
    with swapped(base.model, {name: weight.detach() + noise}):
        found = asked.taken()
    assert found.of_model["kl_p99"] is not None
    assert found.of_model["kl_p99"] > 0.1
    shares: list[Any] = [row["same_subject"] for row in found.by_fact.values()]
    assert sum(shares) < len(shares)


def test_only_the_first_facts_are_examined(
    base: AskedBase, cases: list[EditCase], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate_measures, "EXAMINED", 2)
    assert list(examined(base, cases).taken().by_fact) == [case.subject for case in cases[:2]]
