"""A PostgreSQL server of our own, from the binaries that come with `pgserver`."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from unittest import mock

import pytest

PATIENCE_S = 300
"""A busy machine may take minutes to start a server; pgserver itself waits ten seconds."""


@contextmanager
def running_postgres(kept: Path | None = None) -> Iterator[str]:
    """URL of a running, empty server; it ends with its data when the block does.

    `kept`: a directory for the data, which is left, and which another call finds again.

    The data lies in a folder of its own directly in the system's temporary folder: pytest's takes away,
    whenever another run begins, the right to pass through it that a server under another user needs, and
    a socket's name may have 107 characters.
    """
    pgserver = pytest.importorskip("pgserver", reason="install pgserver (the dev extra) for PostgreSQL tests")
    from pgserver import postgres_server

    folder = kept or Path(tempfile.mkdtemp(prefix="kbsync-pg-"))
    patient = partial(_patiently, postgres_server.pg_ctl)
    try:
        with (
            mock.patch.object(postgres_server, "pg_ctl", patient),
            mock.patch.dict(os.environ, {"PGCTLTIMEOUT": str(PATIENCE_S)}),
        ):
            server = pgserver.get_server(folder / "data", cleanup_mode="stop")
            try:
                yield server.get_uri()
            finally:
                server.cleanup()
    finally:
        if kept is None:
            shutil.rmtree(folder, ignore_errors=True)


def _patiently(pg_ctl, *args, **more):  # type: ignore[no-untyped-def]
    return pg_ctl(*args, **{**more, "timeout": PATIENCE_S})
