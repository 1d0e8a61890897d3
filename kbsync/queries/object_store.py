"""Whether the object store of `[executor.ray] storage` can work, and whether it does."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from editing.cluster.objects import Objects
from editing.errors import ClusterError, SpecError
from kbsync.settings.operation import ExecutorSettings

WITHIN = timedelta(seconds=10)
"""How long a request is repeated before the store counts as unreachable."""


def storage_problems(executor: ExecutorSettings) -> Iterator[tuple[str, str, str]]:
    """(setting, problem, advice) of what cannot work; nothing is contacted."""
    ray = executor.ray
    if ray.storage is None:
        if ray.base is not None:
            yield (
                "[executor.ray] base",
                "it is used only with an object store",
                "set `storage`, or remove `base`: on a common file system, nodes read the home's base",
            )
        return
    if executor.kind != "ray":
        yield (
            "[executor.ray] storage",
            "builds do not run on Ray",
            'set [executor] kind = "ray", or remove it',
        )
    try:
        Objects(ray.storage)
    except SpecError as error:
        yield "[executor.ray] storage", str(error), "see docs/cluster.md"


def unreachable(url: str) -> str:
    """Why an object cannot be written, read, listed and removed there; empty if it can."""
    try:
        Objects(url, WITHIN).check()
    except (ClusterError, SpecError) as error:
        return str(error)
    return ""
