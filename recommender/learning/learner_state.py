"""The progress of each learner, for people and monitors.

Nothing here writes or locks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.models import Count, Min, Q
from django.db.models.functions import Now

from recommender.core import state_versions
from recommender.log import event_log
from recommender.log.buckets import IS_MOVED
from recommender.models import STATE_COLUMNS, Checkpoint, Learner, Step, Upgrade, Watched

# Finds the first event after a learner's position by the index on (xid, seq). The slack is that of event_log.read.
# Events of old web processes are left out with several shards, because SQL cannot tell whose they are.
_OLDEST_UNLEARNED = f"""
SELECT extract(epoch FROM now() - received_at)::float8 FROM recommender_event
WHERE (xid, seq) > (%(xid)s::text::xid8, %(seq)s)
  AND (%(shards)s = 1 OR bucket %% %(shards)s = %(shard)s AND NOT {IS_MOVED})
  AND received_at >= to_timestamp(%(since_s)s)
ORDER BY xid, seq LIMIT 1
"""
_LAST_STEPS = """
SELECT duration_ms / 1000 FROM recommender_step WHERE shard = %s ORDER BY number DESC LIMIT 1
"""
VERDICTS = ("held", "quarantined", "released", "retracted", "unjudged")


@dataclass(frozen=True, slots=True)
class LearnerState:
    """The progress of one learner, for people and monitors."""

    shard: int
    is_frozen: bool
    step: int
    n_events: int
    verdicts: dict[str, int]
    lag_s: float
    step_s: float | None
    quality: Watched | None  # the newest figures
    n_alarms: dict[str, int]  # alerts and stops among the recorded steps
    version_note: str  # see describe_version
    checkpoint: "CheckpointState"


@dataclass(frozen=True, slots=True)
class CheckpointState:
    """The active checkpoint of a learner, and why no newer one could be written.

    error: empty if the last one was written. failing_s: for how long none could be.
    """

    age_s: float | None
    n_bytes: int
    share_unchanged: float | None
    n_failures: int
    error: str
    failing_s: float


def get_backlog() -> int:
    """Return about how many events are not learned yet.

    An event gets its number before its commit, so the result may be a few too high.
    """
    learned = Learner.objects.aggregate(seq=Min("seq"))["seq"] or 0
    return max(0, event_log.last_seq() - learned)


def list_learner_states() -> list[LearnerState]:
    """Return the state of every shard's learner."""
    return [
        LearnerState(
            shard=learner.shard,
            is_frozen=learner.state == Learner.State.FROZEN,
            step=learner.step,
            n_events=learner.n_events,
            verdicts={name: getattr(learner, f"n_{name}") for name in VERDICTS},
            lag_s=_lag_s(learner),
            step_s=_one(_LAST_STEPS, [learner.shard]),
            quality=Watched.objects.filter(shard=learner.shard).order_by("-id").first(),
            n_alarms=_count_alarms(learner.shard),
            version_note=describe_version(learner.fold_version),
            checkpoint=_checkpoint(learner),
        )
        for learner in Learner.objects.order_by("shard")
    ]


def release_of(fold_version: int) -> str:
    """Return the first release with a fold version, as its upgrade recorded it."""
    made = Upgrade.objects.filter(to_version=fold_version).order_by("-id").values_list("to_release", flat=True)
    return made.first() or state_versions.release_of(fold_version)


def describe_version(fold_version: int) -> str:
    """Return a note that another version learns a shard, or "" if it is this one."""
    present = state_versions.FOLD_VERSION
    if fold_version == present:
        return ""
    release = release_of(fold_version)
    if fold_version > present:
        return f"a newer version learns, its state was {state_versions.name_newer(fold_version, release)}"
    return (
        f"the state is from {release} (fold version {fold_version}) and waits for a worker of"
        f" {state_versions.release_of(present)} (fold version {present}): start one"
    )


def get_version_note() -> str:
    """Return `describe_version` of the first shard that another version learns, or ""."""
    versions = Learner.objects.order_by("shard").values_list("fold_version", flat=True)
    return next((note for each in versions if (note := describe_version(each))), "")


def list_checkpoint_failures() -> dict[int, str]:
    """Return why no checkpoint can be written, for each shard where that is so."""
    failing = Learner.objects.exclude(checkpoint_error="").order_by("shard")
    return dict(failing.values_list("shard", "checkpoint_error"))


def _checkpoint(learner: Learner) -> CheckpointState:
    row = Checkpoint.objects.defer(*STATE_COLUMNS).annotate(now=Now()).filter(pk=learner.checkpoint_id or 0).first()
    failed_at = learner.checkpoint_failed_at
    return CheckpointState(
        age_s=(row.now - row.created_at).total_seconds() if row else None,
        n_bytes=row.n_bytes if row else 0,
        share_unchanged=row.share_unchanged if row else None,
        n_failures=learner.n_checkpoint_failures,
        error=learner.checkpoint_error,
        failing_s=(row.now - failed_at).total_seconds() if row and failed_at else 0.0,
    )


def _count_alarms(shard: int) -> dict[str, int]:
    raised = Step.objects.filter(shard=shard, alarm__gt=0)  # a partial index
    sums = raised.aggregate(
        alert=Count("id", filter=Q(alarm=Step.Alarm.ALERT)), stop=Count("id", filter=Q(alarm=Step.Alarm.STOP))
    )
    return {name: int(n) for name, n in sums.items()}


def _lag_s(learner: Learner) -> float:
    since_s = max(0.0, learner.stream_ms / 1000 - event_log.PARTITION_SLACK.total_seconds())
    age_s = _one(
        _OLDEST_UNLEARNED,
        {
            "xid": learner.xid,
            "seq": learner.seq,
            "shards": settings.SHARDS,
            "shard": learner.shard,
            "since_s": since_s,
        },
    )
    return max(0.0, age_s or 0.0)


def _one(query: str, parameters: Sequence[Any] | Mapping[str, Any]) -> float | None:
    with connection.cursor() as cursor:
        cursor.execute(query, parameters)
        row = cursor.fetchone()
    return row[0] if row else None
