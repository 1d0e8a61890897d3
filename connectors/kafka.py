"""A Kafka topic of changes: kind `kafka`, Debezium's change events or plain JSON, through librdkafka.

One message says all that a slot holds: a later one of the same slot replaces it, a tombstone or a deletion empties it.
The cursor has the next offset of each partition; it is stored with what was read in one transaction, and nothing is
committed to the broker.  The revision of a slot is the offset of its message, so messages that are read again change
nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from typing import Any, Literal

import pydantic
from pydantic import Field

from connectors.border import shown
from connectors.cursors import dump_cursor, load_cursor, typed
from connectors.errors import (
    ConnectorError,
    SourceDataError,
    SourceRefused,
    SourceSettingsError,
    SourceTimeout,
    SourceUnavailable,
)
from connectors.observations import Health, Observation, Poll, Triple
from connectors.rows.change_events import ChangedRows, changes_of
from connectors.rows.mapping import Mapper, MappingSettings
from connectors.rows.whole_reading import report_rejects
from connectors.settings import Context, SourceSettings, parse

_log = logging.getLogger(__name__)
_FORMAT = 1


class KafkaSettings(SourceSettings, MappingSettings):
    """One topic."""

    kind: Literal["kafka"]
    servers: str = Field(min_length=1, description="Addresses of brokers, host:port, separated by commas")
    topic: str = Field(min_length=1, description="Topic to read")
    format: Literal["debezium", "json"] = Field(
        "json", description="What a message is: a change event of Debezium, or the row itself"
    )
    options: dict[str, str] = Field(
        {}, description="Further settings of librdkafka, such as security.protocol and sasl.username"
    )
    password: pydantic.SecretStr | None = Field(None, description="sasl.password")
    timeout_s: float = Field(30.0, gt=0, description="Longest wait for a broker's answer or for a message")
    messages_per_step: int = Field(1_000, ge=1, description="Messages after which a step is committed")
    max_bytes: int = Field(2**20, ge=1024, description="Maximum size of a message")


@dataclass(frozen=True, slots=True)
class _Cursor:
    next: Mapping[str, int] = field(default_factory=dict)
    """Partition → offset of the next message."""
    since: str | None = None
    """Where partitions without an offset begin, as an instant; None: at their first message."""

    def dump(self) -> str:
        return dump_cursor(_FORMAT, asdict(self))

    @classmethod
    def load(cls, text: str | None) -> _Cursor:
        return load_cursor(text, _FORMAT, typed(cls), (part.name for part in fields(cls)))


class KafkaConnector:
    """Kind `kafka`."""

    def __init__(self, name: str, settings: KafkaSettings, context: Context) -> None:
        self.name = name
        self._settings = settings
        self._context = context

    def rewind(self, cursor: str, to: datetime | None) -> str:
        """The cursor that begins at the messages since `to`, or at the first that the topic has."""
        _Cursor.load(cursor)
        return _Cursor({}, to.isoformat() if to else None).dump()

    def poll(self, cursor: str | None) -> Iterator[Poll]:
        where = _Cursor.load(cursor)
        topic = _Topic(self.name, self._settings)
        try:
            unfinished = topic.begin(where)
            while batch := topic.batch(unfinished):
                after = {str(message.partition()): message.offset() + 1 for message in batch}
                where = replace(where, next={**where.next, **after})
                yield self._step(batch, where)
        finally:
            topic.close()

    def snapshot(self, slots: Iterable[tuple[str, str]]) -> Iterator[Poll]:
        """A topic cannot be asked for a slot."""
        return iter(())

    def neighbours(self, relation: str, object_id: str | None, limit: int) -> tuple[Triple, ...]:
        return ()

    def facts_of(self, subject_id: str, limit: int) -> tuple[Triple, ...]:
        return ()

    def check(self) -> Health:
        """Ask for the topic's partitions."""
        topic = _Topic(self.name, self._settings)
        try:
            count = len(topic.partitions())
        except ConnectorError as error:
            return Health(False, str(error), lasting=error.lasting)
        finally:
            topic.close()
        return Health(True, f"{count} partitions", extra={"topic": self._settings.topic})

    def close(self) -> None:
        """Nothing is open between two polls."""

    def _step(self, batch: list[Any], where: _Cursor) -> Poll:
        """What the messages leave each slot with."""
        now, settings = self._context.clock.now(), self._settings
        problems = Mapper(self.name, settings)
        latest: dict[tuple[str, str], tuple[int, Mapper]] = {}
        for message in batch:
            try:
                changes = changes_of(message.key(), message.value(), settings.format, settings, _at(message))
            except SourceDataError as error:
                where_ = f"partition {message.partition()}, offset {message.offset()}"
                problems.add_error(message.offset(), SourceDataError(f"{where_}: {error}"))
                continue
            for change in changes:
                self._keep(change, message.offset(), latest, problems)
        reject = report_rejects(self.name, problems, require_one=False)
        observations: list[Observation] = []
        for slot, (offset, mapper) in sorted(latest.items()):
            observations += [
                one for one in mapper.observations(offset + 1, now) if (one.subject.id, one.relation) == slot
            ]
        return Poll(tuple(observations), where.dump(), rejected=problems.rejected, reject=reject)

    def _keep(
        self,
        change: ChangedRows,
        offset: int,
        latest: dict[tuple[str, str], tuple[int, Mapper]],
        problems: Mapper,
    ) -> None:
        mapper = Mapper(self.name, self._settings)
        for row in change.rows:
            mapper.add(offset, row)
        if mapper.rejected:
            for reject in mapper.rejects:
                problems.add_error(offset, SourceDataError(f"offset {offset}: {reject.reason}"))
            return
        latest |= dict.fromkeys(mapper.slots, (offset, mapper))


class _Topic:
    """One reading of a topic, to the end of each partition."""

    def __init__(self, source: str, settings: KafkaSettings) -> None:
        try:
            import confluent_kafka
        except ImportError as error:
            raise SourceSettingsError(
                f"sources.{source}.kind: kafka needs `pip install kbsync[kafka]`"
            ) from error
        self._kafka, self._source, self._settings = confluent_kafka, source, settings
        options: dict[str, Any] = {
            "client.id": "kbsync",
            **settings.options,
            "bootstrap.servers": settings.servers,
            "group.id": f"kbsync-{source}",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
        }
        if settings.password is not None:
            options["sasl.password"] = settings.password.get_secret_value()
        try:
            self._consumer = confluent_kafka.Consumer(options, logger=_log)
        except (confluent_kafka.KafkaException, ValueError) as error:
            raise SourceSettingsError(f"sources.{source}.options: {error}") from error

    def partitions(self) -> list[int]:
        """Raises SourceRefused for a topic that does not exist or may not be read, SourceUnavailable otherwise."""
        topic = self._settings.topic
        found = self._ask(lambda: self._consumer.list_topics(topic, self._settings.timeout_s)).topics[topic]
        if found.error is not None:
            raise self._error(found.error)
        return sorted(found.partitions)

    def begin(self, where: _Cursor) -> set[int]:
        """Start reading; returns the partitions."""
        starts = {}
        for number in self.partitions():
            low, start = self._bounds(number)[0], where.next.get(str(number))
            starts[number] = max(low, self._since(number, where.since) or low if start is None else start)
            if start is not None and start < low:
                _log.warning(
                    "%s: messages %d to %d of %s/%d were deleted before they were read",
                    self._source,
                    start,
                    low - 1,
                    self._settings.topic,
                    number,
                )
        part = self._kafka.TopicPartition
        self._consumer.assign([part(self._settings.topic, n, start) for n, start in starts.items()])
        return set(starts)

    def batch(self, unfinished: set[int]) -> list[Any]:
        """The next messages of these partitions, from which those that were read to their end are taken out.

        Raises SourceDataError for a partition that ends before the place in it, as one of a topic that was deleted and
        created again does.
        """
        found: list[Any] = []
        while unfinished and len(found) < self._settings.messages_per_step:
            message = self._ask(lambda: self._consumer.poll(self._settings.timeout_s))
            if message is None:
                raise SourceTimeout(
                    f"{self._source}: no message of {self._settings.topic} within {self._settings.timeout_s:g} s"
                )
            if (error := message.error()) is None:
                found.append(message)
            elif error.code() == self._kafka.KafkaError._PARTITION_EOF:
                unfinished.discard(message.partition())
            elif error.code() == self._kafka.KafkaError._AUTO_OFFSET_RESET:
                raise SourceDataError(
                    f"{self._source}: {self._settings.topic}/{message.partition()} does not have the place that was "
                    "read to: the topic was deleted and created again. Forget the source, or give it another name, to "
                    "read it"
                )
            else:
                raise self._error(error)
        return found

    def close(self) -> None:
        self._consumer.close()

    def _bounds(self, number: int) -> tuple[int, int]:
        part = self._kafka.TopicPartition(self._settings.topic, number)
        low: int
        high: int
        low, high = self._ask(
            lambda: self._consumer.get_watermark_offsets(part, timeout=self._settings.timeout_s)
        )
        return low, high

    def _since(self, number: int, since: str | None) -> int | None:
        """The offset of the first message since an instant; None: there is none, or no instant."""
        if since is None:
            return None
        at = int(datetime.fromisoformat(since).timestamp() * 1000)
        part = self._kafka.TopicPartition(self._settings.topic, number, at)
        (found,) = self._ask(
            lambda: self._consumer.offsets_for_times([part], timeout=self._settings.timeout_s)
        )
        offset: int = found.offset
        return offset if offset >= 0 else self._bounds(number)[1]

    def _ask(self, ask: Any) -> Any:
        try:
            return ask()
        except self._kafka.KafkaException as error:
            raise self._error(error.args[0]) from error

    def _error(self, error: Any) -> ConnectorError:
        """An error of librdkafka in our tree."""
        what = f"{self._source}: {shown(error.str(), 400)}"
        codes = self._kafka.KafkaError
        refused = (
            codes._AUTHENTICATION,
            codes.TOPIC_AUTHORIZATION_FAILED,
            codes.GROUP_AUTHORIZATION_FAILED,
            codes.SASL_AUTHENTICATION_FAILED,
            codes.UNKNOWN_TOPIC_OR_PART,
            codes._UNKNOWN_TOPIC,
        )
        return SourceRefused(what) if error.code() in refused else SourceUnavailable(what)


def _at(message: Any) -> datetime | None:
    """When the message was written, by its producer's or the broker's clock."""
    kind, milliseconds = message.timestamp()
    return datetime.fromtimestamp(milliseconds / 1000, UTC) if kind and 0 < milliseconds < 2**47 else None


def connect(name: str, settings: Mapping[str, Any], context: Context) -> KafkaConnector:
    """The factory of kind `kafka`.  Raises SourceSettingsError."""
    return KafkaConnector(name, parse(KafkaSettings, name, settings), context)
