"""δ of every key group: read from the cache, or optimised in batches and stored as soon as it is finished.

A group whose optimisation fails loses only its own facts.  If most of many groups fail, the cause is in the
settings or the machine, and the build ends with the error.
"""

from __future__ import annotations

from collections.abc import Sequence

from editing.editors.contract import fail_requests
from editing.errors import EditingError, OutOfMemory
from editing.memit.cost import batch_share
from editing.memit.deltas import Delta
from editing.memit.groups import Group
from editing.memit.preparation import Job
from editing.memit.targets import Optimisation
from editing.model.memory import in_batches
from editing.progress import Progress, silent
from editing.requests import EditRequest

MANY = 4
"""Minimum number of groups for which failures of more than `MOST` of them indicate a common cause."""
MOST = 0.75


def is_systematic(failing: int, of: int) -> bool:
    """Whether this many failures among this many groups have a common cause."""
    return of >= MANY and failing > MOST * of


class Targets:
    """The optimisations of one build."""

    def __init__(self, job: Job, progress: Progress = silent) -> None:
        self.job, self.progress = job, progress
        self.deltas: dict[str, Delta] = {}
        self.errors: dict[str, EditingError] = {}
        """Content key → why that group has no δ."""

    def of(self, groups: Sequence[Group]) -> tuple[list[Group], dict[str, Delta]]:
        """(the groups that have a δ, ordered by key; content key → δ).

        The facts of a group that has none are then tried one by one: those that also fail alone are reported to
        `job.failed`, and the others form a group again.  Without `job.failed`, the first error is raised.
        """
        self._optimise(groups)
        broken = [group for group in groups if group.key in self.errors]
        self._raise_if_common(broken, groups)
        found = [group for group in groups if group.key in self.deltas]
        for group in broken:
            found += self._apart(group)
        return sorted(found, key=lambda group: group.key), self.deltas

    def _optimise(self, groups: Sequence[Group]) -> None:
        work, store = self.job.work, self.job.store
        self.deltas |= store.get_all([group.key for group in groups])
        missing = [group for group in groups if group.key not in self.deltas]
        cached = len(self.deltas)

        def done(group: Group, delta: Delta) -> None:
            store.put(group.key, delta)
            self.deltas[group.key] = delta

        def lost(group: Group, error: EditingError) -> None:
            self.errors[group.key] = error

        def run(batch: Sequence[Group]) -> None:
            left = [g for g in batch if g.key not in self.deltas and g.key not in self.errors]
            before = len(self.deltas) - cached

            def progress(phase: str, finished: int, of: int) -> None:
                self.progress(phase, before + finished, len(missing))

            optimisation = Optimisation(
                work.model, work.parts, left, self.job.inputs.settings, self.job.layer
            )
            optimisation.run(done, lost, progress)

        share = batch_share(work.model, work.parts, self.job.layer, work.steps, work.bare_steps)
        in_batches(missing, share, 1.0, run, too_large=lost)

    def _raise_if_common(self, broken: Sequence[Group], groups: Sequence[Group]) -> None:
        """Raise the error if single failures are not reported, or if they have a common cause.

        If no group at all fits in memory, the machine is the cause, and another attempt may succeed.
        """
        if not broken:
            return
        first = self.errors[broken[0].key]
        out_of_memory = all(isinstance(self.errors[group.key], OutOfMemory) for group in broken)
        if (
            self.job.failed is None
            or is_systematic(len(broken), len(groups))
            or (out_of_memory and len(broken) == len(groups))
        ):
            raise first

    def _apart(self, group: Group) -> list[Group]:
        """Split a group that has no δ: the facts that can be optimised alone form a group again."""
        facts: dict[tuple[str, str], list[EditRequest]] = {}
        for request in group.requests:
            facts.setdefault((request.rendered, request.target), []).append(request)
        good = [] if len(facts) > 1 else list(group.requests)
        for alone in facts.values() if len(facts) > 1 else ():
            single = self.job.group_of(alone)
            if self._has_delta(single):
                good += alone
            else:
                fail_requests(self.job.failed, (one.id for one in alone), self.errors[single.key])
        if good and len(good) < len(group.requests):
            rest = self.job.group_of(good)
            if self._has_delta(rest):
                return [rest]
        # Alone or not, together they have none.
        fail_requests(self.job.failed, (one.id for one in good), self.errors[group.key])
        return []

    def _has_delta(self, group: Group) -> bool:
        self._optimise([group])
        return group.key in self.deltas
