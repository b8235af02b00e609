"""A checkpoint is all a device needs: without a network, a database or Django it serves and learns on.

server ──checkpoint──> file ──> device: board, learn, gather ──> file ──> server, later: each event at its own time
"""

import json
import subprocess
import sys
from dataclasses import replace

from recommender.core.pipeline import Pipeline
from tests.streams import HOUR, MINUTE, SMALL, T0, Stream, readers

# What runs on the device: about 220 MB at its peak, most of it NumPy's and Numba's compiler.
DEVICE = """
import json, resource, sys

FORBIDDEN = ("django", "celery", "redis", "psycopg", "kombu", "rest_framework")
for name in FORBIDDEN:
    sys.modules[name] = None  # importing it raises

def refuse(event, arguments):
    if event.startswith("socket."):
        raise RuntimeError(f"{event} on a device without a network")

sys.addaudithook(refuse)
from pathlib import Path

from recommender.core.pipeline import Pipeline

checkpoint, local, gathered = map(Path, sys.argv[1:])
pipeline = Pipeline.from_bytes(checkpoint.read_bytes())
before = pipeline.board(20).items
columns = json.loads(local.read_text())
for start in range(0, len(columns["actors"]), 50):
    part = {name: column[start : start + 50] for name, column in columns.items()}
    pipeline.step(pipeline.encode(**part))
gathered.write_text(json.dumps({"occurred_ms": columns["received_ms"], **{
    name: columns[name] for name in ("actors", "items")}}))
print(json.dumps({
    "before": before,
    "after": pipeline.board(20).items,
    "digest": pipeline.digest(),
    "peak_kb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    "foreign": [name for name in sys.modules if name.partition(".")[0] in FORBIDDEN and sys.modules[name]],
}))
"""
AT_MS = T0 + 2 * HOUR


def village(n=400):
    """What the device's own readers do while it is away, from AT_MS on."""
    stream = Stream()
    for number in range(n):
        item = "well-runs-dry" if number % 3 else f"item-{number % 9}"
        stream.add(AT_MS + number * MINUTE // 10, f"villager-{number}", item)
    return stream


def columns_of(stream):
    received, _, actors, items, _, _ = zip(*stream.rows, strict=True)
    return {"received_ms": received, "actors": actors, "items": items}


def counts(pipeline):
    return {
        (half, name): int(n)
        for half in range(2)
        for name, n in zip(pipeline.trend.names, pipeline.trend.counts(half), strict=True)
        if n
    }


def device(tmp_path, pipeline, local):
    """Runs one; what it said, and the file of what it gathered."""
    files = [tmp_path / name for name in ("checkpoint", "local.json", "gathered.json")]
    files[0].write_bytes(pipeline.to_bytes())
    files[1].write_text(json.dumps(columns_of(local)))
    done = subprocess.run(
        [sys.executable, "-c", DEVICE, *map(str, files)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), files[2]


def served():
    """A pipeline after two hours of a small site's readers."""
    pipeline = Pipeline(SMALL)
    pipeline.step(readers().batch(pipeline))
    return pipeline


def test_a_device_serves_and_learns_from_a_file_with_no_network_at_all(tmp_path):
    pipeline = served()
    said, _ = device(tmp_path, pipeline, village())
    assert said["foreign"] == []
    assert said["before"] == pipeline.board(20).items
    assert said["after"][0] == "well-runs-dry"
    at_home, part = Pipeline.from_bytes(pipeline.to_bytes()), village()
    for start in range(0, len(part.rows), 50):
        at_home.step(part.batch(at_home, start, start + 50))
    assert said["digest"] == at_home.digest()
    print(f"peak memory of the device: {said['peak_kb'] / 1024:.0f} MB")  # noqa: T201 - stated, not asserted


def test_what_a_device_gathered_counts_at_its_own_time_when_it_is_sent_later(tmp_path):
    _, gathered = device(tmp_path, served(), village())
    sent = json.loads(gathered.read_text())
    late_ms = max(sent["occurred_ms"]) + 2 * HOUR  # within lateness_s
    late, in_time = served(), served()
    late.step(late.encode(received_ms=[late_ms] * len(sent["actors"]), **sent))
    in_time.step(village().batch(in_time))
    marker = {"received_ms": [late_ms], "actors": ["ana"], "items": ["item-1"]}
    for pipeline in (late, in_time):  # both at one stream time
        pipeline.step(pipeline.encode(**marker))
    assert counts(late) == counts(in_time)
    too_late = Pipeline(replace(SMALL, lateness_s=60))
    too_late.step(readers().batch(too_late))
    too_late.step(too_late.encode(received_ms=[late_ms] * len(sent["actors"]), **sent))
    too_late.step(too_late.encode(**marker))
    assert counts(too_late) != counts(in_time)  # the claim is bounded
