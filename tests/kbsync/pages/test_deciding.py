"""Decisions in the pages: what they do, what they need, and what the second reviewer gets."""

from __future__ import annotations

import getpass
import json
import re
import threading
import time

import httpx

from tests.support.reviewed import Reviewed

ME = getpass.getuser()


def fields(text: str, action: str = "") -> dict[str, str]:
    """The hidden fields of a page's forms, as the browser would send them; of the form with `action`, if given."""
    if action:
        text = next(form for form in re.findall(r"<form.*?</form>", text, re.S) if action in form)
    return dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', text))


def events(home: Reviewed, kind: str) -> list[tuple[str, dict]]:
    with home.place.application().state.read() as tx:
        return [(event.actor, json.loads(event.body)) for event in tx.events(kind=kind)]


def until_answered(home: Reviewed, request: int) -> str:
    """The state in which a request ends; what carries it out is another thread."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        with home.place.application().state.read() as tx:
            found = tx.request(request)
        if found.state in ("done", "refused"):
            return found.state
        time.sleep(0.1)
    raise AssertionError(f"request {request} is {found.state}")


def test_a_conflict_is_decided_by_choosing_a_value(home: Reviewed, client: httpx.Client) -> None:
    anna, bob = home.conflict("Anna"), home.conflict("Bob")
    sent = fields(client.get(f"/quarantine/{anna.id}").text)
    answer = client.post(f"/quarantine/{anna.id}/approve", data={**sent, "reason": "the deed says so"})
    assert answer.status_code == 303
    assert answer.headers["location"] == f"/quarantine/{anna.id}?decided=approve"
    assert "Decided." in client.get(answer.headers["location"]).text
    assert home.fact(anna.id).status == "wanted"
    assert home.fact(bob.id).status != "wanted"
    ((actor, body),) = events(home, "fact.approved")
    assert (actor, body["reason"]) == (ME, "the deed says so")
    assert home.place.application().state.audit.verify_tables().ok


def test_a_decision_needs_a_reason_of_a_word(home: Reviewed, client: httpx.Client) -> None:
    anna = home.conflict("Anna")
    for reason in ("", "  ", "…"):
        answer = client.post(f"/quarantine/{anna.id}/reject", data={"reason": reason})
        assert answer.status_code == 422
        assert "needs a reason" in answer.text
    assert home.fact(anna.id) == anna


def test_the_second_reviewer_is_told_what_has_changed(home: Reviewed, client: httpx.Client) -> None:
    anna = home.conflict("Anna")
    first, second = (fields(client.get(f"/quarantine/{anna.id}").text) for _ in range(2))
    assert client.post(f"/quarantine/{anna.id}/reject", data={**first, "reason": "no"}).status_code == 303
    answer = client.post(f"/quarantine/{anna.id}/approve", data={**second, "reason": "my own words"})
    assert answer.status_code == 409
    assert "has changed since it was shown: it is retracted, rejected" in answer.text
    assert "my own words" in answer.text, "what was typed is not lost"
    assert home.fact(anna.id).decision == "rejected"


def test_of_many_reviewers_at_once_exactly_one_decides(home: Reviewed, client: httpx.Client) -> None:
    anna = home.conflict("Anna")
    forms = [fields(client.get(f"/quarantine/{anna.id}").text) for _ in range(6)]
    codes: list[int] = []

    def decide(number: int, form: dict[str, str]) -> None:
        word = "approve" if number % 2 else "reject"
        with httpx.Client(base_url=client.base_url, timeout=60) as own:
            codes.append(
                own.post(f"/quarantine/{anna.id}/{word}", data={**form, "reason": "mine"}).status_code
            )

    threads = [threading.Thread(target=decide, args=one) for one in enumerate(forms)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(codes) == [303, *[409] * 5]
    assert len(events(home, "fact.approved") + events(home, "fact.rejected")) == 1


def test_a_form_that_is_sent_twice_is_carried_out_once(home: Reviewed, client: httpx.Client) -> None:
    anna = home.conflict("Anna")
    sent = {**fields(client.get(f"/quarantine/{anna.id}").text), "reason": "no"}
    answers = [client.post(f"/quarantine/{anna.id}/reject", data=sent) for _ in range(3)]
    assert [(one.status_code, one.headers["location"]) for one in answers] == [
        (303, f"/quarantine/{anna.id}?decided=reject")
    ] * 3
    assert len(events(home, "fact.rejected")) == 1


def test_a_retraction_and_its_undoing(home: Reviewed, client: httpx.Client) -> None:
    with home.place.application().state.read() as tx:
        carl = next(fact for fact in tx.wanted() if fact.target == "Carl")
    assert (
        client.post(f"/facts/{carl.id}/retract", data={"reason": "sold", "version": carl.version}).status_code
        == 303
    )
    assert home.fact(carl.id).status == "retracted"
    assert client.post(f"/facts/{carl.id}/unretract", data={"reason": "bought back"}).status_code == 303
    assert home.fact(carl.id).status == "wanted"


def test_many_are_decided_at_once_after_a_rehearsal(home: Reviewed, client: httpx.Client) -> None:
    page = client.get("/quarantine").text
    boxes = re.findall(r'name="fact" value="([^"]+)"', page)
    assert len(boxes) == 4
    sent = {**fields(page, "/quarantine/decide"), "word": "reject", "fact": boxes}
    shown = client.post("/quarantine/decide", data={**sent, "rehearse": "1"})
    assert "What would happen" in shown.text
    assert home.conflict("Anna"), "a rehearsal writes nothing"
    done = client.post("/quarantine/decide", data={**sent, "reason": "all of it is wrong"})
    assert done.status_code == 200
    assert "Decided" in done.text
    assert "Nothing waits" in client.get("/quarantine").text
    again = client.post("/quarantine/decide", data={**sent, "key": "another", "reason": "again"})
    assert again.status_code == 409
    assert client.post("/quarantine/decide", data={"word": "reject", "reason": "x"}).status_code == 422


def test_an_approval_names_the_candidates_digest(home: Reviewed, client: httpx.Client) -> None:
    run = home.candidate("Q3", "Q30")
    sent = fields(client.get(f"/runs/{run.id}").text, "/approve")
    other = {**sent, "digest": "0" * 64, "reason": "good"}
    answer = client.post(f"/runs/{run.id}/approve", data=other)
    assert answer.status_code == 409
    assert "not 000000000000 as it was shown" in answer.text
    answer = client.post(f"/runs/{run.id}/approve", data={**sent, "reason": "looks right"})
    assert answer.status_code == 303
    with home.place.application().state.read() as tx:
        (request,) = tx.requests(limit=1)
    assert json.loads(request.arguments) == {"run": run.id, "digest": sent["digest"]}
    assert until_answered(home, request.id) == "done"
    with home.place.application().state.read() as tx:
        live = tx.live()
        assert live is not None
        assert live.digest == sent["digest"]
        assert tx.run(run.id).state == "deployed"
    staged = [actor for actor, _ in events(home, "run.staged")]
    assert staged[-1] == ME
    late = client.post(f"/runs/{run.id}/reject", data={**sent, "key": "k", "reason": "too late"})
    assert late.status_code == 409
    assert "does not wait for review: it is deployed" in late.text


def test_a_candidate_is_rejected(home: Reviewed, client: httpx.Client) -> None:
    run = home.candidate("Q3", "Q30")
    sent = fields(client.get(f"/runs/{run.id}").text, "/approve")
    assert client.post(f"/runs/{run.id}/reject", data={**sent, "reason": "odd"}).status_code == 303
    with home.place.application().state.read() as tx:
        assert tx.run(run.id).state == "rejected"
    assert "odd" in client.get(f"/runs/{run.id}").text


def test_a_rollback_is_asked_for_and_carried_out(home: Reviewed, client: httpx.Client) -> None:
    sent = fields(client.get("/checkpoints").text, "/checkpoints/rollback")
    assert sent["live"] == "2"
    wrong = client.post("/checkpoints/rollback", data={**sent, "live": "1", "to": "1", "reason": "x"})
    assert wrong.status_code == 409
    assert "checkpoint 2 is live now, not 1" in wrong.text
    answer = client.post("/checkpoints/rollback", data={**sent, "to": "1", "reason": "it was wrong"})
    assert answer.status_code == 303
    request = int(answer.headers["location"].rpartition("/")[2])
    assert client.get(answer.headers["location"]).status_code == 200
    assert until_answered(home, request) == "done"
    with home.place.application().state.read() as tx:
        live = tx.live()
    assert live is not None
    assert live.id == 1
    assert "it was wrong" in client.get(answer.headers["location"]).text


def test_a_checkpoint_is_pinned_and_released(home: Reviewed, client: httpx.Client) -> None:
    for word, pinned in (("pin", True), ("unpin", False)):
        assert client.post(f"/checkpoints/1/{word}", data={"reason": "the first"}).status_code == 303
        with home.place.application().state.read() as tx:
            assert tx.checkpoint(1).pinned is pinned
    assert client.post("/checkpoints/1/pin", data={}).status_code == 422
    assert client.post("/checkpoints/1/burn", data={"reason": "x"}).status_code == 422


def test_a_program_repeats_a_request_under_its_idempotency_key(home: Reviewed, client: httpx.Client) -> None:
    anna = home.conflict("Anna")
    form, key = {"reason": "no", "version": anna.version}, {"Idempotency-Key": "retry-1"}
    answers = [client.post(f"/quarantine/{anna.id}/reject", data=form, headers=key) for _ in range(3)]
    assert [one.status_code for one in answers] == [303] * 3
    assert len({one.headers["location"] for one in answers}) == 1
    assert len(events(home, "fact.rejected")) == 1
    other = client.post(f"/quarantine/{anna.id}/reject", data={**form, "reason": "yes"}, headers=key)
    assert other.status_code == 422
    assert "used before, with other content" in other.text
    fresh = client.post(f"/quarantine/{anna.id}/reject", data=form, headers={"Idempotency-Key": "retry-2"})
    assert fresh.status_code == 409, "decided already"
    for wrong in ({"Idempotency-Key": ""}, {"Idempotency-Key": "x" * 256}):
        assert client.post(f"/quarantine/{anna.id}/reject", data=form, headers=wrong).status_code == 422
    assert len(events(home, "fact.rejected")) == 1


def test_of_two_equal_requests_at_once_one_is_carried_out(home: Reviewed, client: httpx.Client) -> None:
    anna = home.conflict("Anna")
    form, key = {"reason": "no"}, {"Idempotency-Key": "both"}
    codes: list[int] = []

    def send() -> None:
        with httpx.Client(base_url=client.base_url, timeout=60) as own:
            codes.append(own.post(f"/quarantine/{anna.id}/reject", data=form, headers=key).status_code)

    threads = [threading.Thread(target=send) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [303] * 5
    assert len(events(home, "fact.rejected")) == 1
