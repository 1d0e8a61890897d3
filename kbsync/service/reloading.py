"""Run the daemon with the settings of now, and with others once SIGHUP has brought some that work."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable

import structlog

from connectors.errors import ConnectorError
from editing.errors import EditingError
from kbsync.application import Application
from kbsync.errors import KbsyncError
from kbsync.home import Home
from kbsync.service.daemon import Daemon, Pages
from kbsync.settings.sections import Settings
from state.errors import StateError

log = structlog.get_logger()


def run(home: Home, read: Callable[[], Settings], pages: Pages) -> None:
    """Run the daemon until it is asked to stop; `read` gives the settings, again at each SIGHUP.

    With settings that were accepted and still do not let it start, as when another program has the new port, it
    goes on with the old ones.  Raises what `Daemon.run` raises.
    """
    # One event each for all daemons: a signal that comes while one follows another is not lost.
    hung_up, stopping = threading.Event(), threading.Event()
    signal.signal(signal.SIGHUP, lambda *_: hung_up.set())
    settings: Settings | None = read()
    before: Settings | None = None
    while settings is not None and not stopping.is_set():
        daemon = None
        try:
            with Application(home, settings, stopping=stopping) as app:
                daemon = Daemon(app, read, pages, hung_up)
                found = daemon.run()
        except (KbsyncError, StateError, ConnectorError, EditingError, OSError) as error:
            if before is None or (daemon is not None and daemon.started):
                raise
            log.error("settings.refused", reason=str(error), advice=getattr(error, "advice", None))
            settings, before = before, None
        else:
            settings, before = found, settings
