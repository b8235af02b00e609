"""Time from sending an event until GET /trending shows it, under load.

The load is half of the load that ingest must sustain. A marker is an item that no one has seen. It is sent as one
request at a random moment, with as many actors as it takes to enter the list. The clock runs from before the request
until an answer contains the marker. Polling adds up to POLL_S.

The markers are crowds of newcomers on a cold item. The screen would hold them, and trust would give them a twentieth
of the weight. So both are off (`SETTINGS`), on a server of its own.
"""

import itertools
import math
import time
from collections.abc import Iterator

import numpy as np

from recommender.lab.bench.http_load import Load
from recommender.lab.bench.ingest_rate import BATCH, BUDGET_SUSTAINED, warm_up
from recommender.lab.bench.results import BenchRow, percentile
from recommender.lab.bench.running_system import CannotMeasure, Rig
from recommender.lab.client import Client

SETTINGS = {"SCREEN": "false", "TRUST_FLOOR": "1"}
N_MARKERS = 50
POLL_S = 0.01
ASKED_DEPTH = 200  # places of the list that is polled
GIVE_UP_S = 15.0
LOAD = BUDGET_SUSTAINED // 2
BUDGET_P50_S, BUDGET_P99_S = 0.5, 1.5


def measure(rig: Rig, *, seconds: float) -> Iterator[BenchRow]:
    """Measure for at least `seconds`, with at least N_MARKERS markers."""
    warm_up(rig)
    load = Load(rig.load(seconds=seconds + N_MARKERS * 3, connections=4, batch=BATCH, rate=LOAD / BATCH))
    rng = np.random.default_rng(rig.seed)
    client = rig.client()
    delays: list[float] = []
    try:
        load.start()
        time.sleep(1.0)
        stop_at = time.monotonic() + seconds
        for number in itertools.count():
            if number >= N_MARKERS and time.monotonic() > stop_at:
                break
            delays.append(_delay(client, f"marker-{rig.seed}-{time.time_ns()}"))
            time.sleep(float(rng.uniform(0.0, 0.3)))
    finally:
        load.close()
        client.close()
    note = f"{len(delays)} markers at {LOAD:,} events/s, screen and trust off; worst {max(delays):.2f} s"
    yield BenchRow(
        measure="freshness: event sent -> in GET /trending, p50",
        value=percentile(delays, 0.5),
        unit="s",
        budget=BUDGET_P50_S,
        is_most=True,
        note=note,
    )
    yield BenchRow(
        measure="freshness: event sent -> in GET /trending, p99",
        value=percentile(delays, 0.99),
        unit="s",
        budget=BUDGET_P99_S,
        is_most=True,
    )


def _delay(client: Client, marker: str) -> float:
    """Return the seconds from sending a marker until the list contains it."""
    path = f"/api/v1/trending?limit={ASKED_DEPTH}"
    items = client.get(path)["items"]
    weakest = items[-1]["score"] if len(items) == ASKED_DEPTH else 0.0
    n_actors = min(10_000, math.ceil(1.2 * weakest) + 5)
    events = [{"actor": f"{marker}-{n}", "item": marker, "event_id": f"{marker}-{n}"} for n in range(n_actors)]
    began_at = time.perf_counter()
    client.post_events(events)
    while time.perf_counter() < began_at + GIVE_UP_S:
        if any(item["item"] == marker for item in client.get(path)["items"]):
            return time.perf_counter() - began_at
        time.sleep(POLL_S)
    raise CannotMeasure(f"an item with {n_actors} fresh actors was not in the list after {GIVE_UP_S:.0f} s")
