"""What of a Ray cluster a build uses.  Free of Ray and torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ClusterPlan:
    """What of a cluster is used, and how long is waited for it."""

    address: str | None = None
    """Of the cluster's head, `HOST:PORT`, or `auto`: the cluster of this node; None: a cluster of this machine, for as
    long as this process lives."""
    workers: int = 2
    """Actors, each with the base in memory."""
    cpus: float = 1.0
    """CPUs of each actor."""
    devices: float = 0.0
    """GPUs of each actor."""
    storage: str | None = None
    """URL of an object store that all nodes use, such as `s3://bucket/prefix`; None: they share a file system."""
    base: str | None = None
    """Directory on the nodes that has the imported base; None: it is fetched from `storage`."""
    least: int = 128
    """Fewest facts, or key groups, for which a share of questions, or of keys, is worth its preparation."""
    connect_s: float = 120.0
    """How long connecting to the head may take."""
    start_s: float = 600.0
    """How long a build waits while no actor at all is running."""
