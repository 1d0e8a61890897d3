"""Admission told as stories, each on a real ledger: what a source said, and what became wanted."""

from __future__ import annotations

from dataclasses import replace

import pytest

from connectors.observations import Entity, Observation
from kbsync.admission import doubts
from kbsync.admission.codes import UNAPPROVABLE
from kbsync.admission.fusion import Offer
from kbsync.admission.history import History
from kbsync.admission.policy import Policy
from kbsync.catalogue.relations import load_catalogue
from tests.support.admission_world import DAY, HOUR, START, OpenWorld, Script, World, entity, observed, says

# Settling


def test_a_first_import_takes_what_is_old_and_holds_what_is_fresh(world: World) -> None:
    world.hear(
        observed("italy", "conte", modified=START - 2 * DAY),
        observed("spain", "perez", modified=START - HOUR),
    )
    assert world.wanted() == {"italy": "Conte"}
    assert world.status("spain", "perez") == "held settling"
    world.cycle(after=22 * HOUR)
    assert world.status("spain", "perez") == "held settling"
    world.cycle(after=1 * HOUR)
    assert world.wanted() == {"italy": "Conte", "spain": "Perez"}


def test_a_value_without_reference_settles_longer(world: World) -> None:
    world.hear(observed("italy", says("conte", references=0), modified=START - HOUR))
    world.cycle(after=70 * HOUR)
    assert world.status("italy", "conte") == "held settling"
    world.cycle(after=1 * HOUR)
    assert world.status("italy", "conte") == "wanted settled"


def test_any_change_restarts_the_window(world: World) -> None:
    world.hear(observed("italy", says("conte"), modified=START))
    world.hear(
        observed(
            "italy", says("conte", "preferred"), revision=2, modified=START + 20 * HOUR, at=START + 20 * HOUR
        ),
        after=20 * HOUR,
    )
    world.cycle(after=10 * HOUR)
    assert world.status("italy", "conte") == "held settling"
    world.cycle(after=14 * HOUR)
    assert world.status("italy", "conte") == "wanted settled"


def test_the_old_value_stays_wanted_until_its_successor_has_settled(world: World) -> None:
    world.hear(observed("italy", "conte"))
    later = START + 10 * DAY
    world.hear(observed("italy", "draghi", revision=2, modified=later, at=later), after=10 * DAY)
    assert world.wanted() == {"italy": "Conte"}
    world.cycle(after=DAY)
    assert world.wanted() == {"italy": "Draghi"}
    assert world.status("italy", "conte") == "superseded successor"


def test_a_vandal_who_is_reverted_changes_nothing(world: World) -> None:
    world.hear(observed("italy", "conte"))
    world.hear(observed("italy", "vandal", revision=2, modified=START + HOUR, at=START + HOUR), after=HOUR)
    assert world.status("italy", "vandal") == "held settling"
    world.hear(
        observed("italy", "conte", revision=3, modified=START + 3 * HOUR, at=START + 3 * HOUR), after=2 * HOUR
    )
    assert world.wanted() == {"italy": "Conte"}
    assert world.status("italy", "vandal") == "superseded gone"
    assert world.status("italy", "conte") == "wanted settled"


def test_there_and_back_again_is_the_same_fact(world: World) -> None:
    """A→B→A: the row of A comes back to life, with the key it always had."""
    world.hear(observed("italy", "ann"))
    first = world.fact("italy", "ann")
    for revision, name in ((2, "bob"), (3, "ann")):
        at = world.clock() + DAY
        world.hear(observed("italy", name, revision=revision, modified=at, at=at), after=DAY)
        world.cycle(after=DAY)
        assert world.wanted() == {"italy": name.title()}
    again = world.fact("italy", "ann")
    assert (again.id, again.key) == (first.id, first.key)


def test_a_flipping_value_is_quarantined_and_the_last_trusted_one_stays(world: World) -> None:
    world.hear(observed("italy", "ann", modified=START - 90 * DAY))
    told = [
        observed("italy", name, revision=n, modified=START + n * HOUR, at=START + 9 * HOUR)
        for n, name in enumerate(("bob", "ann", "bob", "ann", "bob"), start=2)
    ]
    world.hear(*told, after=9 * HOUR)
    world.cycle(after=5 * DAY)
    assert world.status("italy", "bob") == "quarantined flips"
    assert world.wanted() == {"italy": "Ann"}


def test_too_few_references_is_a_doubt(open_world: OpenWorld) -> None:
    world = open_world(policy=Policy(min_references=2))
    world.hear(observed("italy", says("conte", references=1)))
    assert world.status("italy", "conte") == "quarantined unreferenced"


def test_what_begins_later_waits_for_its_day(world: World) -> None:
    world.hear(observed("italy", says("draghi", start=START + 9 * DAY)))
    assert world.status("italy", "draghi") == "held future"
    world.cycle(after=8 * DAY)
    assert world.wanted() == {}
    world.cycle(after=DAY)
    assert world.wanted() == {"italy": "Draghi"}


def test_a_known_handover_happens_on_its_day_without_a_word_from_the_source(world: World) -> None:
    day = START + 9 * DAY
    world.hear(observed("italy", says("conte", end=day), says("draghi", start=day)))
    assert world.wanted() == {"italy": "Conte"}
    world.cycle(after=10 * DAY)
    assert world.wanted() == {"italy": "Draghi"}


# What disappears


@pytest.mark.parametrize(
    ("held", "code"),
    [
        ((says("conte", end=START),), "ended"),
        ((says("conte", "deprecated"),), "deprecated"),
        ((), "removed"),
        ((says(None),), "no_value"),
    ],
)
def test_without_successor_the_fact_is_retracted_once_that_has_settled(
    world: World, held: tuple, code: str
) -> None:
    world.hear(observed("italy", "conte"))
    world.hear(observed("italy", *held, revision=2, modified=START + HOUR, at=START + HOUR), after=HOUR)
    assert world.wanted() == {"italy": "Conte"}
    world.cycle(after=DAY)
    assert world.wanted() == {}
    assert world.status("italy", "conte") == f"retracted {code}"


def test_a_relation_may_keep_what_has_ended(open_world: OpenWorld) -> None:
    world = open_world(policy=Policy.model_validate({"relations": {"wdt:P6": {"ended": "keep"}}}))
    world.hear(observed("italy", "conte"))
    world.hear(observed("italy", says("conte", end=START), revision=2), after=HOUR)
    world.cycle(after=9 * DAY)
    assert world.wanted() == {"italy": "Conte"}


def test_a_removal_that_is_reverted_in_time_changes_nothing(world: World) -> None:
    world.hear(observed("italy", "conte"))
    world.hear(observed("italy", revision=2, modified=START + HOUR, at=START + HOUR), after=HOUR)
    world.hear(
        observed("italy", "conte", revision=3, modified=START + 2 * HOUR, at=START + 2 * HOUR), after=HOUR
    )
    world.cycle(after=9 * DAY)
    assert world.wanted() == {"italy": "Conte"}


def test_a_subject_that_is_gone_takes_its_facts_along(world: World) -> None:
    world.hear(observed("italy", "conte", revision=70))
    gone = Observation("kb", entity("italy"), "wdt:P6", (), 0, None, START + HOUR, gone=True)
    world.hear(gone, after=HOUR)
    world.cycle(after=2 * DAY)
    assert world.status("italy", "conte") == "retracted removed"


@pytest.mark.parametrize("found_by", ["a poll", "a re-read"])
@pytest.mark.parametrize("edited", [False, True])
def test_what_was_deleted_and_comes_back_is_wanted_again(world: World, found_by: str, edited: bool) -> None:
    known = observed("italy", "conte", revision=70)
    gone = Observation("kb", entity("italy"), "wdt:P6", (), 0, None, START + HOUR, gone=True)
    world.hear(known)
    world.hear(gone, after=HOUR)
    world.cycle(after=2 * DAY)
    assert world.wanted() == {}
    back = replace(known, revision=71) if edited else known
    if found_by == "a poll":
        world.hear(back)
    else:
        world.kb.now["wd:italy", "wdt:P6"] = back
        world.intake.reconcile(world.kb)
    world.cycle(after=10 * DAY)
    assert world.wanted() == {"italy": "Conte"}
    world.hear(observed("italy", "draghi", revision=72), after=DAY)
    world.cycle(after=10 * DAY)
    assert world.wanted() == {"italy": "Draghi"}


def test_what_was_merged_and_parted_again_is_wanted_again(world: World) -> None:
    known = observed("italy", "conte", revision=70)
    world.hear(known)
    world.kb.tell(redirects=(("wd:italy", "wd:heir"),))
    world.cycle(after=HOUR)
    assert world.wanted() == {"heir": "Conte"}
    world.hear(known, observed("heir", revision=80), after=DAY)
    world.cycle(after=10 * DAY)
    assert world.wanted() == {"italy": "Conte"}


# Several values, several sources


def test_two_values_of_a_single_valued_relation_go_to_a_reviewer(world: World) -> None:
    world.hear(observed("italy", "conte", "draghi"))
    assert world.status("italy", "conte") == "quarantined several_values"
    assert world.status("italy", "draghi") == "quarantined several_values"


def test_beside_a_second_value_the_trusted_one_stays(world: World) -> None:
    world.hear(observed("italy", "conte"))
    world.hear(observed("italy", "conte", "draghi", revision=2, modified=START + HOUR), after=HOUR)
    world.cycle(after=9 * DAY)
    assert world.wanted() == {"italy": "Conte"}
    assert world.status("italy", "draghi") == "quarantined several_values"


def test_where_several_values_are_normal_none_is_picked(open_world: OpenWorld) -> None:
    catalogue = load_catalogue({"wdt:P37": {"enabled": True}})
    world = open_world(catalogue=catalogue)
    world.hear(
        observed("italy", "italian", relation="wdt:P37"), observed("spain", "a", "b", relation="wdt:P37")
    )
    assert world.wanted() == {"italy": "Italian"}
    assert world.status("spain", "a") == "none"
    world.hear(observed("italy", "a", "b", relation="wdt:P37", revision=2), after=2 * DAY)
    world.cycle(after=DAY)
    assert world.status("italy", "italian") == "retracted ambiguous"


def test_a_relation_that_is_off_is_not_learnt(world: World) -> None:
    report = world.hear(observed("italy", "italian", relation="wdt:P37"))
    assert report.reasons == {"disabled": 1}
    assert world.facts() == ()


def test_of_two_sources_the_one_with_priority_speaks(open_world: OpenWorld) -> None:
    world = open_world(policy=Policy.model_validate({"sources": {"crm": {"priority": 10}}}))
    kb, crm = Script("kb"), Script("crm")
    kb.tell(observed("italy", "conte"))
    crm.tell(observed("italy", "draghi", source="crm"))
    world.cycle(kb, crm)
    assert world.wanted() == {"italy": "Draghi"}
    assert world.fact("italy", "draghi").source == "crm"
    crm.tell(observed("italy", revision=2, source="crm"))
    world.cycle(kb, crm, after=2 * DAY)
    assert world.wanted() == {"italy": "Conte"}


def test_sources_of_one_priority_have_to_agree(world: World) -> None:
    kb, crm = Script("kb"), Script("crm")
    kb.tell(observed("italy", "conte"), observed("spain", "perez"))
    crm.tell(
        observed("italy", "draghi", source="crm"),
        observed("spain", says(Entity("crm:77", "Perez")), source="crm"),
    )
    world.cycle(kb, crm)
    assert world.wanted() == {"spain": "Perez"}
    assert world.status("italy", "draghi") == "quarantined sources_disagree"


def test_a_fresh_contradiction_leaves_what_was_wanted_until_it_has_settled(world: World) -> None:
    kb, crm = Script("kb"), Script("crm")
    kb.tell(observed("italy", "conte"))
    crm.tell(observed("italy", "conte", source="crm"))
    world.cycle(kb, crm)
    kb.tell(observed("italy", "draghi", revision=2, modified=START + HOUR, at=START + HOUR))
    world.cycle(kb, crm, after=HOUR)
    assert world.wanted() == {"italy": "Conte"}
    world.cycle(kb, crm, after=DAY)
    assert world.wanted() == {}
    crm.tell(
        observed("italy", "draghi", revision=2, modified=START + 2 * DAY, at=START + 2 * DAY, source="crm")
    )
    world.cycle(kb, crm, after=DAY)
    assert world.wanted() == {"italy": "Draghi"}


# Meaning


def test_another_item_of_the_same_name_is_no_change(world: World) -> None:
    world.hear(observed("italy", "conte"))
    twin = entity("conte_2", "Conte")
    alias = entity("giuseppe", "Giuseppe Conte", "Conte")
    world.hear(observed("italy", says(twin), revision=2), after=9 * DAY)
    world.hear(observed("italy", says(alias), revision=3), after=9 * DAY)
    assert world.wanted() == {"italy": "Conte"}
    assert len(world.facts()) == 1


def test_aliases_can_be_left_out_of_meaning(open_world: OpenWorld) -> None:
    world = open_world(policy=Policy(same_meaning="label"))
    world.hear(observed("italy", "conte"))
    world.hear(
        observed("italy", says(entity("giuseppe", "Giuseppe Conte", "Conte")), revision=2), after=9 * DAY
    )
    assert world.wanted() == {"italy": "Giuseppe Conte"}


# Labels


@pytest.mark.parametrize(
    ("label", "code"),
    [
        ("Con\u200bte", "label_control"),
        ("Conte {}", "label_braces"),
        ("C" * 99, "label_long"),
        ("...", "label_empty"),
    ],
)
def test_a_trick_label_is_quarantined_as_subject_and_as_object(world: World, label: str, code: str) -> None:
    world.hear(observed("italy", says(entity("conte", label))), observed(entity("spain", label), "perez"))
    assert world.status("italy", "conte") == f"quarantined {code}"
    assert world.status("spain", "perez") == f"quarantined {code}"


def test_without_a_label_nothing_can_be_said_until_it_has_one(world: World) -> None:
    world.hear(observed("italy", says(Entity("wd:Q42", "Q42"))))
    assert world.status("italy", "Q42") == "quarantined label_missing"
    world.kb.tell(labels=(Entity("wd:Q42", "Douglas"),))
    world.cycle()
    assert world.wanted() == {"italy": "Douglas"}


def test_an_object_with_a_new_label_is_edited_again_once_the_label_has_settled(world: World) -> None:
    world.hear(observed("ukraine", "kiev", relation="wdt:P36"))
    world.kb.tell(labels=(entity("kiev", "Kyiv"),))
    world.cycle(after=DAY)
    assert world.wanted() == {"ukraine": "Kiev"}
    world.cycle(after=DAY)
    assert world.wanted() == {"ukraine": "Kyiv"}


def test_a_label_vandal_who_is_reverted_changes_nothing(world: World) -> None:
    world.hear(observed("ukraine", "kiev", relation="wdt:P36"))
    before = world.facts()
    world.kb.tell(labels=(entity("kiev", "Nonsense"),))
    world.cycle(after=DAY)
    world.kb.tell(labels=(entity("kiev", "Kiev"),))
    world.cycle(after=2 * HOUR)
    world.cycle(after=9 * DAY)
    assert world.wanted() == {"ukraine": "Kiev"}
    assert world.facts()[0] == before[0]


def test_a_subject_with_a_new_label_keeps_its_template_and_changes_its_prompt(world: World) -> None:
    world.hear(observed("swaziland", "mswati", relation="wdt:P35"))
    world.hear(observed(entity("swaziland", "Eswatini"), "mswati", relation="wdt:P35", revision=2), after=DAY)
    assert [fact.prompt for fact in world.facts() if fact.status == "wanted"] == [
        "The head of state of Swaziland is"
    ]
    world.cycle(after=DAY)
    assert [fact.prompt for fact in world.facts() if fact.status == "wanted"] == [
        "The head of state of Eswatini is"
    ]


def test_a_changed_template_changes_no_fact_and_new_facts_use_it(world: World) -> None:
    world.hear(observed("italy", "conte"), observed("france", "castex"))
    world.catalogue = load_catalogue({"wdt:P6": {"templates": ["{} is governed by", "The boss of {} is"]}})
    later = START + DAY
    world.hear(
        observed("italy", "draghi", revision=2, modified=later, at=later),
        observed("spain", "perez"),
        after=DAY,
    )
    world.cycle(after=2 * DAY)
    assert world.fact("italy", "conte").prompt == "The head of government of Italy is"
    assert world.fact("france", "castex").prompt == "The head of government of France is"
    assert world.fact("italy", "draghi").prompt == "Italy is governed by"
    assert world.fact("spain", "perez").prompt == "Spain is governed by"


# One prompt, several entities (Eqn. 5 on the rendered prompt)

COUNTRY, STATE = entity("georgia"), entity("georgia_us", "Georgia")


def test_a_homonym_withdraws_what_was_wanted_and_its_end_restores_it(world: World) -> None:
    world.hear(observed(COUNTRY, "ann"))
    world.hear(observed(STATE, "bob"), after=DAY)
    assert world.wanted() == {}
    assert world.status("georgia", "ann") == "quarantined homonym"
    world.hear(observed(entity("georgia_us", "Georgia (US)"), "bob", revision=2), after=DAY)
    assert world.wanted() == {"georgia": "Ann", "georgia_us": "Bob"}
    assert not [fact for fact in world.facts() if fact.status == "quarantined"]


def test_homonyms_with_one_answer_are_no_conflict(world: World) -> None:
    world.hear(observed(COUNTRY, "ann"), observed(STATE, says(entity("ann_2", "Ann"))))
    assert world.wanted() == {"georgia": "Ann", "georgia_us": "Ann"}


def test_case_and_width_make_no_other_prompt(world: World) -> None:
    world.hear(observed(COUNTRY, "ann"), observed(entity("other", "GEORGIA"), "bob"))
    assert world.wanted() == {}


def test_slots_of_one_prompt_change_over_together(world: World) -> None:
    world.hear(observed(COUNTRY, "ann"), observed(STATE, "ann"))
    day = START + 10 * DAY
    world.hear(observed(COUNTRY, "bob", revision=2, modified=day, at=day), after=10 * DAY)
    world.hear(
        observed(STATE, "bob", revision=2, modified=day + 12 * HOUR, at=day + 12 * HOUR), after=12 * HOUR
    )
    world.cycle(after=12 * HOUR)
    assert set(world.wanted().values()) == {"Ann"}
    world.cycle(after=12 * HOUR)
    assert world.wanted() == {"georgia": "Bob", "georgia_us": "Bob"}


def test_a_vandal_at_one_homonym_does_not_unsettle_the_other(world: World) -> None:
    world.hear(observed(COUNTRY, "ann"), observed(STATE, "ann"))
    world.hear(observed(COUNTRY, "vandal", revision=2, modified=START + HOUR, at=START + HOUR), after=HOUR)
    assert world.wanted() == {"georgia": "Ann", "georgia_us": "Ann"}


# Prohibitions


@pytest.mark.parametrize(
    "policy",
    [{"deny_subjects": ["wd:italy"]}, {"deny_relations": ["wdt:P6"]}, {"deny_objects": ["wd:conte"]}],
)
def test_what_is_denied_is_not_learnt_and_withdrawn_if_it_was(open_world: OpenWorld, policy: dict) -> None:
    world = open_world()
    world.hear(observed("italy", "conte"))
    world.policy = Policy.model_validate(policy)
    world.intake.readmit([("wd:italy", "wdt:P6")])
    assert world.status("italy", "conte") == "quarantined denied"
    world.policy = Policy()
    world.intake.readmit([("wd:italy", "wdt:P6")])
    assert world.wanted() == {"italy": "Conte"}


@pytest.mark.parametrize(
    ("living", "mode", "status"),
    [
        (True, "off", "quarantined living_off"),
        (True, "review", "quarantined living_review"),
        (True, "on", "wanted settled"),
        (False, "off", "wanted settled"),
        (None, "review", "quarantined living_review"),  # spouses are people: unknown counts as living
    ],
)
def test_living_persons(open_world: OpenWorld, living: bool | None, mode: str, status: str) -> None:
    world = open_world(policy=Policy.model_validate({"living": mode}))
    world.hear(observed(entity("ann", living=living), "bob", relation="wdt:P26"))
    assert world.status("ann", "bob") == status


def test_a_death_releases_what_waited_for_it(world: World) -> None:
    world.hear(observed(entity("ann", living=True), "bob", relation="wdt:P26"))
    assert world.status("ann", "bob") == "quarantined living_review"
    world.kb.tell(labels=(entity("ann", living=False),))
    world.cycle()
    assert world.wanted() == {"ann": "Bob"}


# The volume breaker


def test_the_breaker_stops_a_flood_and_says_so(open_world: OpenWorld) -> None:
    world = open_world(policy=Policy(max_accepted=3))
    world.hear(observed("italy", "conte"))
    flood = [observed(f"land_{n}", "vandal") for n in range(5)]
    report = world.hear(*flood)
    assert report.tripped
    assert report.verdicts == {"accept": 3, "quarantine": 2}
    assert report.reasons["volume"] == 2
    with world.state.read() as tx:
        assert [event.kind for event in tx.events(kind="breaker.*")] == ["breaker.tripped"]
    stopped = [fact for fact in world.facts() if fact.status == "quarantined"]
    world.intake.readmit([(fact.subject, fact.relation) for fact in stopped])
    assert [f.status for f in world.facts() if f.id in {s.id for s in stopped}] == ["quarantined"] * 2


def test_slots_of_one_prompt_pass_the_breaker_together_or_not_at_all(open_world: OpenWorld) -> None:
    world = open_world(policy=Policy(max_accepted=1))
    world.kb.tell(observed(COUNTRY, "ann"), observed(STATE, "ann"))
    world.cycle(bootstrap=True)
    day = START + DAY
    world.hear(
        *(observed(one, "bob", revision=2, modified=day, at=day) for one in (COUNTRY, STATE)), after=DAY
    )
    world.cycle(after=2 * DAY)
    assert world.wanted() == {"georgia": "Ann", "georgia_us": "Ann"}
    assert world.status("georgia", "bob") == world.status("georgia_us", "bob") == "quarantined volume"


def test_a_first_import_is_as_large_as_it_is(open_world: OpenWorld) -> None:
    world = open_world(policy=Policy(max_accepted=3))
    report = world.hear(*(observed(f"land_{n}", f"head_{n}") for n in range(9)))
    assert report.verdicts == {"accept": 9}
    assert not report.tripped


@pytest.mark.parametrize(
    "named",
    [None, "", "wd:Q38", "Q38", "http://www.wikidata.org/entity/Q38", "https://facts.example.org/entity/Q38"],
)
def test_an_entity_without_a_label_is_not_taught(world: World, named: str | None) -> None:
    world.hear(
        observed("italy", says(Entity("wd:Q38", named))), observed(Entity("wd:Q38", named), says("rome"))
    )
    assert world.wanted() == {}
    assert {(fact.status, fact.reason_code) for fact in world.facts()} == {("quarantined", "label_missing")}
    world.hear(observed("italy", says(Entity("wd:Q38", "Giuseppe")), revision=2))
    assert world.wanted()["italy"] == "Giuseppe", "a label that comes later ends the doubt"


def test_a_web_address_that_is_a_text_and_no_label_is_a_value_like_any_other(world: World) -> None:
    world.hear(observed("italy", says(Entity("lit:https://italia.it", "https://italia.it"))))
    assert world.wanted() == {"italy": "https://italia.it"}


def test_a_spelling_that_differs_by_what_nobody_sees_is_one_prompt_and_refused(world: World) -> None:
    world.hear(
        observed(entity("acme", "Acme Holding"), "bob"),
        observed(entity("evil", "Acme\u034f Holding"), "mallory"),
    )
    assert world.wanted() == {"acme": "Bob"}
    assert world.status("evil", "mallory") == "quarantined label_control"


def test_a_label_with_a_control_token_of_the_model_is_refused_and_no_reviewer_can_let_it_in(
    world: World,
) -> None:
    world.special_tokens = frozenset({"<|im_start|>", "<|endoftext|>"})
    world.hear(
        observed("italy", says(entity("x", "Conte<|endoftext|>"))),
        observed(entity("y", "Spain <|im_start|>"), "perez"),
        observed("malta", says(entity("z", "<|unknown|> Abela"))),
    )
    assert world.status("italy", "x") == world.status("y", "perez") == "quarantined label_special"
    assert world.wanted() == {"malta": "<|unknown|> Abela"}
    assert "label_special" in UNAPPROVABLE


def test_a_declared_rule_is_asked_and_gives_its_reason(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def terse(history: History, offer: Offer) -> str | None:
        return "one word" if " " not in offer.value.target else None

    rule = doubts.Rule("terse", "the label has too few words", terse)
    monkeypatch.setattr(doubts, "RULES", (*doubts.RULES, rule))
    world.hear(observed("italy", "conte"), observed("spain", "pedro_sanchez"))
    assert world.wanted() == {"spain": "Pedro Sanchez"}
    assert world.fact("italy", "conte").reason == "the label has too few words (one word)"
