"""Grow a learner with many actors and write its checkpoints, to be measured.

    python -m recommender.lab.bench.grown_learner grow ACTORS ITEMS SEED    python -m ... restore

`state_growth` runs it. It needs DATABASE_URL of an empty database, and prints one line of JSON. `grow` makes the
learner from a generated stream, without the log. Then it writes two checkpoints as the learner does, with traffic
between and during them. `restore` reads the last one in a process that has nothing else.
"""

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import django
from django.conf import settings

from recommender.core import memory

READERS = 500  # events a second while checkpoints are written and between them
BETWEEN = 10_000  # events between the two checkpoints
STEP = 8192


def pss_mib(pids: list[int]) -> float:
    """Return the memory of processes, with what they share counted once."""
    total = 0
    for pid in pids:
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended
        total += sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))
    return total / 1024


def peak_mib() -> float:
    """Return the most resident memory that this process ever had."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def grow(n_actors: int, n_items: int, seed: int) -> dict[str, Any]:
    """Grow a learner, write two checkpoints, and return the figures."""
    import celery  # noqa: F401, PLC0415 - a worker has it in memory

    from recommender.lab.bench.grown_site import GrownSite  # noqa: PLC0415 - needs Django
    from recommender.learning import learner, warm_pipeline  # noqa: PLC0415

    row = learner.get_learner(0)
    warm = warm_pipeline.restore(row)
    warm.pipeline.ranker.prepare()
    site = GrownSite(n_actors, n_items, rate=n_actors / 4000, seed=seed)
    began_at = trim_at = time.monotonic()
    for batch in site.batches(STEP):
        if time.monotonic() >= trim_at:  # as the learner does with each checkpoint
            memory.trim()
            trim_at = time.monotonic() + settings.CHECKPOINT_EVERY_S
        warm.pipeline.step(warm.pipeline.encode(**batch))
        warm.step += 1
        if site.is_grown:
            break
    figures: dict[str, Any] = {"n_events": site.n_events, "grow_s": time.monotonic() - began_at}
    figures |= {"quiet_mib": pss_mib([os.getpid()]), "peak_mib": peak_mib()}
    _write(warm, row, site, figures, "first")
    n_events = 0
    for batch in site.batches(READERS, rate=READERS):
        warm.pipeline.step(warm.pipeline.encode(**batch))
        warm.step += 1
        n_events += READERS
        if n_events >= BETWEEN:
            break
    _write(warm, row, site, figures, "second")
    checkpoint = row.checkpoint
    assert checkpoint is not None
    figures |= {"n_bytes": checkpoint.n_bytes, "n_pieces": len(checkpoint.pieces or ())}
    figures |= {"share_unchanged": checkpoint.share_unchanged, "digest": checkpoint.digest}
    return figures


def _write(warm: Any, row: Any, site: Any, figures: dict[str, Any], which: str) -> None:
    """Write a checkpoint, while events come in at their rate."""
    from recommender.learning import active_checkpoint  # noqa: PLC0415 - needs Django

    while warm.pipeline.is_fitting:  # the learner too would begin later
        time.sleep(0.05)
    began_at, cpu_s = time.monotonic(), _cpu_of_children_s()
    active_checkpoint.begin(warm, row)
    paused_s = time.monotonic() - began_at
    pids = [os.getpid(), *([warm.snapshot.writing.pid] if warm.snapshot and warm.snapshot.writing else [])]
    most_mib, due_at = 0.0, time.monotonic()
    for batch in site.batches(READERS // 5, rate=READERS):
        if warm.snapshot is None:
            break
        warm.pipeline.step(warm.pipeline.encode(**batch))
        warm.step += 1
        most_mib = max(most_mib, pss_mib(pids))
        due_at += 0.2
        time.sleep(max(0.0, due_at - time.monotonic()))
        finishing_at = time.monotonic()
        active_checkpoint.finish(warm, row)
        if warm.snapshot is None:
            paused_s = max(paused_s, time.monotonic() - finishing_at)
    row.refresh_from_db()
    if row.checkpoint_error:
        raise RuntimeError(row.checkpoint_error)
    figures |= {f"{which}_s": time.monotonic() - began_at, f"{which}_cpu_s": _cpu_of_children_s() - cpu_s}
    figures |= {f"{which}_pause_s": paused_s, f"{which}_mib": most_mib}


def _cpu_of_children_s() -> float:
    """Return the processor time of the processes that were forked and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def restore() -> dict[str, Any]:
    """Read the learner's checkpoint, and return the figures."""
    from recommender.learning.checkpoints.state_reader import load_pipeline  # noqa: PLC0415 - needs Django
    from recommender.models import Learner  # noqa: PLC0415

    checkpoint = Learner.objects.select_related("checkpoint").get(shard=0).checkpoint
    assert checkpoint is not None
    began_at, cpu_s = time.monotonic(), time.process_time()
    pipeline = load_pipeline(checkpoint)
    restore_s, cpu_s = time.monotonic() - began_at, time.process_time() - cpu_s
    figures = {
        "restore_s": restore_s,
        "restore_cpu_s": cpu_s,
        "restore_peak_mib": peak_mib(),
        "restored_mib": pss_mib([os.getpid()]),
    }
    return figures | {"is_same": pipeline.digest() == checkpoint.digest}


def main(arguments: list[str]) -> None:
    django.setup()
    if arguments[0] == "restore":
        figures = restore()
    else:
        subprocess.run([sys.executable, "-m", "django", "migrate", "-v", "0"], check=True)
        figures = grow(*map(int, arguments[1:4]))
    sys.stdout.write(json.dumps(figures) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
