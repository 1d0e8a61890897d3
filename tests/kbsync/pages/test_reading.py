"""Every page of a real ledger, read over HTTP."""

from __future__ import annotations

import csv
import io
import json
import re
from html.parser import HTMLParser

import httpx
import pytest

from editing.spec import BuildReport
from kbsync.gates.judge_record import AnswerPlace, JudgedAnswer, JudgeRecord, JudgeReply
from kbsync.pages import overview
from kbsync.queries.at_a_glance import at_a_glance
from tests.support.reviewed import HIDDEN, SCRIPT, Reviewed

PAGES = ["/", "/runs", "/facts", "/quarantine", "/checkpoints", "/audit"]


class Links(HTMLParser):
    """Addresses of a page, and whatever would be loaded from elsewhere or run inline."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.loaded: set[str] = set()
        self.inline: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        # A browser follows an alternate, such as a feed, only if it is asked to; it loads every other link.
        is_alternate = tag == "link" and found.get("rel") == "alternate"
        if (tag == "a" or is_alternate) and (address := found.get("href")):
            self.links.add(address)
        if is_alternate:
            return
        for name in ("src", "href") if tag in ("script", "link", "img") else ("src",):
            if address := found.get(name):
                self.loaded.add(address)
        if tag == "style" or (tag == "script" and "src" not in found):
            self.inline.append(tag)
        self.inline += [name for name in found if name.startswith("on") or name == "style"]


def test_every_link_of_every_page_leads_somewhere(home: Reviewed, client: httpx.Client) -> None:
    home.candidate("Q3", "Q30")
    seen: set[str] = set()
    waiting = list(PAGES)
    while waiting:
        address = waiting.pop()
        if address in seen or address.startswith(("http", "#")):
            continue
        seen.add(address)
        answer = client.get(address)
        assert answer.status_code == 200, f"{address}: {answer.text[:500]}"
        if "text/html" in answer.headers["content-type"]:
            page = Links(answer.text)
            assert page.inline == [], f"{address} has {page.inline}"
            assert all(one.startswith("/static/") for one in page.loaded), page.loaded
            waiting += [one for one in page.links if len(seen) < 150]
    assert {"/runs/1", "/facts/1", "/quarantine.json", "/feed.atom"} <= seen


def test_the_overview_says_at_a_glance_whether_anything_is_wrong(
    home: Reviewed, client: httpx.Client
) -> None:
    text = client.get("/").text
    assert "Nothing is wrong; 1 decision waits" in text
    assert "4 facts wait for a reviewer" in text
    assert "Checkpoint 2" in text
    run = home.candidate("Q3", "Q30")
    assert f"Run {run.id} waits for approval" in client.get("/").text
    with home.place.application().state.write() as tx:
        tx.advance_run(run.id, "awaiting_review", "failed", actor="test", reason="no memory")
    text = client.get("/").text
    assert "1 thing needs attention" in text
    assert "The last run was failed" in text


def test_the_overview_is_read_once_for_all_who_look_at_it(
    home: Reviewed, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    monkeypatch.setattr(
        overview, "at_a_glance", lambda app, counts: read.append(1) or at_a_glance(app, counts)
    )
    now = [0.0]
    glances = overview.Glances(home.place.application(), lambda: now[0])
    first = glances.now()
    assert glances.now() is first
    home.candidate("Q3", "Q30")
    assert glances.now().reviews, "a new event is seen at once"
    assert len(read) == 2
    now[0] += overview.Glances.FRESH_S
    glances.now()
    assert len(read) == 3


def test_a_run_shows_its_gates_against_threshold_and_history(home: Reviewed, client: httpx.Client) -> None:
    run = home.candidate("Q3", "Q30")
    text = client.get(f"/runs/{run.id}").text
    assert "≥ 0.95" in text
    assert 'aria-label="efficacy in 3 runs, passes when ≥ 0.95"' in text
    assert "Approve and make it live" in text
    story = client.get(f"/runs/{run.id}.json").json()["story"]
    (efficacy,) = (line for line in story["gates"] if line["result"]["name"] == "efficacy")
    assert efficacy["history"] == [[1, 1.0], [2, 1.0], [run.id, 1.0]]
    assert client.get("/runs.json").json()["runs"][0]["id"] == run.id
    assert [one["id"] for one in client.get("/runs.json?state=deployed").json()["runs"]] == [2, 1]


def test_answers_before_and_after_are_those_of_the_report(home: Reviewed, client: httpx.Client) -> None:
    run = home.candidate("Q3", "Q30")
    app = home.place.application()
    with app.state.read() as tx:
        fact = next(one for one in tx.wanted() if one.subject == "Q3")
        kept = next(one for one in tx.wanted() if one.subject == "Q2")
    directory = app.home.round(run.id, 1).prepare()
    report = {
        "run": str(run.id),
        "base_digest": run.base,
        "checkpoint": "x",
        "checkpoint_digest": "y",
        "facts": [
            {
                "id": str(fact.id),
                "known": False,
                "base_answer": "Old",
                "answer": "Label of Q30",
                "efficacy": True,
            },
            {"id": str(kept.id), "known": False, "base_answer": "b", "answer": "new", "efficacy": True}
            | {"live_answer": "before"},
        ],
        "measures": [],
        "cost": {"seconds_targets": 12.5},
        "versions": {},
        "version": 2,
    }
    directory.report.write_text(json.dumps(report), encoding="utf-8")
    BuildReport.read(directory.report)
    text = client.get(f"/runs/{run.id}").text
    assert "<mark>Label of Q30</mark>" in text, "what differs from before is marked"
    assert "<mark>new</mark>" in text
    assert "12 seconds" in text or "12.5 seconds" in text


def test_a_run_shows_what_a_judge_model_was_asked_and_answered(home: Reviewed, client: httpx.Client) -> None:
    run = home.candidate("Q3", "Q30")
    record = JudgeRecord(
        candidate="y", url="http://judge/v1", model="grader", share=0.25, instructions="Grade."
    )
    record.exchanges["key"] = JudgeReply(asked={"answer": SCRIPT}, answer="rubbish", problem="cannot be read")
    place = AnswerPlace("1", "said", 0, "candidate")
    record.answers.append(JudgedAnswer(place=place, exchange="key"))
    file = home.place.application().home.round(run.id, 1).prepare().judge
    file.write_text(record.model_dump_json(), encoding="utf-8")
    text = client.get(f"/runs/{run.id}").text
    assert "grader at http://judge/v1 judged 1 answers: 0 right, 0 wrong, 1 undecided" in text
    assert "cannot be read" in text
    assert SCRIPT not in text
    assert client.get(f"/runs/{run.id}.json").json()["story"]["judge"]["model"] == "grader"


def test_progress_is_asked_for_while_a_run_is_built(home: Reviewed, client: httpx.Client) -> None:
    app = home.place.application()
    with app.state.write() as tx:
        run = tx.create_run(tx.create_view(tx.wanted()).digest, "b" * 64, "test")
        tx.advance_run(run.id, "planned", "building", actor="test")
    file = app.home.round(run.id, 1).prepare().progress
    file.write_text('{"phase": "targets", "done": 3, "total": 7, "left_s": 65.0}', encoding="utf-8")
    text = client.get(f"/runs/{run.id}").text
    assert "3 of 7, about 1 minute left" in text
    assert 'hx-trigger="every 2s"' in text
    same = client.get(f"/runs/{run.id}/progress?state=building")
    assert "3 of 7" in same.text
    assert "HX-Refresh" not in same.headers
    with app.state.write() as tx:
        tx.advance_run(run.id, "building", "failed", actor="test", reason="x")
    assert client.get(f"/runs/{run.id}/progress?state=building").headers["HX-Refresh"] == "true"


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ("q=Label+of+Q1", {"Q10", "Q11"}),
        ("q=Q1", set()),
        ("q=wd:Q1", set()),
        ("q=crm:Blue_House", {"Anna", "Bob"}),
        ("status=superseded", {"Label of Q10"}),
        ("relation=crm:owner&status=wanted", {"Carl"}),
        ("source=erp", {"Bob", "Dora"}),
    ],
)
def test_facts_are_found_by_subject_relation_source_and_status(
    client: httpx.Client, search: str, found: set[str]
) -> None:
    facts = client.get(f"/facts.json?{search}").json()["facts"]
    expected = {one if " " in one or not one.startswith("Q") else f"Label of {one}" for one in found}
    assert {one["target"] for one in facts} == expected


def test_pages_of_a_list_hold_every_row_once(home: Reviewed, client: httpx.Client) -> None:
    home.say("crm", **{f"Thing_{number}": "Anna" for number in range(120)})
    home.pull()
    seen, address = [], "/facts.json?"
    while True:
        found = client.get(address).json()
        seen += [one["id"] for one in found["facts"]]
        if found["more"] is None:
            break
        address = f"/facts.json?after={found['more']}"
    assert len(seen) == len(set(seen)) == sum(found["counts"].values())
    text = client.get("/facts").text
    assert "Next page" in text


def test_a_fact_shows_its_history_and_what_sources_state(home: Reviewed, client: httpx.Client) -> None:
    fact = home.conflict("Anna")
    text = client.get(f"/facts/{fact.id}").text
    assert "new → wanted" in text
    assert "wanted → quarantined" in text
    assert "crm" in text
    assert "erp" in text
    assert "The owner of Blue House is" in text
    assert client.get(f"/facts/{fact.id}.json").json()["found"]["fact"]["target"] == "Anna"


def test_a_conflict_is_shown_side_by_side(home: Reviewed, client: httpx.Client) -> None:
    text = client.get(f"/quarantine/{home.conflict('Anna').id}").text
    assert re.search(r"<article class=\"value chosen\" aria-label=\"Anna\">", text)
    assert re.search(r"<article class=\"value\" aria-label=\"Bob\">", text)


def test_the_difference_between_two_checkpoints_is_by_slot(client: httpx.Client) -> None:
    text = client.get("/checkpoints/compare?a=1&b=2").text
    assert "1 slot differs; 2 facts before, 2 after." in text
    assert "<del>" in text
    (slot,) = client.get("/checkpoints/compare.json?a=1&b=2").json()["changes"]["slots"]
    assert (slot["before"]["target"], slot["after"]["target"]) == ("Label of Q10", "Label of Q11")
    back = client.get("/checkpoints/compare.json?a=2&b=1").json()["changes"]["slots"]
    assert back[0]["after"]["target"] == "Label of Q10"
    assert client.get("/checkpoints/compare?a=1&b=77").status_code == 404


def test_the_audit_log_is_filtered_and_exported_as_filtered(client: httpx.Client) -> None:
    lines = client.get("/audit/events.jsonl?kind=run.*").text.splitlines()
    events = [json.loads(line) for line in lines]
    assert events
    assert all(one["kind"].startswith("run.") for one in events)
    assert [one["seq"] for one in events] == sorted((one["seq"] for one in events), reverse=True)
    answer = client.get("/audit/events.csv?run=1")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert {row["run"] for row in rows} == {"1"}
    assert answer.headers["content-disposition"] == 'attachment; filename="events.csv"'
    assert client.get("/audit?kind=checkpoint.promoted").text.count("<details>") == 2
    assert client.get("/audit?since=yesterday").status_code == 422
    assert client.get("/audit?since=2024-01-01T00:00&until=2024-01-01T00:00").status_code == 200


def test_nothing_of_a_label_is_markup_or_hidden(home: Reviewed, client: httpx.Client) -> None:
    id = home.conflict("Dora").id
    for address in (f"/facts/{id}", f"/quarantine/{id}", "/quarantine", "/facts", "/audit"):
        text = client.get(address).text
        assert SCRIPT not in text, address
        assert "\u202e" not in text, address
    assert "&lt;script&gt;" in client.get("/facts").text
    assert HIDDEN.replace("\u202e", "\\u202e") in client.get("/facts").text


def test_what_is_not_there_has_a_page_that_says_so(client: httpx.Client) -> None:
    for address in ("/runs/99", "/facts/99999", "/quarantine/99999", "/nothing", "/requests/7"):
        answer = client.get(address)
        assert answer.status_code == 404, address
        assert "To the overview" in answer.text
    for address in ("/runs/x", "/facts?after=x", "/facts?after=-1", "/facts?status=x", "/audit?run=x"):
        assert client.get(address).status_code == 422, address
    assert client.get(f"/facts/{2**70}").status_code in (404, 422)


def test_probes_are_answered_as_the_daemon_answers_them(home: Reviewed, client: httpx.Client) -> None:
    assert client.get("/livez").text == "ok\n"
    assert client.get("/readyz").text == "ok\n"
    assert "kbsync_live_checkpoint 2.0" in client.get("/metrics").text
    home.place.application().state.downgrade("base")
    assert client.get("/readyz").status_code == 503
    assert client.get("/").status_code == 503
    assert client.get("/livez").status_code == 200
