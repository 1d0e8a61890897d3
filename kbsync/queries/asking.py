"""Ask the models a prompt from a process that serves: in a process of its own, which ends with the answer."""

from __future__ import annotations

import multiprocessing
import threading
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from kbsync.application import Application
from kbsync.errors import KbsyncError, TryLater
from kbsync.home import Home
from kbsync.queries.answers import Answer, answers
from kbsync.settings.sections import Settings

DEADLINE_S = 300.0
_ONE = threading.Lock()


def answered_elsewhere(app: Application, prompt: str) -> Answer:
    """What the base and live answer; the models are loaded in another process, so that this one stays small.

    Raises TryLater while another prompt is answered, and if the answer takes longer than `DEADLINE_S`.
    """
    if not _ONE.acquire(blocking=False):
        raise TryLater("another prompt is being answered", "ask again in a moment")
    try:
        return _answered(app, prompt)
    finally:
        _ONE.release()


def _answered(app: Application, prompt: str) -> Answer:
    pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
    try:
        return pool.submit(_answer, app.home, app.settings, prompt).result(DEADLINE_S)
    except TimeoutError as error:
        raise TryLater(
            f"the models did not answer within {DEADLINE_S:.0f} seconds", "ask on the command line"
        ) from error
    except BrokenProcessPool as error:
        raise KbsyncError(
            "the process that loads the models ended unexpectedly", "it may have run out of memory"
        ) from error
    finally:
        for process in list((pool._processes or {}).values()):
            process.terminate()
        pool.shutdown(wait=False, cancel_futures=True)


def _answer(home: Home, settings: Settings, prompt: str) -> Answer:
    """In the other process."""
    with Application(home, settings) as app:
        return answers(app, [prompt])[0]
