"""Measure the server's time for every page of the console, and explain slow ones."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from monitoring.models import Finding
from recommender.lab.bench.results import percentile

SLOW_S = 1.0
_REPEATS_S = 10.0  # a slow page is requested less often than a fast one
_ACCOUNT = "bench"


@dataclass(frozen=True, slots=True)
class Timed:
    """Times of one page.

    first_s: time of the first GET.
    median_s, p95_s: times of n GETs after the first.
    plans: the slowest queries with their plans, if the page is slow.
    """

    path: str
    n: int
    first_s: float
    median_s: float
    p95_s: float
    n_queries: int
    kib: float
    plans: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


def paths() -> list[str]:
    """List every page, with the filters that make some of them expensive."""
    number = (
        Finding.objects.filter(state=Finding.State.OPEN).order_by("-exposure").values_list("pk", flat=True).first()
    )
    items = Finding.objects.values_list("item", flat=True)
    item = None if number is None else items.filter(pk=number).first()
    queue = (
        "",
        "?order=newest",
        "?state=any",
        "?state=released",
        "?q=accounts",
        f"?item={item}",
        "?severity=3&kind=campaign",
    )
    console = [
        "",
        *(f"findings/{query}" for query in queue),
        f"findings/{number}/",
        "items/",
        "items/?q=story",
        "items/item-0/",
        f"items/{item}/",
        "actors/",
        "actors/reader-0/",
        "timeline/",
        "timeline/?from=2026-01-01T00:00&to=2199-01-01T00:00",
        "timeline/revert",
        "audit/",
        "audit/?action=release",
        "audit/?q=crowd",
    ]
    tables = [
        "recommender/item/",
        "recommender/apikey/",
        "monitoring/finding/",
        "monitoring/notification/",
        "auth/user/",
    ]
    return ["/", *(f"/admin/console/{each}" for each in console), *(f"/admin/{each}" for each in tables)]


def measure(*, repeats: int) -> Iterator[Timed]:
    """Ask for each page `repeats` times as a superuser, without a network."""
    account, _ = get_user_model().objects.get_or_create(username=_ACCOUNT, is_staff=True, is_superuser=True)
    for path in paths():
        yield _time(path, account, repeats)


def _time(path: str, account: User, repeats: int) -> Timed:
    client = Client(SERVER_NAME="localhost")
    client.force_login(account)
    first_s, answer = _get(client, path)
    if answer.status_code != 200:
        raise RuntimeError(f"{path} answers {answer.status_code} instead of 200")
    took: list[float] = []
    while len(took) < repeats and sum(took) < _REPEATS_S:
        took.append(_get(client, path)[0])
    with CaptureQueriesContext(connection) as captured:
        client.get(path)
    median_s = percentile(took, 0.5)
    return Timed(
        path=path,
        n=len(took),
        first_s=first_s,
        median_s=median_s,
        p95_s=percentile(took, 0.95),
        n_queries=len(captured),
        kib=len(answer.content) / 1024,
        plans=_plans(captured.captured_queries) if median_s > SLOW_S else [],
    )


def _get(client: Client, path: str) -> tuple[float, Any]:
    began = time.perf_counter()
    answer = client.get(path)
    return time.perf_counter() - began, answer


def _plans(queries: list[dict[str, str]], n: int = 2) -> list[str]:
    """Explain the slowest of these queries."""
    slowest = sorted(queries, key=lambda each: -float(each["time"]))[:n]
    plans = []
    for each in slowest:
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS) {each['sql']}".replace("%", "%%"), [])
            lines = [line for (line,) in cursor.fetchall()]
        plans.append("\n".join([f"{each['time']} s: {each['sql']}", *lines]))
    return plans
