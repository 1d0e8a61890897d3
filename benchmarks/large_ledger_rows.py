"""A PostgreSQL ledger of millions of slots for `benchmarks/large_ledger.py`, made by the server itself.

Each table is one `INSERT … SELECT` over `generate_series`; indexes are made afterwards.  A fifth of the slots has had
another value before, a tenth is read from a second source, and one fact in a thousand is held, one is in quarantine.
The log has two events for each former value and no other, and the hashes of its events are no chain: what is measured
here finds rows, and does not verify them.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.schema import CreateIndex

from state.tables import LedgerTable

BASE = "b" * 64
INDEXED = ("slots", "observations", "readings", "facts", "events")
RELATIONS = 5
"""Slots of a subject."""
FORMER = 5
"""Every so many slots, one has had another value before."""
SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "max_wal_size": "'4GB'",
    "maintenance_work_mem": "'1GB'",
}
"""Of the server, while rows are made."""
_SUBJECT = f"'wd:Q' || (((i - 1) / {RELATIONS})::bigint * 7919 % 100000007)"
_RELATION = f"'wdt:P' || ((i - 1) % {RELATIONS})"
_TEMPLATE = f"'The value ' || ((i - 1) % {RELATIONS}) || ' of {{}} is'"
_SOURCE = "CASE WHEN i % 10 = 0 THEN 'crm' ELSE 'wikidata' END"
_STATUS = "CASE i % 1000 WHEN 1 THEN 'held' WHEN 2 THEN 'quarantined' ELSE 'wanted' END"
_DAY = "timestamptz '2024-01-01' + (i % 365) * interval '1 day'"
_FORMER_DAY = "timestamptz '2023-01-01' + (i % 365) * interval '1 day'"
_STATEMENTS = (
    """'[{"id":"' || %s || '-%s","kind":"entity","object":"wd:Q' || %s"""
    """ || '","rank":"normal","references":2}]'"""
)


def _hash(text: str) -> str:
    return f"encode(sha256(convert_to({text}, 'UTF8')), 'hex')"


def _fact(first: str, version: int, status: str, day: str, of: str) -> str:
    """Facts of the slots `of`; the number of the first fact is one more than `first`."""
    subject = f"'Label of ' || {_SUBJECT}"
    held = f"CASE WHEN {status} = 'held' THEN timestamptz '2030-01-01' END"
    code = "superseded" if status == "'superseded'" else "settled"
    return f"""
INSERT INTO facts (id, key, slot, subject_label, object, target, template, prompt_key, status, reason, reason_code,
    source, revision, statement, held_until, priority, decision, decided, created, updated, since)
SELECT {first}, {_hash(f"i || '/{version}'")}, i, {subject}, 'wd:Q' || (i * 13 + {version}) % 200000,
    'Value ' || (i * 13 + {version}) % 200000, {_TEMPLATE}, {_hash(f"{_RELATION} || {subject}")}, {status},
    'its reference has stood for two days', '{code}', {_SOURCE}, i * 2 + {version}, {_SUBJECT} || '-{version}',
    {held}, 0, NULL, NULL, {day}, {day}, {day}
FROM {of}"""


def _events(first: str, kind: str, fact: str, day: str, of: str) -> str:
    """An event about each fact of the slots `of`."""
    key = _hash("i || '/1'")
    body = (
        f"""'{{"from":null,"key":"' || {key} || '","reason":"its reference has stood for two days","revision":' || i"""
        f""" || ',"source":"wikidata","statement":"' || {_SUBJECT} || '-1","target":"Value ' || i % 200000 || """
        f"""'","to":"{kind.partition(".")[2]}"}}'"""
    )
    rows = f"""'{{"facts":{{"' || {fact} || '":"' || substr({_hash("i::text")}, 1, 32) || '"}}}}'"""
    at = f"""to_char({day}, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""
    return f"""
INSERT INTO events (seq, at, kind, actor, run, fact, body, previous, hash, rows, salt, seal_salt)
SELECT {first}, {at}, '{kind}', 'admission', NULL, {fact}, {body}, {_hash(f"({first} - 1)::text")},
    {_hash(f"({first})::text")}, {rows}, md5(i::text), md5((i + 1)::text)
FROM {of}"""


def statements(slots: int) -> dict[str, str]:
    """What fills each table, in the order of the references between them."""
    former = slots // FORMER
    every = f"generate_series(1, {slots}) AS i"
    those = f"generate_series({FORMER}, {slots}, {FORMER}) AS i"
    old = f"i / {FORMER}"
    subjects = (
        f"(SELECT j * {RELATIONS} + 1 AS i FROM generate_series(0, {(slots - 1) // RELATIONS}) AS j) AS s"
    )
    return {
        "entities": f"""
INSERT INTO entities SELECT {_SUBJECT}, 'Label of ' || {_SUBJECT}, '[]', NULL FROM {subjects} ORDER BY 1""",
        "slots": f"""
INSERT INTO slots (id, subject, relation, subject_label, template, prompt_key)
SELECT i, {_SUBJECT}, {_RELATION}, 'Label of ' || {_SUBJECT}, {_TEMPLATE},
    {_hash(f"{_RELATION} || 'Label of ' || {_SUBJECT}")} FROM {every}""",
        "observations, replaced": f"""
INSERT INTO observations (id, source, slot, revision, modified, observed, statements)
SELECT {old}, {_SOURCE}, i, i * 2, {_FORMER_DAY}, {_FORMER_DAY}, {_STATEMENTS % (_SUBJECT, 0, "i % 200000")}
FROM {those}""",
        "observations": f"""
INSERT INTO observations (id, source, slot, revision, modified, observed, statements)
SELECT {former} + i, {_SOURCE}, i, i * 2 + 1, {_DAY}, {_DAY}, {_STATEMENTS % (_SUBJECT, 1, "i % 200000")}
FROM {every}""",
        "readings": f"""
INSERT INTO readings (id, source, slot, revision, observation)
SELECT i, {_SOURCE}, i, i * 2 + 1, {former} + i FROM {every}""",
        "facts, superseded": _fact(old, 0, "'superseded'", _FORMER_DAY, those),
        "facts": _fact(f"{former} + i", 1, _STATUS, _DAY, every),
        "base_answers": f"""
INSERT INTO base_answers (base, fact, known, answer)
SELECT '{BASE}', {former} + i, i % 100 = 0, 'something else.' FROM {every} WHERE {_STATUS} = 'wanted'""",
        "events, wanted": _events(old, "fact.wanted", old, _FORMER_DAY, those),
        "events, superseded": _events(f"{former} + {old}", "fact.superseded", old, _DAY, those),
        "subtrees": f"""
INSERT INTO subtrees SELECT h, n, {_hash("h || '/' || n")}
FROM generate_series(1, 3) AS h, LATERAL generate_series(0, 2 * {former} / (256 ^ h)::bigint - 1) AS n""",
    }


def fill(url: str, slots: int, done: Path) -> dict[str, float]:
    """Fills a migrated ledger; gives the seconds that each table and each index took.

    `done`: a file that says which there are, so that an interrupted filling goes on.
    """
    seconds: dict[str, float] = json.loads(done.read_bytes()) if done.exists() else {}
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:

        def run(name: str, statement: str) -> None:
            if name in seconds:
                return
            begun = time.perf_counter()
            connection.exec_driver_sql(statement.replace("%", "%%"))
            seconds[name] = round(time.perf_counter() - begun, 1)
            done.write_text(json.dumps(seconds))
            print(f"{name}: {seconds[name]} s", flush=True)

        for name, value in SETTINGS.items():
            connection.exec_driver_sql(f"ALTER SYSTEM SET {name} = {value}")
        connection.exec_driver_sql("SELECT pg_reload_conf()")
        connection.exec_driver_sql("SET session_replication_role = replica")  # no triggers, no foreign keys
        indexes = [index for name in INDEXED for index in LedgerTable.metadata.tables[name].indexes]
        for index in indexes:
            if str(index.name) not in seconds:
                connection.exec_driver_sql(f"DROP INDEX IF EXISTS {index.name}")
        for name, statement in statements(slots).items():
            run(name, statement)
        for index in indexes:
            run(str(index.name), str(CreateIndex(index).compile(dialect=engine.dialect)))
        run("VACUUM ANALYZE", "VACUUM ANALYZE")
        connection.exec_driver_sql("ALTER SYSTEM RESET ALL")
        connection.exec_driver_sql("SELECT pg_reload_conf()")
    engine.dispose()
    return seconds
