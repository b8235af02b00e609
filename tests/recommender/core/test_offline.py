"""Test that a device needs only a checkpoint to serve and to learn on.

server ──checkpoint──> file ──> device: board, recommend, learn ──> file ──> server, later: each event at its own time

It needs no network, no database and no Django.
"""

import json
import subprocess
import sys
from dataclasses import replace

from recommender.core.config import small_config
from recommender.core.pipeline import Pipeline
from tests.help.patience import PATIENCE_S
from tests.help.streams import HOUR, MINUTE, SMALL, T0, Stream, readers

# The program of the device. Its peak is about 220 MB, most of it for NumPy and Numba's compiler.
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

def recommended(actor, *recent):
    found = pipeline.recommend(actor, recent)
    return [pipeline.trend.names[row] for row in found.rows[:10].tolist()]

asked = [["villager-1"], ["reader-7"], ["stranger", "item-3"]]
recommended_before = [recommended(*each) for each in asked]
columns = json.loads(local.read_text())
for start in range(0, len(columns["actors"]), 50):
    part = {name: column[start : start + 50] for name, column in columns.items()}
    pipeline.step(pipeline.encode(**part))
gathered.write_text(json.dumps({"occurred_ms": columns["received_ms"], **{
    name: columns[name] for name in ("actors", "items")}}))
print(json.dumps({
    "before": before,
    "after": pipeline.board(20).items,
    "recommended": {"before": recommended_before, "after": [recommended(*each) for each in asked]},
    "digest": pipeline.digest(),
    "peak_kb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    "foreign": [name for name in sys.modules if name.partition(".")[0] in FORBIDDEN and sys.modules[name]],
}))
"""
AT_MS = T0 + 2 * HOUR
FOR_DEVICES = small_config()


def village(n=400):
    """Return the acts of the device's own readers while it is away, from AT_MS on."""
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
    """Run a device, and return its output and the file of events it gathered."""
    files = [tmp_path / name for name in ("checkpoint", "local.json", "gathered.json")]
    files[0].write_bytes(pipeline.to_bytes())
    files[1].write_text(json.dumps(columns_of(local)))
    done = subprocess.run(
        [sys.executable, "-c", DEVICE, *map(str, files)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), files[2]


def recommended(pipeline, actor, *recent):
    return [pipeline.trend.names[row] for row in pipeline.recommend(actor, recent).rows[:10].tolist()]


def served():
    """Return a Pipeline after two hours of a small site's readers."""
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


ASKED = (["villager-1"], ["reader-7"], ["stranger", "item-3"])


def test_a_device_recommends_what_the_server_would_before_and_after_it_learned(tmp_path):
    pipeline, paths = Pipeline(FOR_DEVICES), Stream()
    for number in range(1200):  # readers who follow a path of items
        for step in range(3):
            item = f"item-{(number * 7 + step) % 40}"
            paths.add(T0 + number * 5_000 + step * 1_000, f"reader-{number % 500}", item)
    pipeline.step(paths.batch(pipeline))
    said, _ = device(tmp_path, pipeline, village())
    assert said["recommended"]["before"] == [recommended(pipeline, *each) for each in ASKED]
    home, part = Pipeline.from_bytes(pipeline.to_bytes()), village()
    for start in range(0, len(part.rows), 50):
        home.step(part.batch(home, start, start + 50))
    assert said["recommended"]["after"] == [recommended(home, *each) for each in ASKED]
    assert said["digest"] == home.digest()
    stranger = ASKED[2]
    assert "item-4" in recommended(pipeline, *stranger)[:3]  # readers of item-3 went on to it
    assert said["recommended"]["before"] != said["recommended"]["after"]
    assert "well-runs-dry" not in said["recommended"]["after"][0]  # the villager has read it


def test_a_device_holds_no_more_than_its_bounds(tmp_path):
    pipeline, stream = Pipeline(FOR_DEVICES), Stream()
    for number in range(30_000):
        stream.add(T0 + number * 100, f"reader-{number % 20_000}", f"item-{number * 7 % 5_000}")
    for start in range(0, len(stream.rows), 5_000):
        pipeline.step(stream.batch(pipeline, start, start + 5_000))
    sizes = {name: len(getattr(pipeline.trend, name)) for name in ("items", "pairs", "actors")}
    bounds = {name: getattr(FOR_DEVICES, f"max_{name}") for name in sizes}
    assert all(sizes[name] <= bounds[name] for name in sizes), (sizes, bounds)
    assert len(pipeline.affinity.histories) <= FOR_DEVICES.affinity.max_histories
    assert len(pipeline.affinity.links) <= FOR_DEVICES.affinity.max_links
    n_bytes = len(pipeline.to_bytes())
    assert n_bytes < 12e6
    print(f"checkpoint of {sizes}: {n_bytes / 1e6:.1f} MB")  # noqa: T201 - stated, not asserted


def test_what_a_device_gathered_counts_at_its_own_time_when_it_is_sent_later(tmp_path):
    _, gathered = device(tmp_path, served(), village())
    sent = json.loads(gathered.read_text())
    late_ms = max(sent["occurred_ms"]) + 2 * HOUR  # still within lateness_s
    late, in_time = served(), served()
    late.step(late.encode(received_ms=[late_ms] * len(sent["actors"]), **sent))
    in_time.step(village().batch(in_time))
    marker = {"received_ms": [late_ms], "actors": ["ana"], "items": ["item-1"]}
    for pipeline in (late, in_time):  # both at the same stream time
        pipeline.step(pipeline.encode(**marker))
    assert counts(late) == counts(in_time)
    too_late = Pipeline(replace(SMALL, lateness_s=60))
    too_late.step(readers().batch(too_late))
    too_late.step(too_late.encode(received_ms=[late_ms] * len(sent["actors"]), **sent))
    too_late.step(too_late.encode(**marker))
    assert counts(too_late) != counts(in_time)  # the claimed time is bounded
