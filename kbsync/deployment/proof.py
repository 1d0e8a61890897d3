"""What proves that a server serves a version: checksums, secret probes and canary facts.

The name that a server reports is the one that it was given, so a name alone proves nothing.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

import structlog

from editing.durable import write_file
from editing.errors import EditingError
from editing.secret_probes import SecretProbe, SecretProbes
from editing.storage.manifest import read_manifest
from kbsync.application import Application
from kbsync.deployment import canaries
from kbsync.deployment.asking import ask_probes, first_model
from kbsync.deployment.hooks import Endpoint, Hook, HookFailed, Placed, Version
from kbsync.deployment.http import Server, object_of
from kbsync.deployment.judgement import Said, Verdict, judge
from kbsync.deployment.patience import Patience
from kbsync.deployment.probe_sets import lot, passes, primed, subset
from kbsync.home import PRIVATE
from kbsync.private_keys import read_secret
from kbsync.settings.hook import HookSettings
from kbsync.visible import visible
from state.records import Checkpoint

log = structlog.get_logger()

T = TypeVar("T")
_GLANCE = 2
"""Probes that a server is asked between deploys."""
_LISTED = 3
_MARGIN_S = 60.0
_ADVICE = 'it is notified again; see "Served is what was judged" in docs/deploying.md'
_ELSE = "it serves something else than was judged"


class Unanswered(HookFailed):
    """The server answers, but not with the facts of the version that it was notified of."""


class ServesSomethingElse(HookFailed):
    """The server names another version, or its checksums or answers are not those of the version that was judged."""

    def __init__(self, what: str, message: str, advice: str = _ADVICE) -> None:
        """`what`: the version that it names, or a kind of `judgement.Verdict`."""
        super().__init__(message, advice)
        self.what = what


class DeploymentProof:
    """What one hook's server can be asked about one checkpoint."""

    def __init__(
        self, app: Application, patience: Patience, checkpoint: Checkpoint, settings: HookSettings, hook: Hook
    ) -> None:
        self.app = app
        self.patience = patience
        self.checkpoint = checkpoint
        self.settings = settings
        self.hook = hook
        self.version = Version.of(checkpoint, app.home.checkpoints)
        self.directory = app.home.built_in(checkpoint.run, checkpoint.path)
        self.pool = self._pool()
        """The checkpoint's secret probes; None if no server can be asked, or if the checkpoint has none."""
        self._order = lot(read_secret(app.home.secret), checkpoint.digest) if self.pool else None
        self.primed: tuple[SecretProbe, ...] = ()
        self._check = 0

    def _pool(self) -> SecretProbes | None:
        if self.settings.asks is None or not self.settings.probes:
            return None
        try:
            pool = SecretProbes.read(self.directory.secret_answers)
        except EditingError:
            return None  # built before there were any, or its run's directory was deleted
        return pool if pool.checkpoint == self.checkpoint.digest and pool.probes else None

    def prime(self) -> None:
        """Ask some probes before the weights are replaced, so that the server has their prefixes in its cache.

        A server that cannot be asked yet has nothing in its cache either.
        """
        if self.pool is None or self._order is None:
            return
        chosen = primed(self.pool, max(1, self.settings.probes // 4), self._next_check(), self._order)
        try:
            for place in self._places(None):
                self._said(chosen, place)
        except HookFailed as error:
            log.info("deploy.not_primed", reason=str(error))
            return
        self.primed = chosen

    def confirm(self, observed: str | None) -> str:
        """Ask for everything that proves the version; returns what was found, in words.

        `observed` is the name that the server reports.  Raises ServesSomethingElse, Unanswered, and HookFailed if
        nothing but the name could be asked of a server that names what it was given.
        """
        found = [*self._checksums(), *self._probes()]
        asked = self.facts()
        if asked.of:
            found.insert(0, str(asked))
        if not found and (observed is None or self.settings.proves):
            names = "names no version" if observed is None else "repeats the name that it was given"
            raise HookFailed(
                f"it {names} and no canary facts are asked, nor are there secret probes of this version",
                "set `canaries` above 0, or build again with `kbsync rebuild`",
            )
        return "; ".join(found) or "its version was read; nothing else was asked, so only its word says so"

    def glance(self) -> None:
        """Ask a few secret probes of a server that was deployed before; raises ServesSomethingElse."""
        for last in (False, True):
            chosen = self._chosen(_GLANCE)
            verdict = self._verdict(chosen) if chosen else None
            if verdict is None or verdict.ok:
                return
            if last:
                raise ServesSomethingElse(verdict.kind, f"{_ELSE} ({verdict.kind}): {verdict.detail}")

    def watch(self) -> None:
        """`glance`, or the canary facts of a version that has no secret probes; raises as they do."""
        if self.pool is None:
            self.facts()
        else:
            self.glance()

    def facts(self) -> canaries.CanaryResult:
        """Ask the canary facts; raises Unanswered if too few of them are answered."""
        settings = self.settings
        if settings.asks is None:
            return canaries.CanaryResult(0, 0, "")
        cases = canaries.questions_for(self.app, self.checkpoint, settings)
        total = canaries.CanaryResult(0, 0, "")
        for place in self._places(self.version):
            asked = self._wait(lambda _, at=place: canaries.ask(self._server(at.url), cases, at.model))  # type: ignore[misc]
            if asked.share < settings.canaries_share:
                raise Unanswered(f"{self._at(place)}{asked} ({settings.canaries_share:.0%} required)")
            total = total.and_of(asked)
        return total

    def _probes(self) -> list[str]:
        """The verdict on the secret probes, if there are any; raises ServesSomethingElse.

        A deviation counts if other probes show it too: replicas may take `settle` until all serve the version.
        """
        for last in (False, True):
            chosen = self._chosen(self.settings.probes)
            if not chosen:
                return []
            verdict = self._verdict(chosen, self.settings.probe_repeats)
            if verdict.ok:
                return [verdict.detail]
            if last:
                raise ServesSomethingElse(verdict.kind, f"{_ELSE} ({verdict.kind}): {verdict.detail}")
            log.info("deploy.asked_again", reason=verdict.detail)
            self._settle()
        raise AssertionError("the loop ends in its last turn")

    def _settle(self) -> None:
        """Wait as long as the server may take until it serves the version everywhere."""
        seconds, abandoned = self.settings.settle.total_seconds(), threading.Event()
        self.patience.wait(lambda: abandoned.wait(seconds), seconds + _MARGIN_S, abandoned)

    def _chosen(self, count: int) -> tuple[SecretProbe, ...]:
        """The probes of the next check; none if this version has none."""
        if self.pool is None or self._order is None:
            return ()
        return subset(self.pool, count, self._next_check(), self._order)

    def _verdict(self, probes: Sequence[SecretProbe], repeats: int = 1) -> Verdict:
        """Ask `probes`, and those that were asked before the weights changed, so many times, at every place; the
        verdict on the first place that answers otherwise, or on the last."""
        assert self.pool is not None
        assert self._order is not None
        asked = passes((*probes, *self.primed), repeats, self._check, self._order)
        primed_prompts = {probe.prompt for probe in self.primed}
        places = self._places(self.version)
        if not places:
            raise HookFailed(f"{self.version.id} answers nowhere")
        for place in places:
            said = self._said(asked, place)
            verdict = judge(said, self.pool, self.settings.precision, primed_prompts)
            if not verdict.ok:
                return replace(verdict, detail=f"{self._at(place)}{verdict.detail}")
        everywhere = f" on each of {len(places)} replicas" if len(places) > 1 else ""
        return replace(verdict, detail=f"{verdict.detail}{everywhere}")

    def _said(self, probes: Sequence[SecretProbe], place: Endpoint) -> list[Said]:
        server = self._server(place.url)

        def ask(abandoned: threading.Event) -> list[Said]:
            model = place.model or first_model(server)
            return ask_probes(server, model, probes, lambda: not abandoned.is_set())

        return self._wait(ask)

    def _places(self, version: Version | None) -> Sequence[Endpoint]:
        """Where the version answers; None: where clients' requests are answered now."""
        hook, settings = self.hook, self.settings
        if isinstance(hook, Placed):
            return self._wait(lambda _: hook.places(version))
        return () if settings.asks is None else (Endpoint(settings.asks, settings.served_model),)

    def _at(self, place: Endpoint) -> str:
        """Which replica a message is about, if there are several."""
        return f"{place.url}: " if isinstance(self.hook, Placed) else ""

    def _checksums(self) -> list[str]:
        """What was compared, if the server has such an interface; raises ServesSomethingElse."""
        if self.settings.checksums is None:
            return []
        url = self.settings.checksums
        found = self._wait(lambda _: object_of(self._server(url).get()))
        expected = read_manifest(self.app.home.checkpoint(self.checkpoint.path)).tensors
        missing = sorted(expected.keys() - found.keys())
        if not expected or missing:
            raise HookFailed(
                f"{url} has no checksum of {len(missing)} of {len(expected)} tensors: {_some(missing)}"
                if expected
                else "this version was built without checksums of its tensors",
                "it must list every tensor of editable.safetensors by its name there",
            )
        wrong = sorted(name for name, digest in expected.items() if found[name] != digest)
        if wrong:
            raise ServesSomethingElse(
                "checksums",
                f"{_ELSE}: {len(wrong)} of {len(expected)} tensors have other checksums, {_some(wrong)}",
            )
        return [f"{len(expected)} checksums of tensors match"]

    def _next_check(self) -> int:
        """The number of this check, counted from 0; every check of this version, on any server, has its own."""
        path = self.directory.secret_checks
        try:
            number = int(json.loads(path.read_bytes()))
        except (OSError, ValueError, TypeError):
            number = 0  # the first; or a damaged file, after which probes are asked again
        write_file(path, f"{number + 1}\n".encode(), mode=PRIVATE)
        self._check = number
        return number

    def _server(self, url: str) -> Server:
        return Server(url, self.settings.bearer(), self.settings.timeout.total_seconds())

    def _wait(self, call: Callable[[threading.Event], T]) -> T:
        abandoned = threading.Event()
        return self.patience.wait(lambda: call(abandoned), self.settings.timeout.total_seconds(), abandoned)


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"{', '.join(visible(name) for name in names[:_LISTED])}{more}"
