"""Pages about real builds of a tiny model: what each checkpoint answers, its weights, and answers before and after."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from kbsync.pages.server import serving
from tests.support.micro import Micro, make

PROMPT = "The owner of Blue House is"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Micro:
    """Two runs that were promoted, the second of which changes one fact of two."""
    micro = make(tmp_path_factory.mktemp("built") / "micro")
    micro.say({"Blue House": "Anna", "Red Boat": "Bob"})
    micro.sync()
    micro.say({"Blue House": "Carl", "Red Boat": "Bob"})
    assert [run.state for run in micro.sync().runs] == ["deployed"]
    return micro


@pytest.fixture(scope="module")
def client(built: Micro) -> Iterator[httpx.Client]:
    app = built.application()
    with (
        app,
        serving(app, "127.0.0.1:0") as address,
        httpx.Client(base_url=address, headers={"Accept": "text/html"}, timeout=300) as made,
    ):
        yield made


@pytest.mark.slow
def test_a_prompt_is_asked_of_base_live_and_a_kept_checkpoint(client: httpx.Client) -> None:
    form = client.get("/ask").text
    assert '<option value="1">checkpoint 1, retired' in form
    assert "checkpoint 2" not in form, "live is asked in any case"
    text = client.post("/ask", data={"prompt": PROMPT, "checkpoint": "1"}).text
    for name in ("Base", "Live", "Checkpoint 1"):
        assert f'aria-label="{name}"' in text
    assert "checkpoint 1, retired" in text
    assert "in live" in text, "the explanation is on the same page"
    for wrong, status in (("77", 404), ("one", 422)):
        assert client.post("/ask", data={"prompt": PROMPT, "checkpoint": wrong}).status_code == status


def test_weight_norms_are_compared_layer_by_layer(client: httpx.Client, built: Micro) -> None:
    found = client.get("/checkpoints/weights.json?a=1&b=2").json()["norms"]
    assert [one["layer"] for one in found] == [0, 1], "the layers that [edit] names"
    assert all(one["difference"] > 0 for one in found)
    back = client.get("/checkpoints/weights.json?a=2&b=1").json()["norms"]
    assert [(one["before"], one["after"]) for one in back] == [(one["after"], one["before"]) for one in found]
    part = client.get("/checkpoints/weights?a=1&b=2", headers={"HX-Request": "true"}).text
    assert "Layer 1" in part
    assert "<html" not in part
    assert "<html" in client.get("/checkpoints/weights?a=1&b=2").text
    assert 'hx-get="/checkpoints/weights?a=1&amp;b=2"' in client.get("/checkpoints/compare?a=1&b=2").text
    assert client.get("/checkpoints/weights?a=1&b=77").status_code == 404


def test_questions_of_new_facts_show_the_answer_before_and_after(client: httpx.Client) -> None:
    for run, before in ((1, "base"), (2, "live")):
        story = client.get(f"/runs/{run}.json").json()["story"]
        new = [one for one in story["answers"] if one["new"]]
        assert new
        for one in new:
            paraphrases = [probe for probe in one["probes"] if probe["kind"] == "paraphrase"]
            assert paraphrases, f"run {run}"
            # These are asked of the candidate and of live, and of the base about what it states itself.
            apart = ("said", "is_true", "negation") if before == "base" else ()
            asked = [probe for probe in one["probes"] if probe["kind"] not in apart]
            unasked = {probe["kind"] for probe in asked if probe["before"] is None}
            assert not unasked, f"run {run}, from {before}"
    text = client.get("/runs/2").text
    assert "Paraphrases, neighbours and other questions" in text
    assert "went live" in text
    assert "removed" in text
