"""Notifications: to a real server that verifies them with an implementation of its own."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from kbsync.errors import BadConfiguration
from kbsync.queries.config_check import check_settings
from kbsync.service.webhooks import Courier, delivering, signed_headers
from kbsync.settings.loading import load
from state import utc_now
from state.records import Move
from tests.support.ledgers import fact
from tests.support.promoted import Place
from tests.support.webhook_receiver import Receiver, receiving

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
OTHER = "whsec_" + base64.b64encode(bytes(range(32, 64))).decode()
SETTINGS = """
[webhooks.chat]
url = '{url}'
secret_file = '{secret}'
{extra}
[sources.crm]
kind = 'files'
folder = '{folder}'
"""


class Told:
    """A home, its courier, and the server that it notifies."""

    def __init__(self, place: Place, receiver: Receiver) -> None:
        self.place, self.receiver = place, receiver

    @property
    def courier(self) -> Courier:
        """A new process's."""
        return Courier(self.place.application(), "chat")

    def work(self) -> None:
        self.courier.work(threading.Event())

    def happens(self, kind: str, **body: object) -> int:
        with self.place.application().state.write() as tx:
            return tx.emit(kind, "test", body).seq  # type: ignore[arg-type]

    @property
    def kinds(self) -> list[str]:
        return [content["type"] for _, content in self.receiver.received]


@contextmanager
def told(tmp_path: Path, extra: str = "", secret: str = SECRET) -> Iterator[Told]:
    file = tmp_path / "secret"
    file.write_text(f"{secret}\n")
    (tmp_path / "crm").mkdir()
    with receiving(SECRET) as receiver:
        settings = SETTINGS.format(url=receiver.url, secret=file, extra=extra, folder=tmp_path / "crm")
        made = Told(Place(tmp_path, settings), receiver)
        made.work()  # a receiver that is new hears of what happens from now on
        yield made
        made.place.application().close()


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Told]:
    with told(tmp_path) as made:
        yield made


def test_what_needs_a_person_is_sent_signed_and_in_order(home: Told) -> None:
    seq = home.happens("run.rejected", reason="efficacy 0.2 < 0.9")
    home.happens("lease.released")
    home.happens("run.awaiting_review")
    home.happens("check.failed", check="chain")
    home.work()
    assert home.kinds == ["run.rejected", "run.awaiting_review", "check.failed"]
    id, content = home.receiver.received[0]
    assert id.endswith(f".{seq}")
    assert set(content) == {"type", "timestamp", "data"}
    (event,) = content["data"]["events"]
    assert event["event"] == seq
    assert event["details"]["reason"] == "efficacy 0.2 < 0.9"
    assert home.place.clock.now - datetime.fromisoformat(content["timestamp"]) < timedelta(minutes=5)
    home.work()
    assert len(home.receiver.attempts) == 3, "each once"


def test_the_past_is_not_sent_to_a_new_receiver(tmp_path: Path) -> None:
    place = Place(tmp_path, "")
    with place.application().state.write() as tx:
        tx.emit("run.failed", "test", {})
    place.application().close()
    with told(tmp_path) as home:
        assert home.receiver.attempts == []
        home.happens("run.failed")
        home.work()
        assert home.kinds == ["run.failed"]


def test_facts_of_one_transaction_are_one_notification(home: Told) -> None:
    with home.place.application().state.write() as tx:
        made = tx.put_facts([fact(f"Q{number}", "Q9") for number in range(3)], "test")
        tx.move_facts([Move(one.id, "quarantined", "odd", one.status) for one in made], "test")
    home.happens("fact.quarantined", number=3)
    home.work()
    counts = [len(content["data"]["events"]) for _, content in home.receiver.received]
    assert counts == [3, 1]
    events = home.receiver.received[0][1]["data"]["events"]
    assert [one["statement"] for one in events] == [
        f"{one.subject_label}, {one.relation}: {one.target}" for one in made
    ]


def test_a_failed_notification_is_sent_again_under_its_id_with_growing_delays(tmp_path: Path) -> None:
    with told(tmp_path, "backoff = '5m'") as home:
        home.receiver.statuses = [500, 302, 401, 204]
        home.happens("run.failed")
        home.happens("run.rejected")
        for minutes, attempts in ((0, 1), (3, 1), (3, 2), (7, 2), (4, 3), (15, 3), (6, 5)):
            home.place.clock.forward(minutes=minutes)
            home.work()
            assert len(home.receiver.attempts) == attempts, minutes
        ids = [id for id, _ in home.receiver.attempts]
        assert len(set(ids[:4])) == 1
        assert home.kinds == ["run.failed", "run.rejected"], "in order"
        position = home.courier.position()
        assert (position.attempts, position.due, position.error) == (0, None, "")


def test_what_fails_for_days_is_left_out(home: Told, capsys: pytest.CaptureFixture[str]) -> None:
    home.receiver.statuses = [500] * 200
    home.happens("run.failed", secret="not logged")
    for _ in range(80):
        home.work()
        home.place.clock.forward(hours=1)
    assert "webhook.given_up" in "".join(capsys.readouterr())
    home.receiver.statuses = []
    home.happens("run.rejected")
    home.work()
    assert home.kinds == ["run.rejected"]


def test_a_kill_after_the_answer_sends_the_same_again(home: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    home.happens("run.failed")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("kbsync.service.webhook_position.Position.write", killed)
        with pytest.raises(KeyboardInterrupt):
            home.work()
    home.work()
    first, second = home.receiver.attempts
    assert first == second


def test_a_server_that_is_down_loses_nothing(tmp_path: Path) -> None:
    with told(tmp_path, "backoff = 0") as home:
        url = home.receiver.url
        home.place.hooks = home.place.hooks.replace(url, "http://127.0.0.1:9/hook")
        home.happens("run.failed")
        home.work()
        assert home.courier.position().attempts == 1
        home.place.hooks = home.place.hooks.replace("http://127.0.0.1:9/hook", url)
        home.work()
        assert home.kinds == ["run.failed"]


def test_a_source_that_is_not_read_is_stale_once(home: Told) -> None:
    def read() -> None:
        with home.place.application().state.write() as tx:
            tx.source_read("crm", "test")

    read()
    home.place.clock.forward(hours=23)
    home.work()
    assert home.kinds == []
    home.place.clock.forward(hours=1)
    home.work()
    home.work()
    assert home.kinds == ["source.stale"]
    assert home.receiver.received[0][1]["data"]["source"] == "crm"
    read()
    home.work()
    home.place.clock.forward(days=2)
    home.work()
    assert home.kinds == ["source.stale", "source.stale"]
    assert len({id for id, _ in home.receiver.received}) == 2


def test_only_the_chosen_kinds_are_sent(tmp_path: Path) -> None:
    with told(tmp_path, "events = ['run.deployed']") as home:
        for kind in ("run.failed", "run.deployed", "fact.quarantined"):
            home.happens(kind)
        home.work()
        assert home.kinds == ["run.deployed"]


def test_the_position_survives_and_a_damaged_one_begins_at_the_end(home: Told) -> None:
    home.happens("run.failed")
    home.work()
    file = home.place.application().home.webhook("chat")
    assert file.stat().st_mode & 0o077 == 0
    for damaged in (
        b"",
        b"[]",
        b'{"after": "x"}',
        b"\xff",
        file.read_bytes().replace(b'"after":', b'"after":9999'),
    ):
        file.write_bytes(damaged)
        home.work()
    home.happens("run.rejected")
    home.work()
    assert home.kinds == ["run.failed", "run.rejected"]


def test_a_restored_ledger_is_another(home: Told) -> None:
    home.happens("run.failed")
    with home.place.application().state.write() as tx:
        tx.begin_instance({}, "test")
    home.work()
    home.happens("run.rejected")
    home.work()
    assert home.kinds == ["run.rejected"]


def test_both_secrets_sign_while_one_is_replaced(tmp_path: Path) -> None:
    with told(tmp_path, secret=f"{OTHER} {SECRET}") as home:
        home.happens("run.failed")
        home.work()
        assert home.kinds == ["run.failed"]
        assert len(home.receiver.headers[0]["webhook-signature"].split()) == 2


def test_the_receivers_own_package_verifies_and_refuses() -> None:
    """Signed now, verified by `standardwebhooks` as it is: also the age of the timestamp."""
    now, body = int(utc_now().timestamp()), '{"type": "é"}'.encode()
    headers = signed_headers((bytes(range(32)),), "msg_1", now, body)
    assert Webhook(SECRET).verify(body, headers) == {"type": "é"}
    old = signed_headers((bytes(range(32)),), "msg_1", now - 600, body)
    for changed, content in (
        (headers, body + b" "),
        ({**headers, "webhook-id": "msg_2"}, body),
        ({**headers, "webhook-timestamp": str(now + 1)}, body),
        (old, body),
    ):
        with pytest.raises(WebhookVerificationError):
            Webhook(SECRET).verify(content, changed)
    with pytest.raises(WebhookVerificationError):
        Webhook(OTHER).verify(body, headers)


def test_a_receiver_that_hangs_holds_nobody_up(tmp_path: Path) -> None:
    """Two receivers, one of which never answers: the other gets its notification, and the block can end."""
    with receiving(SECRET) as slow:
        extra = f"[webhooks.slow]\nurl = '{slow.url}'\nsecret_file = '{tmp_path / 'secret'}'\n"
        slow.blocked = threading.Event()
        with told(tmp_path, extra) as home:
            Courier(home.place.application(), "slow").work(threading.Event())
            with delivering(home.place.application()):
                home.happens("run.failed")
                deadline = time.monotonic() + 120
                while home.kinds != ["run.failed"] and time.monotonic() < deadline:
                    time.sleep(0.05)
                assert home.kinds == ["run.failed"]
                assert slow.received == []
            slow.blocked.set()


def test_a_trial_reaches_the_server(home: Told) -> None:
    courier = home.courier
    courier.send(courier.trial())
    assert home.kinds == ["webhook.test"]


@pytest.mark.parametrize(
    ("secret", "complaint"),
    [
        ("secret", "does not start with whsec_"),
        ("whsec_###", "not base64"),
        ("whsec_c2hvcnQ=", "5 bytes, not 24 to 64"),
        ("", "contains no token"),
    ],
)
def test_a_secret_that_cannot_sign_is_found_by_config_check(
    tmp_path: Path, secret: str, complaint: str
) -> None:
    with told(tmp_path) as home:
        (tmp_path / "secret").write_text(secret)
        problems = [
            str(one.what)
            for one in check_settings(home.place.application()).problems
            if "webhooks" in one.where
        ]
        assert len(problems) == 1
        assert complaint in problems[0]
        assert "c2hvcnQ" not in problems[0]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[webhooks.a]\nurl = 'https://x.example/'\n", "give secret_env or secret_file"),
        ("[webhooks.a]\nurl = 'https://u:p@x.example/'\nsecret_env = 'X'\n", "password"),
        ("[webhooks.a]\nurl = 'ftp://x.example/'\nsecret_env = 'X'\n", "url"),
        (
            "[webhooks.a]\nurl = 'https://x.example/'\nsecret_env = 'X'\nevents = ['run.rejectd']\n",
            "did you mean 'run.rejected'",
        ),
        ("[webhooks.'../a']\nurl = 'https://x.example/'\nsecret_env = 'X'\n", "pattern"),
    ],
)
def test_settings_that_cannot_work_are_refused(tmp_path: Path, text: str, complaint: str) -> None:
    file = tmp_path / "kbsync.toml"
    file.write_text(text)
    with pytest.raises(BadConfiguration, match=complaint):
        load(file, {})


def test_notifications_are_json_that_any_terminal_can_show(home: Told) -> None:
    home.happens("run.failed", label="\u202e\x1b]0;<script>\udc80".encode("utf-8", "replace").decode())
    home.work()
    (_, body) = home.receiver.attempts[0]
    assert body.isascii()
    assert b"\x1b" not in body
    assert "<script>" in json.loads(body)["data"]["events"][0]["details"]["label"]
