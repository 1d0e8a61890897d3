"""`python -m tests.support.scripted_process HOLD`: the scripted worker as a process of its own.

It speaks the real worker's protocol on stdin and stdout.  While the file HOLD exists it works on its
spec without end and gives signs of life, so that a test decides how long a build takes.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from editing.spec import SPEC_VERSION, BuildSpec
from tests.support.scripted import Scripted


def emit(event: str, **values: object) -> None:
    print(json.dumps({"event": event, **values}), flush=True)


def main(hold: Path) -> None:
    emit("ready", version=SPEC_VERSION, pid=os.getpid())
    worker = Scripted()
    for line in sys.stdin:
        message = json.loads(line)
        if "load" in message:
            continue  # a spec is announced; there is nothing to load
        if "import" in message:
            emit("imported", digest=None)
            continue
        spec = Path(message["spec"])
        emit("progress", phase="targets", done=0, total=1)
        while hold.exists() and BuildSpec.read(spec).mode in ("build", "judge"):
            time.sleep(0.05)
            emit("progress", phase="targets", done=0, total=1)
        worker.execute(spec)
        emit("report", path=str(spec.with_name("report.json")))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
