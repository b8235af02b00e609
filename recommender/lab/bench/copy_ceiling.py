"""Ceiling of ingest: the same batches by bare binary COPY into the same database.

Each batch is committed. The table has the log's columns of texts, times and keys. It has no index, no partition, and
no check for an event seen before. The number of connections is that of the measure. The bytes are made beforehand, so
that only PostgreSQL is measured.
"""

import threading
import time
from datetime import UTC, datetime

import psycopg
from django.db import connection

from recommender.lab.bench import event_stream

OF = "binary COPY, same batches and connections, no index, no check for duplicates"

_COLUMNS = (
    "event_key bytea, bucket int2, kind int2, actor text, item text, occurred_at timestamptz, session text, ip text,"
    " user_agent text, referrer text, country text, is_crawler bool, actor_key int8, item_key int8, session_key int8,"
    " network int8, agent int8, referrer_key int8"
)
_TYPES = tuple(column.split()[1] for column in _COLUMNS.split(", "))
_AGENT = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/141.0.0.0 Safari/537.36"
_SOME_KEY = 2**62
_CONTEXT = ("10.1.2.3", _AGENT, "https://search.example/", "DE")
_COPY_IN = "COPY bench_copy FROM STDIN (FORMAT binary)"


def rows_per_s(batch: int, *, connections: int, seconds: float, seed: int) -> float:
    """Return the rows committed per second."""
    opened = [_connect() for _ in range(connections)]
    try:
        opened[0].execute(f"CREATE TABLE bench_copy ({_COLUMNS})")
        content = _content(opened[0], batch, seed)
        began_at = time.perf_counter()
        counts = [0] * connections
        threads = [
            threading.Thread(target=_copy, args=(each, content, began_at + seconds, counts, number))
            for number, each in enumerate(opened)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return batch * sum(counts) / (time.perf_counter() - began_at)
    finally:
        opened[0].execute("DROP TABLE IF EXISTS bench_copy")
        for each in opened:
            each.close()


def _connect() -> psycopg.Connection:
    """Open a connection with Django's settings. Each statement is a transaction."""
    parameters = connection.get_connection_params()
    names = ("dbname", "user", "password", "host", "port", "options")
    return psycopg.connect(**{name: parameters[name] for name in names if name in parameters}, autocommit=True)


def _content(opened: psycopg.Connection, batch: int, seed: int) -> bytes:
    """Return a batch as PostgreSQL itself writes it."""
    made = event_stream.columns(batch, seed=seed)
    now = datetime.now(UTC)
    with opened.cursor() as cursor:
        with cursor.copy(_COPY_IN) as copy:
            copy.set_types(_TYPES)
            for row, (actor, item) in enumerate(zip(made.actor.tolist(), made.item.tolist(), strict=True)):
                ids = (row.to_bytes(16, "big"), actor % 64, 2, f"a00000000-{actor}", f"item-{item}")
                keys = (_SOME_KEY + actor, _SOME_KEY + item, _SOME_KEY + actor, *(_SOME_KEY,) * 3)
                copy.write_row((*ids, now, f"s{actor}", *_CONTEXT, False, *keys))
        with cursor.copy("COPY bench_copy TO STDOUT (FORMAT binary)") as copy:
            content = b"".join(bytes(block) for block in copy)
        cursor.execute("TRUNCATE bench_copy")
    return content


def _copy(opened: psycopg.Connection, content: bytes, stop_at: float, counts: list[int], number: int) -> None:
    with opened.cursor() as cursor:
        while time.perf_counter() < stop_at:
            with cursor.copy(_COPY_IN) as copy:
                copy.write(content)
            counts[number] += 1
