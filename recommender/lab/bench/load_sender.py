"""Process that sends HTTP requests, at full speed or at a rate.

    plan (a line of JSON) ──> "ready" ──> a line: go ──> result (a line of JSON)      standard input and output

One thread uses non-blocking keep-alive sockets, and requests are made beforehand. So the measure is about the server
and not about this process. It does not need Django.

At a rate, each request has its due time, and its latency counts from that time. This holds also if all connections
are busy then. So if a server stops for a second, all requests due in that second count as late.
"""

import contextlib
import json
import selectors
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable

import msgspec

from recommender.lab.bench import event_stream
from recommender.lab.bench.http_load import LoadPlan, Result
from recommender.lab.bench.results import percentile

BODY_BYTES = 16 * 2**20  # of request bodies are kept, and repeated under new ids
TIMEOUT_S = 30.0
_LOOK_EVERY_S = 0.05
_READ_BYTES = 1 << 18


class Wire:
    """One connection: bytes still to send, bytes received, and since when."""

    def __init__(self, plan: LoadPlan) -> None:
        self.socket = socket.create_connection((plan.host, plan.port), timeout=TIMEOUT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.out: memoryview | None = None
        self.got = b""
        self.due_at = 0.0
        self.is_busy = False

    def begin(self, request: bytes, due_at: float) -> None:
        self.out, self.got, self.due_at, self.is_busy = memoryview(request), b"", due_at, True
        self.push()

    def push(self) -> None:
        """Send as many bytes as fit."""
        with contextlib.suppress(BlockingIOError):
            while self.out:
                self.out = self.out[self.socket.send(self.out) :]

    def pull(self) -> tuple[int, bytes] | None:
        """Return status and body once the answer is whole. Raises OSError."""
        part = self.socket.recv(_READ_BYTES)
        if not part:
            raise ConnectionError("closed by the server")
        self.got += part
        head, found, body = self.got.partition(b"\r\n\r\n")
        if not found:
            return None
        lower = head.lower()
        at = lower.find(b"content-length:")
        length = int(lower[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else None
        is_whole = len(body) >= length if length is not None else body.endswith(b"0\r\n\r\n")  # chunked
        if not is_whole:
            return None
        self.is_busy = False
        return int(head[9:12]), body


class LoadSender:
    """Keeps the wires of a plan busy until its time is over.

    It then waits until everything is answered.
    """

    def __init__(self, plan: LoadPlan, request: Callable[[int], bytes]) -> None:
        self._plan, self._request = plan, request
        self._picker = selectors.DefaultSelector()
        self._wires: list[Wire] = []
        self._latencies: list[float] = []
        self._by_status: Counter[int] = Counter()
        self._accepted = self._n_begun = 0
        for _ in range(plan.connections):
            self._connect()

    def run(self) -> Result:
        began_at = self._began_at = self._ended_at = time.perf_counter()
        stop_at = began_at + self._plan.seconds
        while (now := time.perf_counter()) < stop_at + TIMEOUT_S:
            if now < stop_at:
                self._begin_due(now)
            elif not any(wire.is_busy for wire in self._wires):
                break
            wait_s = min(_LOOK_EVERY_S, max(0.0, self._next_at(now) - now)) if now < stop_at else _LOOK_EVERY_S
            for ready, mask in self._picker.select(wait_s):
                self._serve(ready.data, mask)
        return Result(
            n_requests=len(self._latencies),
            accepted=self._accepted,
            seconds=max(self._ended_at - began_at, 1e-9),
            p50_s=percentile(self._latencies, 0.5) if self._latencies else 0.0,
            p99_s=percentile(self._latencies, 0.99) if self._latencies else 0.0,
            by_status=dict(self._by_status),
        )

    def _next_at(self, now: float) -> float:
        """Return the time of the next request.

        It is due at its time, or at once, but never before a wire is free.
        """
        if all(wire.is_busy for wire in self._wires):
            return now + _LOOK_EVERY_S
        return self._began_at + self._n_begun / self._plan.rate if self._plan.rate else now

    def _begin_due(self, now: float) -> None:
        for wire in self._wires:
            if wire.is_busy:
                continue
            due_at = self._began_at + self._n_begun / self._plan.rate if self._plan.rate else now
            if due_at > now:
                return
            wire.begin(self._request(self._n_begun), due_at)
            self._n_begun += 1
            if wire.out:
                self._picker.modify(wire.socket, selectors.EVENT_READ | selectors.EVENT_WRITE, wire)

    def _serve(self, wire: Wire, mask: int) -> None:
        try:
            if mask & selectors.EVENT_WRITE:
                wire.push()
                if not wire.out:
                    self._picker.modify(wire.socket, selectors.EVENT_READ, wire)
            answer = wire.pull() if mask & selectors.EVENT_READ else None
        except OSError:
            self._by_status[0] += 1
            self._picker.unregister(wire.socket)
            wire.socket.close()
            self._wires.remove(wire)
            self._connect()
            return
        if answer:
            status, body = answer
            self._ended_at = time.perf_counter()
            self._latencies.append(self._ended_at - wire.due_at)
            self._by_status[status] += 1
            if self._plan.batch and status == 202:
                self._accepted += json.loads(body)["accepted"]

    def _connect(self) -> None:
        wire = Wire(self._plan)
        self._wires.append(wire)
        self._picker.register(wire.socket, selectors.EVENT_READ, wire)


def make_requests(plan: LoadPlan) -> Callable[[int], bytes]:
    """Return a function that gives the n-th request of a plan."""
    head = f" HTTP/1.1\r\nHost: {plan.host}:{plan.port}\r\nAuthorization: Bearer {plan.key}\r\n"
    if not plan.batch:
        fixed = [f"GET {path}{head}\r\n".encode() for path in plan.paths or [plan.path]]
        return lambda n: fixed[n % len(fixed)]
    start = f"POST {plan.path}{head}"
    n_bodies = 20_000 if plan.batch == 1 else max(1, min(400, BODY_BYTES // (330 * plan.batch)))
    bodies = event_stream.bodies(n_bodies, plan.batch, seed=plan.seed)

    def request(n: int) -> bytes:
        turn, which = divmod(n, len(bodies))
        body = event_stream.fill(bodies[which], label=plan.label + turn, at=time.time())
        return f"{start}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body

    return request


def main() -> None:
    plan = msgspec.json.decode(sys.stdin.buffer.readline(), type=LoadPlan)
    request = make_requests(plan)
    sys.stdout.buffer.write(b"ready\n")
    sys.stdout.flush()
    if sys.stdin.buffer.readline():
        sys.stdout.buffer.write(msgspec.json.encode(LoadSender(plan, request).run()) + b"\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
