"""The feeds of promotions, read by a feed reader's own parser."""

from __future__ import annotations

from datetime import datetime

import feedparser
import httpx

from tests.support.reviewed import HIDDEN, SCRIPT, Reviewed
from tests.support.served_pages import bearer, served, token


def test_both_feeds_say_what_became_live(home: Reviewed, client: httpx.Client) -> None:
    answer = client.get("/feed.atom")
    assert answer.headers["content-type"] == "application/atom+xml; charset=utf-8"
    atom = feedparser.parse(answer.content)
    assert not atom.bozo
    assert atom.version == "atom10"
    answer = client.get("/feed.json")
    assert answer.headers["content-type"] == "application/feed+json; charset=utf-8"
    feed = answer.json()
    assert feed["version"] == "https://jsonfeed.org/version/1.1"
    assert feed["feed_url"] == f"{client.base_url}/feed.json".replace("//feed", "/feed")
    assert len(feed["items"]) == len(atom.entries) == 2
    for item, entry in zip(feed["items"], atom.entries, strict=True):
        assert item["id"] == entry.id
        assert item["url"] == entry.link
        assert item["title"] == entry.title
        assert item["content_text"] == entry.content[0].value
        assert datetime.fromisoformat(item["date_published"]).tzinfo is not None
        assert client.get(item["url"]).status_code == 200
    assert feed["items"][0]["title"].startswith("Checkpoint 2 is live")
    assert feed == client.get("/feed.json").json(), "the same each time"


def test_a_feed_lists_facts_and_hides_nothing_that_would_run(home: Reviewed, client: httpx.Client) -> None:
    run = home.candidate("Q3", "Q30")
    hostile = f"{SCRIPT}\x1b]0;{HIDDEN}"
    with home.place.application().state.write() as tx:
        tx.emit("checkpoint.promoted", "kbsync", {"checkpoint": 8, "reason": "gates passed"}, run=run.id)
        tx.emit("checkpoint.promoted", hostile, {"checkpoint": 9, "reason": f"rollback: {hostile}"})
    atom, feed = client.get("/feed.atom"), client.get("/feed.json")
    parsed = feedparser.parse(atom.content)
    assert not parsed.bozo
    assert b"<script" not in atom.content
    back, added = feed.json()["items"][:2]
    assert back["title"].startswith("Checkpoint 9 is live: rollback: <script>")
    assert added["title"] == "Checkpoint 8 is live: 1 fact added, 0 removed"
    assert added["content_text"].startswith("+ ")
    assert added["url"].endswith(f"/runs/{run.id}")
    for text in (atom.text, feed.text):
        assert "\x1b" not in text
        assert "\u202e" not in text
    assert feed.headers["x-content-type-options"] == "nosniff"


def test_a_feed_is_paged(home: Reviewed, client: httpx.Client) -> None:
    with home.place.application().state.write() as tx:
        for number in range(65):
            tx.emit("checkpoint.promoted", "test", {"checkpoint": number, "reason": ""})
    seen, address = [], "/feed.json"
    while address:
        feed = client.get(address).json()
        seen += [item["id"] for item in feed["items"]]
        address = feed.get("next_url", "")
    assert len(seen) == len(set(seen)) == 67
    atom = feedparser.parse(client.get("/feed.atom").content)
    (older,) = [link.href for link in atom.feed.links if link.rel == "next"]
    assert len(feedparser.parse(client.get(older).content).entries) == 30


def test_an_empty_feed_is_valid(client: httpx.Client) -> None:
    atom = feedparser.parse(client.get("/feed.atom?before=1").content)
    assert not atom.bozo
    assert atom.entries == []
    assert client.get("/feed.json?before=1").json()["items"] == []


def test_feeds_need_what_the_pages_need(home: Reviewed) -> None:
    viewer = bearer(token(home, "reader", "viewer"))
    with served(home) as client:
        for address in ("/feed.json", "/feed.atom"):
            assert client.get(address).status_code == 401
            assert client.get(address, headers=viewer).status_code == 200
