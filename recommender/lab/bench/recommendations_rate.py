"""Rate of lists for single actors while learning goes on.

It takes turns with the server's most trivial view. First the bench's own readers go through the site along shared
paths, so that items have neighbours. Then it asks for their lists one after another. Each list needs the actor's
history from PostgreSQL, links and reasons.

All these readers are newcomers. The screen would hold them and trust would give them little weight. So both are off
(`SETTINGS`), on a server of its own.
"""

import statistics
import time
from collections.abc import Iterator

import numpy as np

from recommender.lab.bench import freshness, trending_rate
from recommender.lab.bench.http_load import Load
from recommender.lab.bench.ingest_rate import BATCH, warm_up
from recommender.lab.bench.results import BenchRow
from recommender.lab.bench.running_system import Rig

SETTINGS = freshness.SETTINGS
CONNECTIONS = trending_rate.CONNECTIONS
N_ROUNDS = trending_rate.N_ROUNDS
N_READERS, N_ACTS, N_ITEMS = 4_000, 6, 2_000
PACED = 200  # requests per second
PATH = "/api/v1/recommendations?actor={}"
BUDGET, BUDGET_P99_MS = 1_000, 20.0


def measure(rig: Rig, *, seconds: float) -> Iterator[BenchRow]:
    """Measure in rounds of a quarter of `seconds` each, at least 1.5 s."""
    warm_up(rig)
    readers = _send_readers(rig)
    paths = [PATH.format(reader) for reader in readers]
    round_s = max(1.5, seconds / N_ROUNDS)
    load = Load(
        rig.load(
            seconds=600.0,
            connections=2,
            batch=trending_rate.LEARNING_BATCH,
            rate=trending_rate.LEARNING / trending_rate.LEARNING_BATCH,
        )
    )
    rates: dict[str, list[float]] = {"live": [], "recommendations": []}
    p99s_ms = []
    try:
        load.start()
        time.sleep(1.0)
        for _ in range(N_ROUNDS):
            live = rig.run(seconds=round_s, connections=CONNECTIONS, path=trending_rate.PATHS["live"])
            asked = rig.run(seconds=round_s, connections=CONNECTIONS, paths=paths)
            rates["live"].append(live.rate)
            rates["recommendations"].append(asked.rate)
            p99s_ms.append(asked.p99_s * 1e3)
        paced = rig.run(seconds=2 * round_s, connections=CONNECTIONS, paths=paths, rate=PACED)
        share, ranked_by = _look(rig, paths[:100])
    finally:
        load.close()
    trivial = statistics.median(rates["live"])
    yield BenchRow(
        measure="recommendations: GET while learning",
        value=statistics.median(rates["recommendations"]),
        unit="requests/s",
        budget=BUDGET,
        ceiling=trivial,
        of="GET /health/live",
        note=f"median of {N_ROUNDS} rounds, {CONNECTIONS} connections, {trending_rate.LEARNING:,} events/s, "
        f"{len(paths):,} actors with {N_ACTS} acts; ranked by {ranked_by}, {100 * share:.0f} % of the places"
        " from links",
    )
    yield BenchRow(
        measure="recommendations: p99 at full speed",
        value=statistics.median(p99s_ms),
        unit="ms",
        note=f"{CONNECTIONS} requests wait in line",
    )
    yield BenchRow(
        measure=f"recommendations: p99 at {PACED} requests/s",
        value=paced.p99_s * 1e3,
        unit="ms",
        budget=BUDGET_P99_MS,
        is_most=True,
        note=f"p50 {paced.p50_s * 1e3:.1f} ms",
    )


def walks(n: int, *, seed: int) -> list[list[str]]:
    """Draw the items that n readers open.

    A walk begins at an item by its popularity and follows the same path as other readers who were there.
    """
    rng = np.random.default_rng(seed)
    weights = np.cumsum((np.arange(N_ITEMS) + 10.0) ** -0.9)
    starts = np.searchsorted(weights, rng.random(n) * weights[-1])
    steps = rng.integers(1, 4, (n, N_ACTS)).cumsum(axis=1) - 1
    return [[f"path-{number}" for number in row] for row in ((starts[:, None] + steps) % N_ITEMS).tolist()]


def _send_readers(rig: Rig) -> list[str]:
    """Send all readers' events, wait until they are listed, and return the ids."""
    label = f"reader-{time.time_ns():x}"
    client = rig.client()
    events = [
        {"actor": f"{label}-{reader}", "item": item, "event_id": f"{label}-{reader}-{item}"}
        for reader, items in enumerate(walks(N_READERS, seed=rig.seed))
        for item in items
    ]
    try:
        for first in range(0, len(events), BATCH):
            client.post_events(events[first : first + BATCH])
    finally:
        client.close()
    rig.is_listed_up_to(time.time())
    time.sleep(1.0)  # the excerpt is written less often than the lists
    return [f"{label}-{reader}" for reader in range(N_READERS)]


def _look(rig: Rig, paths: list[str]) -> tuple[float, str]:
    """Return the share of places that links gave, and the order that was served."""
    client = rig.client()
    try:
        answers = [client.get(path) for path in paths]
    finally:
        client.close()
    sources = [each["reasons"][0]["source"] for answer in answers for each in answer["items"]]
    return sources.count("similar") / max(1, len(sources)), answers[-1]["ranked_by"]
