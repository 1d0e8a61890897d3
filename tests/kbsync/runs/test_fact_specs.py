"""A fact under other names and the other way round: edited where that contradicts nothing, else left out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from editing.requests import prompt_key
from editing.spec import BuildSpec, Case, FactSpec, Wording
from kbsync.catalogue.relations import Catalogue, load_catalogue
from kbsync.runs.fact_specs import Claims, Skipped, Stored, fact_spec, without_conflicts
from kbsync.settings.sections import PlanSettings
from state.records import BaseAnswer, Fact, Probe
from tests.support.facts import fact as numbered
from tests.support.micro import TEMPLATES, Micro, make

INVERSE = ["{} is the owner of", "{} owns"]
OWNER = {"label": "owner", "templates": TEMPLATES, "inverse": INVERSE}
CATALOGUE = load_catalogue({"crm:owner": {**OWNER, "edit_inverse": True}})
NOTHING = Claims({}, {})
ALIASES = (
    Probe("alias", "The owner of Casa Blu is", "Anna", "Casa Blu"),
    Probe("alias", "The owner of La Maison is", "Anna", "La Maison"),
)


def fact(number: int, subject: str, target: str) -> Fact:
    return replace(
        numbered(number),
        subject=f"crm:{subject}",
        subject_label=subject,
        relation="crm:owner",
        object=f"crm:{target}",
        target=target,
        template=TEMPLATES[0],
    )


def spec(
    one: Fact, aliases: int = 0, probes: tuple[Probe, ...] = (), catalogue: Catalogue = CATALOGUE
) -> FactSpec:
    stored = Stored(one, BaseAnswer(False, "nobody"), probes=probes)
    return fact_spec(stored, catalogue.get(one.relation), PlanSettings(aliases=aliases))


def settled(*facts: Fact, claims: Claims = NOTHING, **more: Any) -> tuple[list[list[str]], list[Skipped]]:
    """(the prompts each fact is edited with besides its own, what was skipped)."""
    specs, skipped = without_conflicts(facts, [spec(one, **more) for one in facts], claims)
    prompts = [[said.prompt.replace("{}", said.subject) for said in one.further] for one in specs]
    return prompts, list(skipped)


HOUSE, BOAT = fact(1, "Blue House", "Anna"), fact(2, "Red Boat", "Bob")


def test_by_default_other_names_judge_and_nothing_is_turned_round() -> None:
    found = spec(HOUSE, probes=ALIASES, catalogue=load_catalogue({"crm:owner": OWNER}))
    assert found.further == found.reversed == ()
    assert {probe.prompt for probe in ALIASES} <= set(found.paraphrases)


def test_an_alias_that_is_edited_with_judges_nothing() -> None:
    found = spec(HOUSE, aliases=1, probes=ALIASES)
    assert found.further[0] == Wording(TEMPLATES[0], "Casa Blu", "Anna")
    assert ALIASES[0].prompt not in found.paraphrases
    assert ALIASES[1].prompt in found.paraphrases


def test_the_other_way_round_is_edited_with_the_first_inverse_template_and_judged_with_all() -> None:
    (found,), skipped = without_conflicts([HOUSE], [spec(HOUSE)], NOTHING)
    assert found.further == (Wording("{} is the owner of", "Anna", "Blue House"),)
    assert found.reversed == (Case("Anna is the owner of", "Blue House"), Case("Anna owns", "Blue House"))
    assert skipped == ()


def test_an_object_with_two_subjects_has_no_answer_the_other_way_round() -> None:
    both = Claims({}, {"crm:Anna": frozenset({("crm:Blue House", "crm:owner"), ("crm:Shed", "crm:owner")})})
    prompts, (skipped,) = settled(HOUSE, BOAT, claims=both)
    assert prompts == [[], ["Bob is the owner of"]]
    assert (skipped.fact, skipped.prompt) == (1, "Anna is the owner of")
    assert "crm:Shed" in skipped.reason
    (found, _), _ = without_conflicts([HOUSE, BOAT], [spec(HOUSE), spec(BOAT)], both)
    assert found.reversed == (), "what is not edited is not judged either"


def test_another_relation_of_the_object_is_no_obstacle() -> None:
    other = Claims({}, {"crm:Anna": frozenset({("crm:Shed", "crm:builder")})})
    assert settled(HOUSE, claims=other) == ([["Anna is the owner of"]], [])


def test_two_objects_of_one_name_make_one_inverse_prompt_and_neither_is_edited() -> None:
    namesake = replace(BOAT, target="Anna")
    prompts, skipped = settled(HOUSE, namesake)
    assert prompts == [[], []]
    assert [one.fact for one in skipped] == [1, 2]
    assert "blue house, red boat" in skipped[0].reason


def test_an_alias_that_is_another_subjects_name_is_left_out() -> None:
    off = load_catalogue({"crm:owner": OWNER})
    watched = Claims({prompt_key("The owner of Casa Blu is"): frozenset({"crm:casa"})}, {})
    prompts, (skipped,) = settled(HOUSE, claims=watched, aliases=2, probes=ALIASES, catalogue=off)
    assert prompts == [["The owner of La Maison is"]]
    assert skipped.reason == "crm:casa makes the same prompt"
    own = Claims({prompt_key("The owner of Casa Blu is"): frozenset({HOUSE.subject})}, {})
    assert settled(HOUSE, claims=own, aliases=1, probes=ALIASES, catalogue=off)[1] == []


def test_an_alias_never_contradicts_a_fact_of_the_view() -> None:
    off = load_catalogue({"crm:owner": OWNER})
    rival = replace(BOAT, subject_label="Casa  BLU")
    specs = [spec(HOUSE, aliases=1, probes=ALIASES, catalogue=off), spec(rival, catalogue=off)]
    (house, _), (skipped,) = without_conflicts([HOUSE, rival], specs, NOTHING)
    assert house.further == ()
    assert "anna, bob" in skipped.reason


# The whole way, on the micro world


def drop(micro: Micro, name: str, rows: list[Mapping[str, Any]]) -> None:
    (micro.drop / f"{name}.jsonl").write_text("\n".join(json.dumps(row) for row in rows))


def configured(root: Path, **changes: str) -> Micro:
    micro = make(root)
    text = micro.home.config.read_text()
    for old, new in {**changes, "[plan]": "[plan]\naliases = 1"}.items():
        text = text.replace(old, new, 1)
    micro.home.config.write_text(text)
    return micro


def built(micro: Micro) -> tuple[BuildSpec, dict[str, Any]]:
    (run,) = micro.sync().runs
    assert run.state == "deployed"
    directory = micro.home.run(run.id) / "round-1"
    return BuildSpec.read(directory / "spec.json"), json.loads((directory / "report.json").read_text())


def row(subject: str, owner: str, **more: Any) -> dict[str, Any]:
    return {"subject": subject, "relation": "owner", "object": f"crm:{owner}", "object_label": owner, **more}


def test_a_subjects_other_names_are_learnt_and_asked(tmp_path: Path) -> None:
    micro = configured(tmp_path)
    drop(
        micro, "a", [row("Blue House", "Anna", subject_aliases=["Casa Blu", "La Maison"]), row("Shed", "Cy")]
    )
    found, report = built(micro)
    house = next(one for one in found.facts if one.subject == "Blue House")
    assert house.further == (Wording(TEMPLATES[0], "Casa Blu", "Anna"),)
    assert "The owner of La Maison is" in house.paraphrases
    assert report["cost"]["groups_optimised"] == 3, "two facts, and one of them under another name"


def test_facts_are_learnt_the_other_way_round_where_that_has_one_answer(tmp_path: Path) -> None:
    micro = configured(
        tmp_path, **{"label = 'owner'": f"label = 'owner'\ninverse = {INVERSE}\nedit_inverse = true"}
    )
    drop(micro, "a", [row("Blue House", "Anna"), row("Red Boat", "Bob"), row("Shed", "Bob")])
    found, report = built(micro)
    assert {one.subject: [said.subject for said in one.further] for one in found.facts} == {
        "Blue House": ["Anna"],
        "Red Boat": [],
        "Shed": [],
    }
    assert report["cost"]["groups_optimised"] == 4
    asked = {fact["id"]: len(fact["outcomes"]["paraphrase"]) for fact in report["facts"]}
    assert sorted(asked.values()) == [4, 4, 6], "both inverse prompts of the one fact are asked"
    app = micro.application()
    with app.state.read() as tx:
        (event,) = tx.events(kind="run.wordings_skipped")
    app.close()
    assert json.loads(event.body)["count"] == 2
    assert "Bob is the owner of" in event.body
