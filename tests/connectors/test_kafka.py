"""Kafka topics as a source, against a real broker (Tansu)."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from connectors.conformance import PROMISES, Facts, Scenario
from connectors.errors import SourceDataError, SourceRefused, SourceTimeout, SourceUnavailable
from connectors.observations import Connector
from connectors.registry import connect
from tests.support.crm_scenario import CrmScenario
from tests.support.servers import kafka_broker
from tests.support.sink import Sink
from tests.support.sparql_server import free_port

pytestmark = pytest.mark.kafka


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with kafka_broker(tmp_path_factory.mktemp("broker")) as address:
        yield address


class Topic:
    """A topic of two partitions."""

    def __init__(self, broker: str) -> None:
        kafka = pytest.importorskip("confluent_kafka", reason="needs `pip install kbsync[kafka]`")
        admin = pytest.importorskip("confluent_kafka.admin")
        self.name, self.broker = f"accounts-{uuid.uuid4().hex[:8]}", broker
        client = admin.AdminClient({"bootstrap.servers": broker})
        made = client.create_topics([admin.NewTopic(self.name, num_partitions=2, replication_factor=1)])
        made[self.name].result(30)
        self._producer = kafka.Producer({"bootstrap.servers": broker, "linger.ms": 0, "log_level": 0})

    def write(self, *messages: tuple[Any, Any], partition: int | None = None) -> None:
        """(key, value) each; dicts become JSON, None a tombstone."""
        for key, value in messages:
            where = {} if partition is None else {"partition": partition}
            self._producer.produce(self.name, key=_bytes(key), value=_bytes(value), **where)
        assert self._producer.flush(30) == 0

    def open(self, **settings: Any) -> Connector:
        own = {"kind": "kafka", "servers": self.broker, "topic": self.name, "namespace": "crm"}
        return connect("crm", {**own, "relation": "crm:owner", "timeout_s": 10, **settings})


def _bytes(value: Any) -> bytes | None:
    if value is None or isinstance(value, bytes):
        return value
    return value.encode() if isinstance(value, str) else json.dumps(value).encode()


class KafkaScenario(CrmScenario):
    rereads = False

    def __init__(self, broker: str) -> None:
        super().__init__()
        self._topic = Topic(broker)

    def open(self) -> Connector:
        return self._topic.open(messages_per_step=2)

    def store(self, facts: Facts) -> None:
        self._topic.write(
            *(
                (subject[4:], {"subject": subject[4:], "object": [o[4:] for o in sorted(objects)]})
                for (subject, _), objects in facts.items()
            )
        )


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
def test_kafka_keeps_every_promise(broker: str, promise: Callable[[Scenario], None]) -> None:
    scenario = KafkaScenario(broker)
    scenario.write({slot: frozenset({scenario.objects()[0]}) for slot in scenario.slots(6)})
    promise(scenario)


def envelope(op: str, before: Any = None, after: Any = None) -> dict[str, Any]:
    """A change event as Debezium's PostgreSQL connector writes it."""
    source = {"connector": "postgresql", "db": "crm", "table": "accounts", "lsn": 24023128}
    return {"before": before, "after": after, "source": source, "op": op, "ts_ms": 1_700_000_000_000}


@pytest.mark.parametrize("schema", [False, True])
def test_the_change_events_of_debezium_are_followed_deletions_included(broker: str, schema: bool) -> None:
    def wrapped(body: Any) -> Any:
        return {"schema": {"type": "struct"}, "payload": body} if schema and body is not None else body

    def write(id: int, event: Any) -> None:
        topic.write((wrapped({"id": id}), wrapped(event)))

    topic = Topic(broker)
    connector = topic.open(format="debezium", columns={"subject": "id", "object": "owner"})
    write(1, envelope("r", after={"id": 1, "owner": "Ann", "city": "Rome"}))
    write(2, envelope("c", after={"id": 2, "owner": "Bob", "city": "Oslo"}))
    write(3, envelope("c", after={"id": 3, "owner": "Cy", "city": "Bonn"}))
    write(3, envelope("t"))
    sink = Sink()
    sink.drain(connector)
    held = {"crm:1": ("lit:Ann",), "crm:2": ("lit:Bob",), "crm:3": ("lit:Cy",)}
    assert sink.values("crm:owner") == held
    write(1, envelope("u", {"id": 1, "owner": "Ann"}, {"id": 1, "owner": "Dora"}))
    write(2, envelope("d", {"id": 2}))
    write(2, None)
    write(3, envelope("u", {"id": 3, "owner": "Cy"}, {"id": 4, "owner": "Cy"}))  # the row has another subject
    sink.drain(connector)
    assert sink.values("crm:owner") == {"crm:1": ("lit:Dora",), "crm:4": ("lit:Cy",)}
    assert sink.drain(connector) == 0
    assert all(one.modified for one in sink.slots.values()), "the message says when"


def test_what_is_no_change_is_rejected_and_the_rest_is_read(broker: str) -> None:
    topic = Topic(broker)
    topic.write(
        ("1", {"subject": "1", "object": "Ann"}), ("2", b"\xff{"), ("3", "[1]"), (None, None), partition=0
    )
    topic.write(("4", {"subject": "4"}), ("5", {"subject": "5", "object": "\ud800"}), partition=0)
    topic.write(("6", {"subject": "6", "object": "Bob"}), partition=0)
    steps = list(topic.open().poll(None))
    assert [(o.subject.id, o.revision) for step in steps for o in step.observations] == [
        ("crm:1", 1),
        ("crm:6", 7),
    ]
    assert sum(step.rejected for step in steps) == 5
    assert "offset 1" in steps[0].reject


def test_rewound_to_an_instant_the_messages_since_then_are_read_again(broker: str) -> None:
    topic, sink = Topic(broker), Sink()
    topic.write(("1", {"subject": "1", "object": "Ann"}))
    connector = topic.open()
    sink.drain(connector)
    topic.write(("1", {"subject": "1", "object": "Bob"}))
    sink.drain(connector)
    before = sink.recorded
    assert sink.cursor is not None
    sink.cursor = connector.rewind(sink.cursor, None)  # type: ignore[attr-defined]
    assert sink.drain(connector) > 0
    assert sink.values("crm:owner") == {"crm:1": ("lit:Bob",)}, "an older message does not become current"
    assert sink.recorded == before


def test_a_topic_that_is_not_there_or_began_anew_says_so(broker: str) -> None:
    topic = Topic(broker)
    with pytest.raises(SourceRefused, match="Unknown topic"):
        list(topic.open(topic="nosuch").poll(None))
    place = '{"format":1,"next":{"0":99},"since":null}'
    with pytest.raises((SourceDataError, SourceTimeout), match=r"created again|no message"):
        list(topic.open(timeout_s=2).poll(place))  # this broker does not say that it has no such offset
    with pytest.raises(SourceUnavailable):
        list(topic.open(servers=f"127.0.0.1:{free_port()}", timeout_s=1).poll(None))
    assert topic.open().check().ok
