"""Connecting to a Ray cluster, or starting one on this machine, and noticing that its head is gone."""

from __future__ import annotations

import socket
import time

import ray

from editing.cluster.objects import first_line
from editing.cluster.plan import ClusterPlan
from editing.cluster.watchdog import Watchdog
from editing.errors import ClusterError, SpecError
from editing.worker.protocol import Channel

STARTS = 5
"""Attempts to start a cluster on this machine: Ray gives itself half a minute for it, which a busy one may exceed."""
START_S = 300.0
"""How long one of them may take."""
REACH_S = 10.0
"""How long a TCP connection to the head may take."""
HEAD_S = 30.0
"""How long the head may be unreachable.  Shorter than Ray's own minute, after which Ray ends the process unasked."""
_EVERY_S = 2.0
RESUMES = "what was finished is in the cache, and the next attempt resumes from there"


class Connection:
    """This process' connection to a cluster."""

    def __init__(self, channel: Channel, plan: ClusterPlan, watchdog: Watchdog) -> None:
        self._channel, self._plan, self._watchdog = channel, plan, watchdog
        self._head: tuple[str, int] | None = None
        self._looked = self._seen = 0.0

    def open(self) -> None:
        """Connect, if that has not happened yet.  Raises ClusterError, or SpecError for an address of another kind."""
        if ray.is_initialized():
            return
        if self._plan.address:
            self._join(self._plan.address)
        else:
            self._begin()
        self._head = host_and_port(ray.get_runtime_context().gcs_address)
        self._looked = self._seen = time.monotonic()

    def check(self) -> None:
        """Give up if the head has not been reachable for `HEAD_S` seconds; looks every few seconds."""
        now = time.monotonic()
        if self._head is None or now - self._looked < _EVERY_S:
            return
        self._looked = now
        if is_reachable(self._head, timeout=_EVERY_S):
            self._seen = now
        elif now - self._seen > HEAD_S:
            host, port = self._head
            self._watchdog.give_up(
                f"the head of the Ray cluster at {host}:{port} has not answered for {HEAD_S:.0f} s: start it again; "
                + RESUMES
            )

    def _join(self, address: str) -> None:
        if address != "auto":
            head = host_and_port(address)
            if not is_reachable(head, timeout=REACH_S):
                raise ClusterError(
                    f"no Ray cluster at {address}: nothing accepts a connection there; check [executor.ray] address, "
                    "and that the head is running (ray status)"
                )
        seconds = self._plan.connect_s
        with self._watchdog.within(
            seconds,
            f"no Ray cluster at {address}: it accepts connections, but did not answer as a head of Ray "
            f"{ray.__version__} within {seconds:.0f} s; check the port (ray start --head --port) and the versions",
        ):
            try:
                ray.init(address=address, configure_logging=False)
            except Exception as error:
                raise ClusterError(
                    f"no Ray cluster at {address}: {first_line(error)}; this machine has to be a node of it "
                    f"(ray start --address={address} --num-cpus=0), and where the cluster wants a token, RAY_AUTH_MODE "
                    "and RAY_AUTH_TOKEN_PATH have to be set (docs/cluster.md)"
                ) from error

    def _begin(self) -> None:
        cpus = max(1, round(self._plan.workers * self._plan.cpus))
        for attempt in range(STARTS):
            self._channel.progress("cluster", attempt, STARTS)
            late = f"Ray did not start on this machine within {START_S:.0f} s: its logs are in /tmp/ray/session_latest"
            try:
                with self._watchdog.within(START_S, late):
                    ray.init(num_cpus=cpus, include_dashboard=False, configure_logging=False)
                return
            except Exception as error:
                with self._watchdog.within(START_S, late):
                    ray.shutdown()
                failure = ClusterError(f"Ray did not start on this machine: {first_line(error)}")
                if attempt + 1 == STARTS:
                    raise failure from error
                self._channel.log(str(failure), attempt=attempt + 1)


def host_and_port(address: str) -> tuple[str, int]:
    """`HOST:PORT`; raises SpecError for anything else."""
    host, colon, port = address.rpartition(":")
    if not (colon and host and port.isascii() and port.isdecimal()) or "/" in host:
        raise SpecError(
            f"{address!r} is not the address of a Ray head: write HOST:PORT, such as head.example.org:6379, or auto on "
            "a node of the cluster"
        )
    return host.strip("[]"), int(port)


def is_reachable(head: tuple[str, int], *, timeout: float) -> bool:
    """Whether something accepts TCP connections there."""
    try:
        with socket.create_connection(head, timeout=timeout):
            return True
    except OSError:
        return False
