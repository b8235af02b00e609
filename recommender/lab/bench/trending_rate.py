"""Rate of reads of the trending list while learning goes on.

It takes turns with the server's most trivial view. `wrk` sends if it is installed, because it needs less time than a
sender in Python. At full speed all requests wait in line, so the latency there is that of the line. A second figure
is taken at a rate that the server can keep up with.
"""

import re
import shutil
import statistics
import subprocess
import time
from collections.abc import Iterator

from recommender.lab.bench.http_load import Load
from recommender.lab.bench.ingest_rate import warm_up
from recommender.lab.bench.results import BenchRow
from recommender.lab.bench.running_system import CannotMeasure, Rig

CONNECTIONS = 8
LEARNING, LEARNING_BATCH = 2_000, 100  # events per second during the measure
PACED = 500  # requests per second
PATHS = {"live": "/health/live", "trending": "/api/v1/trending"}
N_ROUNDS = 4
BUDGET_RATIO, BUDGET_P99_MS = 0.7, 10.0

_UNITS_MS = {"us": 1e-3, "ms": 1.0, "s": 1e3}


def measure(rig: Rig, *, seconds: float) -> Iterator[BenchRow]:
    """Measure in rounds of a quarter of `seconds` each, at least 1.5 s."""
    warm_up(rig)
    round_s = max(1.5, seconds / N_ROUNDS)
    load = Load(
        rig.load(seconds=600.0, connections=2, batch=LEARNING_BATCH, rate=LEARNING / LEARNING_BATCH),
    )
    rounds: dict[str, list[tuple[float, float]]] = {name: [] for name in PATHS}
    try:
        load.start()
        time.sleep(1.0)
        for _ in range(N_ROUNDS):
            for name, path in PATHS.items():
                rounds[name].append(_hammer(rig, path, round_s))
        paced = rig.run(seconds=2 * round_s, connections=CONNECTIONS, path=PATHS["trending"], rate=PACED)
    finally:
        load.close()
    rate = {name: statistics.median(rate for rate, _ in each) for name, each in rounds.items()}
    p99 = {name: statistics.median(p99 for _, p99 in each) for name, each in rounds.items()}
    sender = "wrk" if shutil.which("wrk") else "own sender"
    yield BenchRow(
        measure="trending: GET while learning",
        value=rate["trending"],
        unit="requests/s",
        budget=BUDGET_RATIO * rate["live"],
        ceiling=rate["live"],
        of="GET /health/live",
        note=f"median of {N_ROUNDS} rounds, {CONNECTIONS} connections, {sender}, {LEARNING:,} events/s",
    )
    yield BenchRow(
        measure="trending: p99 at full speed",
        value=p99["trending"],
        unit="ms",
        budget=BUDGET_P99_MS,
        is_most=True,
        ceiling=p99["live"],
        of="GET /health/live",
    )
    yield BenchRow(
        measure=f"trending: p99 at {PACED} requests/s",
        value=paced.p99_s * 1e3,
        unit="ms",
        budget=BUDGET_P99_MS,
        is_most=True,
        note=f"p50 {paced.p50_s * 1e3:.1f} ms",
    )


def _hammer(rig: Rig, path: str, seconds: float) -> tuple[float, float]:
    """Return requests per second and p99 in ms, at full speed."""
    wrk = shutil.which("wrk")
    if wrk is None:
        result = rig.run(seconds=seconds, connections=CONNECTIONS, path=path)
        return result.rate, result.p99_s * 1e3
    how = ("-t1", f"-c{CONNECTIONS}", f"-d{max(1, round(seconds))}s", "--latency")
    done = subprocess.run(  # noqa: S603
        [wrk, *how, "-H", f"Authorization: Bearer {rig.key}", rig.url + path],
        capture_output=True,
        text=True,
        check=True,
        timeout=seconds + 60,
    )
    return parse_wrk(done.stdout)


def parse_wrk(said: str) -> tuple[float, float]:
    """Read requests per second and p99 in ms from the output of wrk.

    Raises CannotMeasure if there were errors.
    """
    if "Non-2xx" in said or "Socket errors" in said:
        raise CannotMeasure(f"wrk reports errors:\n{said}")
    rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
    p99 = re.search(r"99%\s+([\d.]+)(us|ms|s)", said)
    if not rate or not p99:
        raise CannotMeasure(f"the output of wrk has no rate or no p99:\n{said}")
    return float(rate[1]), float(p99[1]) * _UNITS_MS[p99[2]]
