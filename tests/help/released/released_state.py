"""Read the states of a released version, from `tests/fixtures/state_VERSION`.

    manifest.json          versions, operations, digests, where each state begins, the newest migrations of then
    states.xz              the bytes of states, one after the other
    core_events.jsonl.xz   the stream of the core's runs: the names of the columns, then a row an event
    rows/<table>.jsonl.xz  a table of the database: a JSON object a row

`make_released_state` writes such a folder, and nothing ever changes one. Commit b6685f3 wrote the first, which has
scripts and a reader of its own. Rows are put into a database that has the tables of then. Then the migrations since
run over them, as in an upgrade (`released_database`).
"""

import json
import lzma
from collections.abc import Iterator, Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from django.db import connection, transaction

from recommender.core.decisions import DecidedEvents
from recommender.core.events import EventBatch, country_code
from recommender.core.pipeline import Pipeline
from recommender.core.vocabulary import Kind, Ruling

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
_MIGRATIONS_OF_B6685F3 = {"recommender": "0011_trial", "monitoring": "0007_queue"}

Row = dict[str, Any]

# A procedure may commit as often as it likes, and takes a transaction id each time.
_TAKE_IDS = """
CREATE OR REPLACE PROCEDURE pg_temp.take_ids() LANGUAGE plpgsql AS $$
BEGIN
    WHILE pg_current_xact_id()::text::bigint <= %s LOOP
        COMMIT;
    END LOOP;
END $$
"""


class ReleasedState:
    """One folder of released states."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = folder.name.removeprefix("state_")

    def __repr__(self) -> str:
        return self.name

    @cached_property
    def manifest(self) -> Row:
        noted: Row = json.loads((self.folder / "manifest.json").read_text())
        return noted

    @property
    def fold_version(self) -> int:
        return int(self.manifest.get("fold_version", 1))

    @property
    def migrations(self) -> dict[str, str]:
        """Return the newest migration of each app when the rows were written."""
        return dict(self.manifest.get("migrations", _MIGRATIONS_OF_B6685F3))

    @property
    def secret_key(self) -> str:
        return str(self.manifest["database"]["secret_key"])

    def state(self, name: str) -> bytes:
        """Return the bytes of a state."""
        start, n_bytes = self.manifest["states"][name]
        return _unpacked(self.folder / "states.xz")[start : start + n_bytes]

    # -- the core ----------------------------------------------------------------------------------------------------

    def runs(self) -> list[Row]:
        """Return the core's runs: name, config, digests by operation, states kept."""
        return list(self.manifest["core"]["runs"])

    def apply(self, operation: Row, pipeline: Pipeline) -> None:
        """Apply an operation of a run: a step with its decisions, or an actor forgotten."""
        if operation.get("forgotten"):
            pipeline.forget(pipeline.encoder.key(operation["forgotten"]))
            return
        decided = [
            DecidedEvents(Ruling[name], self.batch_of(pipeline, rows)) for name, rows in operation.get("decided", ())
        ]
        pipeline.step(self.batch_of(pipeline, range(operation["first"], operation["end"])), decided)

    def operations(self) -> list[Row]:
        return list(self.manifest["core"]["operations"])

    def batch_of(self, pipeline: Pipeline, rows: Sequence[int]) -> EventBatch:
        """Return rows of the core's stream as this Pipeline takes them."""
        names, *stream = _lines(self.folder / "core_events.jsonl.xz")
        columns = {name: [stream[row][place] for row in rows] for place, name in enumerate(names)}
        return pipeline.encode(
            received_ms=columns["received_ms"],
            occurred_ms=columns["occurred_ms"],
            actors=columns["actor"],
            items=columns["item"],
            kind=[Kind[name.upper()] for name in columns["kind"]],
            country=[country_code(name or "") for name in columns["country"]],
            sessions=columns["session"],
            ips=columns["ip"],
            user_agents=columns["user_agent"],
            referrers=columns["referrer"],
        )

    # -- the database ------------------------------------------------------------------------------------------------

    def rows_of(self, table: str) -> Iterator[Row]:
        """Yield the rows of a table as they were."""
        for row in _lines(self.folder / "rows" / f"{table}.jsonl.xz"):
            name = f"database-{row.get('id')}"
            is_apart = table == "recommender_checkpoint" and name in self.manifest["states"]
            yield row | {"data": f"\\x{self.state(name).hex()}"} if is_apart else row

    def load_rows(self) -> None:
        """Put every row into the present database.

        Its tables must be those of then, and empty.

        1. Make the log's partitions of those days.
        2. Take transaction ids until the server is past those of the log. Later versions recognise another server.
        3. Insert the columns that each row names, in one transaction.
        4. Let the sequences go on after the rows.
        """
        noted = self.manifest["database"]
        with connection.cursor() as cursor:
            for day in noted["days"]:
                _make_partition(cursor, day)
            if "recommender_log_origin" not in noted["tables"]:
                cursor.execute(_TAKE_IDS, [noted["newest_xid"]])
                cursor.execute("CALL pg_temp.take_ids()")
        with transaction.atomic(), connection.cursor() as cursor:
            for table in noted["tables"]:
                rows = list(self.rows_of(table))
                cursor.execute(f"SELECT EXISTS (SELECT FROM {table})")
                if cursor.fetchone()[0]:  # a migration filled it
                    cursor.execute(f"DELETE FROM {table}")
                if rows:
                    names = ", ".join(f'"{name}"' for name in rows[0])
                    cursor.execute(
                        f"INSERT INTO {table} ({names}) OVERRIDING SYSTEM VALUE"
                        f" SELECT {names} FROM jsonb_populate_recordset(NULL::{table}, %s::jsonb)",
                        [json.dumps(rows)],
                    )
            for sequence, table, column in noted["sequences"]:
                cursor.execute(f"SELECT setval(%s, greatest((SELECT max({column}) FROM {table}), 1))", [sequence])


def released_states() -> list[ReleasedState]:
    """Return the states of every released version, oldest first."""
    found = [ReleasedState(each) for each in FIXTURES.glob("state_*") if (each / "manifest.json").exists()]
    return sorted(found, key=lambda each: (each.fold_version, _numbers(each.name)))


def _numbers(version: str) -> list[int]:
    parts = version.split(".")
    return [int(part) for part in parts] if all(part.isdecimal() for part in parts) else []  # b6685f3 comes first


def _make_partition(cursor: Any, day: str) -> None:
    """Make the log's partition of a day, as every version did."""
    cursor.execute(
        f"CREATE TABLE IF NOT EXISTS recommender_event_{day.replace('-', '')} PARTITION OF recommender_event"
        f" FOR VALUES FROM ('{day} 00:00+00') TO (date '{day}' + 1)"
    )


@cache
def _unpacked(path: Path) -> bytes:
    return lzma.decompress(path.read_bytes())


@cache
def _lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in _unpacked(path).decode().splitlines()]
