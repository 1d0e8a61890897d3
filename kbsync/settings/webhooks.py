"""`[webhooks.NAME]`: who is notified of what needs a person, as Standard Webhooks."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Literal, get_args

from pydantic import Field, StringConstraints, model_validator

from connectors.durations import Duration, PositiveDuration
from connectors.guesses import did_you_mean
from kbsync.errors import BadConfiguration
from kbsync.settings.hook import AbsolutePath, Url, check_secret, read_secret
from kbsync.settings.section import Section
from state.event_kinds import EventKind

STALE = "source.stale"
"""The notification that is no event: a source was not read for longer than `stale`."""
EventName = EventKind | Literal["source.stale"]
KINDS = frozenset({*get_args(EventKind), STALE})
SECRET_PREFIX = "whsec_"
SHORTEST_SECRET, LONGEST_SECRET = 24, 64
"""Bytes of a symmetric key, as the Standard Webhooks specification wants them."""
NotificationName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")]


class NotificationSettings(Section):
    """A receiver of notifications, see [notifications.md](notifications.md)."""

    url: Url = Field(description="where notifications are sent with POST")
    secret_env: str | None = Field(
        None, description="environment variable that holds the signing secret, `whsec_…`"
    )
    secret_file: AbsolutePath | None = Field(
        None, description="file that holds the signing secret, `whsec_…`"
    )
    events: tuple[str, ...] = Field(
        (
            "run.awaiting_review",
            "run.rejected",
            "run.failed",
            "fact.quarantined",
            "source.unavailable",
            STALE,
            "check.failed",
        ),
        description="kinds of events that are sent, see [events.md](events.md); `source.stale` is sent as well",
    )
    stale: PositiveDuration = Field(
        timedelta(days=1), description="a source that was not read for longer than this is stale"
    )
    timeout: PositiveDuration = Field(timedelta(seconds=15), description="maximum duration of one request")
    backoff: Duration = Field(
        timedelta(seconds=5),
        description="wait after the first failure; doubled after each further one, up to 1h",
    )
    give_up: PositiveDuration = Field(
        timedelta(days=3), description="a notification that fails for longer is logged and left out"
    )

    @model_validator(mode="after")
    def _is_signed_and_knows_its_events(self) -> NotificationSettings:
        check_secret("secret", self.secret_env, self.secret_file)
        if self.secret_env is None and self.secret_file is None:
            raise ValueError("notifications are signed: give secret_env or secret_file")
        for kind in self.events:
            if kind not in KINDS:
                guess = did_you_mean(kind, KINDS)
                raise ValueError(f"events: {kind!r} is no kind of event; {guess}docs/events.md lists them")
        return self

    def keys(self, environment: Mapping[str, str] | None = None) -> tuple[bytes, ...]:
        """The signing keys, of which the first is the newest; raises BadConfiguration.

        Several secrets, separated by spaces, sign each notification while a secret is replaced.
        """
        text = read_secret(self.secret_env, self.secret_file, environment)
        assert text is not None  # the settings require one
        return tuple(_key(one, str(self.secret_file or self.secret_env)) for one in text.split())


def _key(secret: str, where: str) -> bytes:
    advice = "make one with: printf 'whsec_%s' \"$(openssl rand -base64 32)\""
    if not secret.startswith(SECRET_PREFIX):
        raise BadConfiguration(f"the secret in {where} does not start with {SECRET_PREFIX}", advice)
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except binascii.Error as error:
        raise BadConfiguration(f"the secret in {where} is not base64", advice) from error
    if not SHORTEST_SECRET <= len(key) <= LONGEST_SECRET:
        raise BadConfiguration(f"the secret in {where} has {len(key)} bytes, not 24 to 64", advice)
    return key
