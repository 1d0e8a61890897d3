"""The command line on a small kbsync, and the model-signing tool itself."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
from pathlib import Path

from kbsync.cli import main
from tests.support.micro import Micro


def kbsync(micro: Micro, *arguments: object) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(["--home", str(micro.home.root), *map(str, arguments)])
            code: object = 0
        except SystemExit as ended:
            code = ended.code
    return int(code or 0), out.getvalue(), err.getvalue()  # type: ignore[call-overload]


def public_key(micro: Micro, file: Path, name: str = "") -> Path:
    """The public half of a key (default: the one that signs), in a file."""
    code, out, err = kbsync(micro, "keys", "show", *([name] if name else []), "--for", "models")
    assert code == 0, err
    file.write_text(out)
    return file


def model_signing(directory: Path, key: Path) -> subprocess.CompletedProcess[str]:
    """What `model_signing verify key` says of a directory with its signature."""
    command = [sys.executable, "-m", "model_signing", "verify", "key", str(directory)]
    command += ["--signature", str(directory / "model.sig"), "--public_key", str(key)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)
