"""The watch over workers, with real processes that die, hang, lie and obey."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from editing.spec import SPEC_VERSION
from kbsync.announced import AnnouncedBase, ModelToImport
from kbsync.executor import LocalExecutor, Stopping, WorkerFailed
from kbsync.home import Home

READY = f'print(\'{{"event": "ready", "version": {SPEC_VERSION}, "pid": 1}}\', flush=True)'


def executor(tmp_path: Path, body: str, **settings: object) -> LocalExecutor:
    script = tmp_path / "worker.py"
    script.write_text(f"import json, os, signal, sys, time\n{body}\n", encoding="utf-8")
    return LocalExecutor(command=(sys.executable, str(script)), **settings)  # type: ignore[arg-type]


def failure(tmp_path: Path, body: str, **settings: object) -> WorkerFailed:
    with (
        executor(tmp_path, body, **settings).worker(tmp_path / "worker.log") as worker,
        pytest.raises(WorkerFailed) as caught,
    ):
        worker.execute(tmp_path / "spec.json")
    return caught.value


def test_a_killed_worker_is_recognised_and_worth_another_try(tmp_path: Path) -> None:
    found = failure(tmp_path, f"{READY}\nsys.stdin.readline()\nos.kill(os.getpid(), signal.SIGKILL)")
    assert (found.kind, found.retry) == ("killed", True)
    assert "SIGKILL" in str(found)


def test_a_silent_worker_is_hung_and_is_killed(tmp_path: Path) -> None:
    body = f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\n{READY}\ntime.sleep(600)"
    found = failure(tmp_path, body, heartbeat_timeout_s=1.0)
    assert (found.kind, found.retry) == ("hung", True)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_a_heartbeat_keeps_a_slow_worker_alive(tmp_path: Path) -> None:
    beat = 'print(json.dumps({"event": "heartbeat"}), flush=True)'
    body = f"{READY}\nfor _ in range(8):\n    time.sleep(0.3)\n    {beat}\nsys.exit(3)"
    found = failure(tmp_path, body, heartbeat_timeout_s=1.0)
    assert found.kind == "internal"
    assert "exit code 3" in str(found)


def test_another_version_is_refused_at_once(tmp_path: Path) -> None:
    found = failure(
        tmp_path,
        'print(json.dumps({"event": "ready", "version": 999, "pid": 1}), flush=True)\ntime.sleep(60)',
    )
    assert (found.kind, found.retry) == ("wrong_version", False)


def test_a_kind_of_failure_that_nobody_knows_is_an_internal_one(tmp_path: Path) -> None:
    event = json.dumps({"event": "error", "kind": "invented", "message": "odd", "retry": False})
    found = failure(tmp_path, f"{READY}\nsys.stdin.readline()\nprint({event!r}, flush=True)\ntime.sleep(60)")
    assert (found.kind, found.retry, str(found)) == ("internal", False, "odd")


@pytest.mark.parametrize(
    "body",
    [
        "raise SystemExit('no such module')",
        f"{READY}\nsys.stdin.readline()\nos.kill(os.getpid(), signal.SIGKILL)",
        'print(json.dumps({"event": "ready", "version": 999, "pid": 1}), flush=True)\ntime.sleep(60)',
        f"{READY}\nsys.stdin.readline()\n"
        'print(json.dumps({"event": "report", "path": "/nowhere/report.json"}), flush=True)\ntime.sleep(60)',
    ],
    ids=["internal", "killed", "wrong_version", "data"],
)
def test_the_advice_of_a_failure_names_the_log_that_there_is(tmp_path: Path, body: str) -> None:
    advice = failure(tmp_path, body).advice
    assert advice is not None
    assert str(tmp_path / "worker.log") in advice
    assert (tmp_path / "worker.log").is_file()


def test_where_nobody_knows_the_file_the_advice_names_the_log_of_the_home(tmp_path: Path) -> None:
    home = Home(tmp_path)
    advice = WorkerFailed("killed", "gone", retry=True).advice
    assert advice is not None
    assert str(home.worker_log.relative_to(tmp_path)) in advice


def test_an_error_that_the_worker_reports_is_passed_on(tmp_path: Path) -> None:
    told = json.dumps(
        {"event": "error", "kind": "out_of_memory", "message": "2 GB are missing", "retry": True}
    )
    found = failure(tmp_path, f"{READY}\nsys.stdin.readline()\nprint({told!r}, flush=True)\ntime.sleep(60)")
    assert (found.kind, found.retry, str(found)) == ("out_of_memory", True, "2 GB are missing")


def test_a_worker_that_cannot_start_is_no_reason_to_wait(tmp_path: Path) -> None:
    found = failure(tmp_path, "raise SystemExit('no such module')", heartbeat_timeout_s=3_600.0)
    assert found.kind == "internal"


def test_unreadable_lines_are_skipped(tmp_path: Path) -> None:
    found = failure(tmp_path, f"{READY}\nprint('a library prints this', flush=True)\nsys.exit(4)")
    assert "exit code 4" in str(found)


def test_a_stop_ends_the_worker_within_the_stop_timeout(tmp_path: Path) -> None:
    stopping = threading.Event()
    threading.Timer(0.5, stopping.set).start()
    stubborn = f"signal.signal(signal.SIGTERM, signal.SIG_IGN)\n{READY}\nwhile True: time.sleep(0.1)"
    with (
        executor(tmp_path, stubborn, stopping=stopping, stop_timeout_s=1.0).worker(
            tmp_path / "log"
        ) as worker,
        pytest.raises(Stopping),
    ):
        worker.execute(tmp_path / "spec.json")


def test_what_the_worker_writes_to_stderr_is_kept(tmp_path: Path) -> None:
    failure(tmp_path, "print('a traceback', file=sys.stderr, flush=True)\nsys.exit(1)")
    assert "a traceback" in (tmp_path / "worker.log").read_text()


ANSWERS = """
heard = open(HEARD, "a", buffering=1)
print(os.getpid(), file=heard)
READY
for line in sys.stdin:
    heard.write(line)
    if "spec" in json.loads(line):
        print(json.dumps({"event": "error", "kind": "data", "message": "answered", "retry": False}), flush=True)
"""
"""The body of a worker that writes down its process id and every line it is given, and answers specs only."""


def answering(tmp_path: Path) -> tuple[LocalExecutor, Path]:
    heard = tmp_path / "heard"
    return executor(tmp_path, ANSWERS.replace("HEARD", repr(str(heard))).replace("READY", READY)), heard


def test_a_worker_that_was_announced_a_spec_executes_it(tmp_path: Path) -> None:
    answers, heard = answering(tmp_path)
    with answers.worker(tmp_path / "log") as worker:
        worker.prepare(AnnouncedBase(Path("/base"), "abc", None))
        worker.prepare(None)
        with pytest.raises(WorkerFailed, match="answered"):
            worker.execute(tmp_path / "spec.json")
    pid, load, spec = heard.read_text().splitlines()
    assert pid.isdigit()
    assert json.loads(load) == {"load": {"base": "/base", "digest": "abc", "device": None}}
    assert json.loads(spec) == {"spec": str(tmp_path / "spec.json")}


def test_an_announced_worker_that_died_is_replaced(tmp_path: Path) -> None:
    answers, heard = answering(tmp_path)
    with answers.worker(tmp_path / "log") as worker:
        worker.prepare(None)
        while not heard.exists() or len(heard.read_text().splitlines()) < 2:
            time.sleep(0.01)
        pid = int(heard.read_text().splitlines()[0])
        os.kill(pid, signal.SIGKILL)
        while Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z":
            time.sleep(0.01)
        with pytest.raises(WorkerFailed, match="answered"):
            worker.execute(tmp_path / "spec.json")
    assert len({line for line in heard.read_text().splitlines() if line.isdigit()}) == 2


def test_a_worker_that_was_never_given_a_spec_ends_with_the_block_however_stubborn(tmp_path: Path) -> None:
    heard = tmp_path / "heard"
    body = (
        f"signal.signal(signal.SIGTERM, signal.SIG_IGN)\nopen({str(heard)!r}, 'w').write(str(os.getpid()))\n"
        "while True: time.sleep(0.1)"
    )
    with executor(tmp_path, body, stop_timeout_s=3600.0).worker(tmp_path / "log") as worker:
        worker.prepare(None)
        while not heard.exists() or not heard.read_text():
            time.sleep(0.01)
    with pytest.raises(ProcessLookupError):
        os.kill(int(heard.read_text()), 0)


def test_a_worker_that_cannot_be_announced_a_spec_fails_at_the_spec(tmp_path: Path) -> None:
    with LocalExecutor(command=(str(tmp_path / "nowhere"),)).worker(tmp_path / "log") as worker:
        worker.prepare(None)
        with pytest.raises(WorkerFailed, match="no worker could be started"):
            worker.execute(tmp_path / "spec.json")


IMPORTS = """
heard = open(HEARD, "a", buffering=1)
READY
for line in sys.stdin:
    heard.write(line)
    if "import" in json.loads(line):
        for event in ({"event": "heartbeat"}, {"event": "imported", "digest": DIGEST}):
            print(json.dumps(event), flush=True)
    else:
        print(json.dumps({"event": "error", "kind": "data", "message": "answered", "retry": False}), flush=True)
"""
"""The body of a worker that answers imports with DIGEST and specs with an error."""

MODEL = ModelToImport(Path("/model"), Path("/base"), {"architecture_blocks": "h"}, "cpu")


def importing(tmp_path: Path, digest: str | None) -> tuple[LocalExecutor, Path]:
    heard = tmp_path / "heard"
    body = IMPORTS.replace("HEARD", repr(str(heard))).replace("READY", READY)
    return executor(tmp_path, body.replace("DIGEST", repr(digest))), heard


def test_a_worker_imports_a_base_once_whether_or_not_that_was_announced(tmp_path: Path) -> None:
    imports, heard = importing(tmp_path, "abc")
    with imports.worker(tmp_path / "log") as worker:
        worker.prepare(MODEL)
        assert worker.import_base(MODEL) == "abc"
    with imports.worker(tmp_path / "log") as worker:
        assert worker.import_base(MODEL) == "abc"
    message = {
        "source": "/model",
        "root": "/base",
        "architecture": {"architecture_blocks": "h"},
        "device": "cpu",
    }
    assert [json.loads(line) for line in heard.read_text().splitlines()] == 2 * [{"import": message}]


def test_an_import_that_nobody_waited_for_does_not_disturb_the_next_spec(tmp_path: Path) -> None:
    imports, _ = importing(tmp_path, None)
    with imports.worker(tmp_path / "log") as worker:
        worker.prepare(MODEL)
        with pytest.raises(WorkerFailed, match="answered"):
            worker.execute(tmp_path / "spec.json")


@pytest.mark.parametrize("body", ["", f"{READY}\nsys.stdin.readline()\nos.kill(os.getpid(), signal.SIGKILL)"])
def test_a_worker_that_dies_imports_no_base_and_neither_does_one_that_cannot(
    tmp_path: Path, body: str
) -> None:
    imports = executor(tmp_path, body) if body else importing(tmp_path, None)[0]
    with imports.worker(tmp_path / "log") as worker:
        assert worker.import_base(MODEL) is None


def test_a_daemon_that_is_asked_to_stop_does_not_wait_for_an_import(tmp_path: Path) -> None:
    stopping = threading.Event()
    body = f"{READY}\nsys.stdin.readline()\ntime.sleep(600)"
    waits = executor(tmp_path, body, stopping=stopping, idle=stopping.set)
    with waits.worker(tmp_path / "log") as worker, pytest.raises(Stopping):
        worker.import_base(MODEL)
