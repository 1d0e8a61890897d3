"""Secret probes can be kept without what names somebody."""

from __future__ import annotations

from pathlib import Path

from editing.secret_probes import ProbeAnswer, SecretProbe, SecretProbes, SecretQuestion, SecretQuestions


def answer(text: str) -> ProbeAnswer:
    words = text.split()
    texts = tuple(" ".join(words[: number + 1]) for number in range(len(words)))
    return ProbeAnswer(texts, (0.0,) * len(words), (0.0,) * len(words), (1.0,) * len(words))


def probe(prompt: str, judged: str, base: str, live: str | None = None) -> SecretProbe:
    found = None if live is None else answer(live)
    return SecretProbe(prompt, "kept", answer(judged), answer(base), 1, found)


def test_probes_whose_prompt_or_answer_names_somebody_are_left_out(tmp_path: Path) -> None:
    probes = SecretProbes(
        "digest",
        "live",
        (
            probe("The mayor is", "Ann Lee", "Bob Ray"),
            probe("The mayor is", "Bob Ray", "Ann Lee"),
            probe("The mayor is", "Bob Ray", "Bob Ray", "Ann Lee"),
            probe("Ann Lee is from", "Oslo", "Rome"),
            probe("The capital is", "Oslo", "Rome", "Rome"),
        ),
    )
    path = tmp_path / "secret_answers.json"
    probes.without(lambda text: "Ann Lee" in text).write(path)
    assert SecretProbes.read(path).probes == probes.probes[-1:]
    assert "Ann" not in path.read_text()


def test_questions_that_name_somebody_in_their_context_are_left_out() -> None:
    asked = SecretQuestions(
        (
            SecretQuestion("Ann Lee is from", "kept"),
            SecretQuestion("The capital is", "kept", ("Ann Lee is the mayor.",)),
            SecretQuestion("The capital is", "kept", ("Oslo lies by the sea.",)),
        )
    )
    assert asked.without(lambda text: "Ann Lee" in text).questions == asked.questions[-1:]
