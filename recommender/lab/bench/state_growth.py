"""Memory and time of a learner with a million actors.

    a throw-away PostgreSQL ──> `grown_learner grow`, then `grown_learner restore`, each a process of its own ──> rows

The learner gets no event through the log, so that growing it takes minutes and not an hour. All else is the product's
own: the fork, the pieces, the row, the restore. Memory is the proportional set size of the learner and of the process
that it forks. The database does not wait for its disk.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from django.conf import settings

from recommender.lab.bench.results import BenchRow
from recommender.lab.bench.running_system import CannotMeasure

N_ACTORS, N_ITEMS = 1_000_000, 100_000
BUDGET_MIB, BUDGET_S, BUDGET_PAUSE_S = 1024.0, 10.0, 0.1
_MODULE = "recommender.lab.bench.grown_learner"


def measure(*, n_actors: int = N_ACTORS, n_items: int = N_ITEMS, seed: int) -> Iterator[BenchRow]:
    """Yield the rows. It takes about three minutes for a million actors."""
    if sys.platform != "linux":
        raise CannotMeasure("growth reads the memory of processes from /proc, so it needs Linux")
    run = f'"{sys.executable}" -m {_MODULE}'
    command = f"{run} grow {n_actors} {n_items} {seed} && {run} restore"
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-m", "config.supervisor", "exec", "--", "sh", "-c", command],
        cwd=settings.BASE_DIR,
        env={
            name: value
            for name, value in os.environ.items()
            if name not in ("DATABASE_URL", "BROKER_URL", "VIEW_URL")
        }
        | {"DJANGO_SETTINGS_MODULE": "config.settings", "LOG_LEVEL": "WARNING"},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    said = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or len(said) != 2:
        raise CannotMeasure("the learner that was grown ended early. The lines above show the reason.")
    yield from _rows(f"growth, {n_actors:,} actors", said[0] | said[1], is_budgeted=n_actors <= N_ACTORS)


def _rows(name: str, said: dict[str, Any], *, is_budgeted: bool) -> Iterator[BenchRow]:
    def row(what: str, value: float, unit: str, budget: float | None = None, note: str = "") -> BenchRow:
        most = budget if is_budgeted else None
        return BenchRow(measure=f"{name}: {what}", value=value, unit=unit, budget=most, is_most=True, note=note)

    grown = f"{said['n_events']:,} events in {said['grow_s']:.0f} s"
    yield row("memory in use", said["quiet_mib"], "MiB", BUDGET_MIB, grown)
    yield row("most memory while it grew", said["peak_mib"], "MiB", BUDGET_MIB)
    most = max(said["first_mib"], said["second_mib"])
    yield row("most memory with a checkpoint", most, "MiB", BUDGET_MIB, "of the learner and the forked process")
    yield row("first checkpoint", said["first_s"], "s", BUDGET_S, _cpu(said["first_cpu_s"]))
    yield row("next checkpoint", said["second_s"], "s", BUDGET_S, _cpu(said["second_cpu_s"]))
    yield row("learner's pause", max(said["first_pause_s"], said["second_pause_s"]), "s", BUDGET_PAUSE_S)
    yield row("bytes of a checkpoint", said["n_bytes"] / 2**20, "MiB", None, f"{said['n_pieces']:,} pieces")
    yield row("share unchanged", said["share_unchanged"], "", None, "after 10,000 events")
    digest = "to the same digest" if said["is_same"] else "to ANOTHER digest"
    yield row("restore", said["restore_s"], "s", BUDGET_S, f"{_cpu(said['restore_cpu_s'])}, {digest}")
    yield row("most memory of a restore", said["restore_peak_mib"], "MiB", BUDGET_MIB)


def _cpu(seconds: float) -> str:
    return f"{seconds:.1f} s of processor time"
