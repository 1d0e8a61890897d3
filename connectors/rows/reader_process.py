"""The process that reads one RDF or Parquet file: `python -m connectors.rows.reader_process`.

stdin is one line of JSON, the request, then the bytes of the file.  stdout is the lines of
`connectors.rows.row_lines`.  The process limits its own memory, time and files before it reads a byte of
the file, and it writes no core dump.
"""

from __future__ import annotations

import math
import resource
import sys

from connectors.border import decode_json
from connectors.errors import ConnectorError
from connectors.rows.parsed_files import ParseRequest, parsed_rows
from connectors.rows.row_lines import end_line, refusal_line, row_line

_MAX_LOG = 2**16
"""Bytes that the process may write to a file, which is its stderr."""


def main() -> None:
    """Read the file that stdin holds, and write its rows to stdout."""
    asked = decode_json(sys.stdin.buffer.readline(), "the request")
    limit_self(asked.pop("max_memory"), asked.pop("max_seconds"))
    data, out, number = sys.stdin.buffer.read(), sys.stdout.buffer, 0
    try:
        for line, row in parsed_rows(ParseRequest(**asked), data):
            out.write(row_line(line, row))
            number += 1
        out.write(end_line(number))
    except ConnectorError as error:
        out.write(refusal_line(error))
    out.flush()


def limit_self(memory: int, seconds: int) -> None:
    """Limit this process.  The processor time also ends it when its parent was killed."""
    limit_time(seconds)
    for what, most in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_FSIZE, _MAX_LOG),
        (resource.RLIMIT_CORE, 0),
    ):
        _set_limit(what, most)


def limit_time(seconds: int) -> None:
    """Limit this process to `seconds` of processor time from now on."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _set_limit(resource.RLIMIT_CPU, math.ceil(used.ru_utime + used.ru_stime) + seconds)


def _set_limit(what: int, most: int) -> None:
    _, hard = resource.getrlimit(what)
    resource.setrlimit(what, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


if __name__ == "__main__":
    main()
