"""Key groups and their content keys."""

from __future__ import annotations

import pytest

from editing.errors import RequestError
from editing.memit.groups import Group, form_groups
from editing.requests import EditRequest
from tests.support.zoo import tokenizer


def groups(*requests: EditRequest, kl: dict[str, list[str]] | None = None, **identity: object) -> list[Group]:
    return form_groups(
        tokenizer("byte-bpe"),
        requests,
        prefixes=("You know", "I think"),
        kl_prompts=kl or {},
        identity=identity,
    )


CAPITAL = EditRequest("a", "{} has the capital", "France", "Rome")
LEADER = EditRequest("b", "{} is led by", "France", "Jonas")
OTHER = EditRequest("c", "The capital of {} is", "France", "Rome")


def test_prompts_identical_through_the_subject_share_a_group() -> None:
    assert sorted(len(group.requests) for group in groups(CAPITAL, LEADER, OTHER)) == [1, 2]


def test_a_group_has_a_term_for_each_fact_and_context_and_the_kl_terms() -> None:
    (group,) = groups(CAPITAL, LEADER, kl={"France": ["{} plays", "France speaks", CAPITAL.rendered]})
    assert [term.context for term in group.terms] == [0, 1, 2, 0, 1, 2, -1, -1, -1]
    assert len(group.contexts) == 3
    assert all(ids[-1] == group.contexts[0][-1] for ids in group.contexts)


def test_order_and_ids_of_requests_leave_the_key_alone() -> None:
    renamed = EditRequest("z", LEADER.prompt, LEADER.subject, LEADER.target)
    assert groups(CAPITAL, LEADER)[0].key == groups(renamed, CAPITAL)[0].key


@pytest.mark.parametrize(
    "changed",
    [
        [EditRequest("a", CAPITAL.prompt, "France", "Paris")],
        [CAPITAL, LEADER],
        [EditRequest("a", "{} has a capital", "France", "Rome")],
    ],
)
def test_whatever_delta_depends_on_changes_the_key(changed: list[EditRequest]) -> None:
    key = groups(CAPITAL, base="x")[0].key
    assert groups(*changed, base="x")[0].key != key
    assert groups(CAPITAL, base="y")[0].key != key
    assert groups(CAPITAL, base="x", kl={"France": ["{} plays"]})[0].key != key


def test_one_prompt_with_two_answers_is_refused() -> None:
    with pytest.raises(RequestError, match=r"'a'.*'d'"):
        groups(CAPITAL, EditRequest("d", CAPITAL.prompt, "France", "Oslo"))


def test_a_kl_prompt_without_its_subject_is_refused() -> None:
    with pytest.raises(RequestError, match="Norway"):
        groups(CAPITAL, kl={"France": ["Norway plays"]})
