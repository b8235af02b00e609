"""HTTP load: plan, result, and the process that sends it (`bench.load_sender`).

Load(plan) ──JSON──> process ──"ready"──> start() ──> ... ──JSON──> result()
"""

import subprocess
import sys

import msgspec


class LoadPlan(msgspec.Struct):
    """Requests to send.

    rate: requests per second; None sends the next as soon as one is answered.
    batch: events per request; with 0 it is GET `path`, or `paths` one after another, again and again.
    """

    host: str
    port: int
    key: str
    seconds: float
    connections: int
    path: str = "/api/v1/events"
    paths: list[str] = []
    batch: int = 0
    rate: float | None = None
    seed: int = 1
    label: int = 0


class Result(msgspec.Struct):
    """Answers to a load.

    accepted: events.
    p50_s, p99_s: latencies in seconds.
    by_status: answers by status; 0 means no answer at all.
    """

    n_requests: int
    accepted: int
    seconds: float
    p50_s: float
    p99_s: float
    by_status: dict[int, int]

    @property
    def rate(self) -> float:
        """Return the requests answered well per second."""
        return sum(n for status, n in self.by_status.items() if 200 <= status < 300) / self.seconds


class Load:
    """Control of the sending process, which is ready once this object exists.

    Call `start`, then `result`.
    """

    def __init__(self, plan: LoadPlan) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "recommender.lab.bench.load_sender"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._write(msgspec.json.encode(plan))
        self._read()

    def start(self) -> None:
        self._write(b"go")

    def result(self) -> Result:
        """Wait for the end and return the result."""
        result = msgspec.json.decode(self._read(), type=Result, strict=False)
        self.close()
        return result

    def close(self) -> None:
        """End the process if it still runs."""
        self._process.kill()
        self._process.communicate()

    def _write(self, line: bytes) -> None:
        assert self._process.stdin
        self._process.stdin.write(line + b"\n")
        self._process.stdin.flush()

    def _read(self) -> bytes:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the process that sends load ended early (exit code {self._process.wait()})")
        return line


def run(plan: LoadPlan) -> Result:
    """Send a plan's load now, from a process of its own."""
    load = Load(plan)
    try:
        load.start()
        return load.result()
    finally:
        load.close()
