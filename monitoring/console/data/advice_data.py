"""Advice on the overview: what needs an operator or a reviewer first, and why.

learners, freezes of the policy, findings, lag ──> Advice, worst first; none if nothing needs a person
"""

from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import connection
from django.urls import reverse

from monitoring.model_state import Standing
from monitoring.models import AutoFreeze, Finding
from recommender import database_clock
from recommender.models import Learner
from recommender.upkeep import server_warnings

COUNTED = 100_000  # open findings at most; counting them takes 40 ms
SHOWN = 5
_COUNTS = """
SELECT severity, count(*) FROM (SELECT severity FROM monitoring_finding WHERE state = 'open' LIMIT %s) AS counted
GROUP BY severity
"""


@dataclass(frozen=True, slots=True)
class Advice:
    """A sentence, and where to go.

    look: bad, warn or dim. to, link: an address and the words of the link.
    """

    look: str
    text: str
    to: str = ""
    link: str = ""


@dataclass(frozen=True, slots=True)
class OpenFindings:
    """The number of open findings by severity, most severe first, and the first few.

    top: serious findings first, then those with most at stake. is_more: there are more than COUNTED, which are not
    counted.
    """

    counts: list[tuple[str, int]]
    n: int
    is_more: bool
    top: list[dict[str, Any]]


def get_open_findings() -> OpenFindings:
    """Count the open findings in three reads.

    A drift alarm is serious although its exposure is 0.
    """
    with connection.cursor() as cursor:
        cursor.execute(_COUNTS, [COUNTED])
        counts = dict(cursor.fetchall())
    n, high = sum(counts.values()), Finding.Severity.HIGH
    rows = Finding.objects.filter(state=Finding.State.OPEN).order_by("-exposure", "-id")
    top = [*rows.filter(severity=high)[:SHOWN]] if counts.get(high) else []
    if len(top) < SHOWN:
        top += rows.exclude(severity=high)[: SHOWN - len(top)]
    return OpenFindings(
        counts=[(each.label.lower(), counts.get(each, 0)) for each in sorted(Finding.Severity, reverse=True)],
        n=n,
        is_more=n >= COUNTED,
        top=[
            {
                "id": row.pk,
                "title": row.title,
                "severity": Finding.Severity(row.severity).label.lower(),
                "exposure": row.exposure,
                "last_ms": row.last_ms,
            }
            for row in top
        ],
    )


def advise(*, standing: Standing, lag_s: float, n_waiting: int, findings: OpenFindings) -> list[Advice]:
    """Return the advice, worst first."""
    model = reverse("console:timeline")
    found = []
    if standing.revert:
        there = reverse("console:revert", args=[standing.revert])
        found.append(
            Advice(
                "warn",
                "A revert is running. Lists are still served. Wait until it finishes.",
                there,
                "Watch the revert",
            )
        )
    found += [_of_freeze(freeze, model) for freeze in AutoFreeze.objects.filter(ended_at=None).order_by("shard")[:3]]
    if standing.word == "frozen" and not found:
        text = (
            f"Learning is frozen: {n_waiting:,} events wait and the lists do not change. Solve the problem, then thaw"
            " learning below. The waiting events are learned first, and none are lost."
        )
        found.append(Advice("bad", text, model, "See what happened"))
    if standing.word == "learning" and lag_s > settings.LAG_ALARM_S:
        text = (
            f"The learner is {lag_s:,.0f} s behind, and {n_waiting:,} events wait. Check that its worker runs, and"
            " read the worker's log. No events are lost."
        )
        found.append(Advice("bad", text, model, "See when it began"))
    warnings = server_warnings.list_warnings()
    found += [Advice("bad" if each.is_urgent else "warn", each.text) for each in warnings]
    found += _of_checkpoints()
    if findings.top and findings.top[0]["severity"] == "high":
        first, n_high = findings.top[0], findings.counts[0][1]
        what = "A serious finding waits" if n_high == 1 else f"{n_high:,} serious findings wait"
        text = f"{what} for your decision. Begin with the finding that could move the list most."
        found.append(Advice("warn", text, reverse("console:finding", args=[first["id"]]), "Open it"))
    elif findings.top and findings.top[0]["exposure"] >= 1.0:
        text = "An open finding would be enough for a place in the top 10. See why it was stopped, and decide."
        there = reverse("console:finding", args=[findings.top[0]["id"]])
        found.append(Advice("warn", text, there, "Open it"))
    return found


def _of_freeze(freeze: AutoFreeze, model: str) -> Advice:
    ends = f" The freeze ends by itself at {freeze.until:%H:%M:%S} UTC, unless you freeze learning yourself."
    if freeze.until <= database_clock.now() or not settings.AUTO_THAW:
        ends = ""
    proposal = ""
    if freeze.suspects is not None:
        proposal = (
            f" The policy proposes to go back to checkpoint {freeze.checkpoint_id} without {freeze.n_suspects:,}"
            f" suspected actors. They made {freeze.n_suspected:,} of {freeze.n_since:,} events since then. Look at a"
            " preview first."
        )
    return Advice("bad", f"The policy froze learning: {freeze.reason}{ends}{proposal}", model, "Look at the model")


def _of_checkpoints() -> list[Advice]:
    rows = list(Learner.objects.values_list("checkpoint_id", "n_events"))
    if not any(n_events for _, n_events in rows):
        return [Advice("dim", "Groundswell has learned no events yet. Send one.", "/", "See how")]
    if any(checkpoint is None and n_events for checkpoint, n_events in rows):
        text = "There is no checkpoint to go back to yet. Groundswell makes one within seconds of the first events."
        return [Advice("warn", text)]
    return []
