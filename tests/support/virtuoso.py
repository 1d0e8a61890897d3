"""A Virtuoso of our own: started in an empty folder, filled through its SQL shell."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.support.sparql_server import free_port, wait_until_up
from tests.support.wikibase_world import World

BINARY, SHELL = "virtuoso-t", "isql-vt"
GRAPH = "http://world.example/"
_CONFIGURATION = """
[Database]
DatabaseFile = {folder}/virtuoso.db
ErrorLogFile = {folder}/virtuoso.log
LockFile = {folder}/virtuoso.lck
TransactionFile = {folder}/virtuoso.trx
xa_persistent_file = {folder}/virtuoso.pxa
[TempDatabase]
DatabaseFile = {folder}/temp.db
TransactionFile = {folder}/temp.trx
[Parameters]
ServerPort = 127.0.0.1:{sql_port}
DirsAllowed = {folder}
NumberOfBuffers = 4000
MaxDirtyBuffers = 3000
[HTTPServer]
ServerPort = 127.0.0.1:{http_port}
ServerThreads = 5
[SPARQL]
ResultSetMaxRows = {max_rows}
"""


def installed() -> bool:
    return all(shutil.which(program) for program in (BINARY, SHELL))


class Virtuoso:
    """A running server; `serve` replaces the world's graph, system graphs stay."""

    def __init__(self, folder: Path, max_rows: int = 10_000) -> None:
        self._folder = folder
        self._sql_port, http_port = free_port(), free_port()
        configuration = folder / "virtuoso.ini"
        ports = {"sql_port": self._sql_port, "http_port": http_port}
        configuration.write_text(_CONFIGURATION.format(folder=folder, max_rows=max_rows, **ports))
        self._process = subprocess.Popen(
            [BINARY, "-f", "+configfile", str(configuration)], stderr=subprocess.DEVNULL, cwd=folder
        )
        self.endpoint = f"http://127.0.0.1:{http_port}/sparql"
        wait_until_up(f"http://127.0.0.1:{http_port}/", self._process, seconds=90)

    def serve(self, world: World) -> None:
        turtle = self._folder / "world.ttl"
        turtle.write_text(world.turtle(), encoding="utf-8")
        self._run(f"SPARQL CLEAR GRAPH <{GRAPH}>;")
        self._run(f"DB.DBA.TTLP(file_to_string_output('{turtle}'), '', '{GRAPH}', 0);")

    def _run(self, statement: str) -> None:
        shell = [SHELL, f"127.0.0.1:{self._sql_port}", "dba", "dba", "ERRORS=STDOUT", f"EXEC={statement}"]
        done = subprocess.run(shell, capture_output=True, text=True, check=True)
        if "*** Error" in done.stdout:
            raise RuntimeError(f"{statement}: {done.stdout}")

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(60)
