"""What a server's answers show: whose they are, and how exact they can be."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest

from editing.secret_probes import ProbeAnswer, SecretProbe, SecretProbes
from kbsync.deployment.judgement import Said, judge, served_in
from kbsync.deployment.probe_sets import lot, primed, subset

DEVIATIONS = {"bfloat16": 0.02, "float16": 0.0025}


def answer(text: str, *logprobs: float) -> ProbeAnswer:
    words = text.split()
    texts = tuple(" " + " ".join(words[: count + 1]) for count in range(len(words)))
    count = len(words)
    return ProbeAnswer(texts, logprobs or (-0.5,) * count, (0.4,) * count, (8.0,) * count)


def probe(number: int, judged: str, live: str, base: str, *, context: bool = False) -> SecretProbe:
    known = answer(judged)
    return SecretProbe(
        prompt=f"Question {number}",
        kind="changed",
        judged=known,
        base=answer(base),
        certain=len(known.texts),
        live=answer(live),
        context=context,
    )


NEW = [
    probe(number, f"New town {number}", f"Old town {number}", f"First town {number}") for number in range(4)
]
SAME = [probe(number, "Quite the same", "Quite the same", "Quite the same") for number in range(4, 8)]
LONG = [probe(number, "A new end", "An old end", "An old end", context=True) for number in range(8, 10)]
POOL = SecretProbes("c" * 64, "1-1", (*NEW, *SAME, *LONG), DEVIATIONS)


def said(probes: Sequence[SecretProbe], of: str = "judged", off: float = 0.0) -> list[Said]:
    """The answers of a version, each logit `off` by so much."""
    answers = [(one, getattr(one, of)) for one in probes]
    return [
        Said(one, f"{known.texts[-1]}, and so", tuple(value + off * 0.4 for value in known.logprobs))
        for one, known in answers
    ]


def test_the_judged_versions_answers_are_accepted_in_every_dtype_within_its_rounding() -> None:
    assert judge(said([*NEW, *SAME]), POOL).ok
    assert judge(said([*NEW, *SAME], off=0.03), POOL, "bfloat16").ok
    assert judge(said([*NEW, *SAME], off=0.004), POOL, "float16").ok
    assert judge(said([*NEW, *SAME], off=0.001), POOL, "float32").ok


@pytest.mark.parametrize(("off", "precision"), [(0.08, "bfloat16"), (0.01, "float16"), (0.005, "float32")])
def test_the_same_texts_with_other_log_probabilities_are_altered_weights(off: float, precision: str) -> None:
    verdict = judge(said([*NEW, *SAME], off=off), POOL, precision)  # type: ignore[arg-type]
    assert verdict.kind == "altered"
    assert "times more than" in verdict.detail


def test_whose_answers_they_are_is_named() -> None:
    assert judge(said([*NEW, *SAME], "live"), POOL).kind == "previous"
    assert "the previous version 1-1" in judge(said([*NEW, *SAME], "live"), POOL).detail
    assert judge(said([*NEW, *SAME], "base"), POOL).kind == "base"


def test_one_probe_with_two_answers_is_two_replicas() -> None:
    verdict = judge([*said(NEW), *said(NEW[:1], "live"), *said(NEW)], POOL)
    assert verdict.kind == "replicas"
    assert "1 of the 1 others are those of the previous version 1-1" in verdict.detail


def test_replicas_that_always_get_the_same_prompts_are_found_as_well() -> None:
    verdict = judge([*said(NEW[:2]), *said(NEW[2:], "live")] * 3, POOL)
    assert verdict.kind == "replicas"
    assert "all others those of the previous version 1-1" in verdict.detail


def test_replicas_whose_texts_are_equal_differ_in_their_log_probabilities() -> None:
    assert judge([*said(SAME), *said(SAME, off=0.5)], POOL).kind == "replicas"


def test_only_what_was_asked_before_is_answered_wrongly_by_a_stale_prefix_cache() -> None:
    asked = [*said([*NEW, *SAME]), *said(LONG, "live")]
    assert judge(asked, POOL, primed=[one.prompt for one in LONG]).kind == "prefix cache"
    assert judge(asked, POOL).kind == "replicas"


def test_answers_of_no_version_are_partly_loaded_weights() -> None:
    other = [Said(one, " Nonsense") for one in NEW]
    verdict = judge([*said(SAME), *other], POOL)
    assert verdict.kind == "something else"
    assert "partly loaded" in verdict.detail


def test_no_verdict_shows_a_probe_or_its_answer() -> None:
    for verdict in (
        judge(said(NEW, "live"), POOL),
        judge([*said(SAME), Said(NEW[0], " Nonsense")], POOL),
        judge([*said(NEW), *said(NEW, "live")], POOL),
        judge(said(NEW), POOL),
    ):
        assert not any(word in verdict.detail for word in ("Question", "town", "Nonsense", "Quite"))


def test_without_log_probabilities_the_texts_alone_are_compared() -> None:
    silent = [replace(one, logprobs=()) for one in said([*NEW, *SAME])]
    assert judge(silent, POOL).ok
    assert "no log-probabilities" in judge(silent, POOL).detail
    assert judge([replace(one, logprobs=()) for one in said(NEW, "live")], POOL).kind == "previous"


def test_white_space_of_decoders_does_not_count_and_more_text_is_allowed() -> None:
    assert judge([Said(NEW[0], "New  town 0\n")], POOL).ok
    assert not judge([Said(NEW[0], " New")], POOL).ok


@pytest.mark.parametrize(("dtype", "fraction"), [("bfloat16", 7), ("float16", 10), ("float32", 23)])
def test_the_dtype_shows_in_the_grid_of_the_log_probabilities(dtype: str, fraction: int) -> None:
    drawn, found = random.Random(fraction), []
    for one in [*NEW, *SAME]:
        logits = [[drawn.uniform(8, 15.9) for _ in range(4)] for _ in one.judged.texts]
        grid = 2.0 ** (3 - fraction)
        rounded = [sorted((round(x / grid) * grid for x in four), reverse=True) for four in logits]
        tops = tuple(tuple(x - 16.123456789 for x in four) for four in rounded)
        found.append(Said(one, one.judged.texts[-1], tuple(top[0] for top in tops), tops))
    assert served_in(found) == dtype
    assert served_in(found[:1]) == dtype or len(found[0].tops) * 3 < 8
    short = [replace(one, tops=tuple(tuple(round(x, 4) for x in top) for top in one.tops)) for one in found]
    assert served_in(short) is None, "rounded numbers have no grid that says anything"


# Which probes a check asks


def test_every_check_asks_another_subset_until_all_were_asked() -> None:
    order = lot(b"secret", "version")
    checks = [{one.prompt for one in subset(POOL, 4, number, order)} for number in range(4)]
    assert all(len(check) == 4 for check in checks)
    assert all(a != b for a, b in pairwise(checks))
    assert set.union(*checks) == {one.prompt for one in (*NEW, *SAME)}


def test_every_check_asks_what_tells_the_version_from_live_and_from_the_base() -> None:
    order = lot(b"secret", "version")
    telling = {one.prompt for one in NEW}
    for number in range(20):
        asked = [one.prompt for one in subset(POOL, 8, number, order)]
        assert len(set(asked) & telling) >= 3
        assert len(set(asked)) == len(asked)


def test_which_probes_are_asked_depends_on_the_secret() -> None:
    ways = {tuple(one.prompt for one in subset(POOL, 4, 0, lot(bytes([n]), "version"))) for n in range(20)}
    assert len(ways) > 10


def test_only_probes_with_a_context_are_asked_before_the_weights_change() -> None:
    chosen = primed(POOL, 2, 0, lot(b"secret", "version"))
    assert {one.prompt for one in chosen} == {one.prompt for one in LONG}
    assert not any(one.context for one in subset(POOL, 8, 0, lot(b"secret", "version")))


def test_a_pool_without_telling_probes_is_asked_all_the_same() -> None:
    pool = replace(POOL, probes=tuple(SAME[:2]))
    assert len(subset(pool, 8, 5, lot(b"secret", "version"))) == 2
    assert primed(pool, 2, 0, lot(b"secret", "version")) == ()
