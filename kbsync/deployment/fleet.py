"""A server with replicas that load checkpoints: all are notified, all are observed, and a laggard is named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from kbsync.deployment.hooks import Call, Endpoint, Hook, LoadFailed, Version
from kbsync.deployment.replicas import each, failure, named, replicas_of
from kbsync.settings.servers import ServerSettings


class Fleet:
    """Replicas, each behind a hook of its own that `replica` makes from its base URL."""

    def __init__(self, settings: ServerSettings, call: Call, replica: Callable[[str], Hook]) -> None:
        self.settings = settings
        self.call = call
        self.replica = replica

    def deploy(self, version: Version) -> None:
        self._all(lambda hook: hook.deploy(version))

    def rollback(self, version: Version) -> None:
        self._all(lambda hook: hook.rollback(version))

    def observed_version(self) -> str | None:
        """The version that all replicas report; those that report another than most are named."""
        replicas = self._replicas()
        seen, errors = each(replicas, lambda url: self.replica(url).observed_version())
        versions = Counter(seen.values())
        if len(versions) > 1:
            (most, _), *_ = versions.most_common(1)
            late = [url for url, version in seen.items() if version != most]
            others = sorted({str(version) for version in versions if version != most})
            return (
                f"laggards: {named(late)} of {len(replicas)} replicas report {', '.join(others)}, not {most}"
            )
        if errors:
            raise failure(errors, len(replicas))
        return next(iter(seen.values()))

    def places(self, version: Version | None) -> Sequence[Endpoint]:
        return tuple(Endpoint(url, self.settings.served_model) for url in self._replicas())

    def _all(self, notify: Callable[[Hook], None]) -> None:
        """Notify all; raises LoadFailed if the weights of one are in doubt, HookFailed if one failed otherwise."""
        replicas = self._replicas()
        _, errors = each(replicas, lambda url: notify(self.replica(url)))
        doubtful = {url: error for url, error in errors.items() if isinstance(error, LoadFailed)}
        if doubtful or errors:
            raise failure(doubtful or errors, len(replicas))

    def _replicas(self) -> tuple[str, ...]:
        return replicas_of(self.settings, self.call.timeout_s)
