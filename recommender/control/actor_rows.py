"""Count and remove the rows that name an actor, in an erasure.

traces_of ──> log, verdicts, decisions, exclusions, kept states
take_out_of_decisions, take_out_of_exclusions ──> in the transaction of a ShardErasure
"""

from django.db import connection
from django.db.models import Q

from recommender.core import actor_traces
from recommender.learning.checkpoints.state_reader import load_pipeline
from recommender.log import event_log
from recommender.log.event_log import Position
from recommender.models import Checkpoint, Decision, Erasure, Exclusion


def traces_of(actor: str) -> dict[str, int]:
    """Count the traces of an actor.

    All counts are 0 once it is erased. It loads every kept checkpoint, about 0.1 s for 100 MB.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM recommender_eventverdict WHERE seq IN"
            " (SELECT seq FROM recommender_event WHERE actor = %s)",
            [actor],
        )
        (n_verdicts,) = cursor.fetchone()
        cursor.execute(
            "SELECT count(*) FROM recommender_decision WHERE seq &&"
            " ARRAY(SELECT seq FROM recommender_event WHERE actor = %s)",
            [actor],
        )
        (n_decisions,) = cursor.fetchone()
    n_states, known = 0, set()
    for number in Checkpoint.objects.values_list("pk", flat=True):
        row = Checkpoint.objects.filter(pk=number).first()
        if row is not None:
            pipeline = load_pipeline(row)
            key = pipeline.encoder.key(actor)
            known.add(key)
            n_states += actor_traces.count(pipeline.views(), key)
    return {
        "events": event_log.count_of(actor),
        "verdicts": n_verdicts,
        "decisions": n_decisions,
        "exclusions": sum(Exclusion.objects.filter(rule__actors__contains=[key]).count() for key in known),
        "checkpoints": n_states,
        "requests": Erasure.objects.filter(actor=actor).count(),
    }


def take_out_of_decisions(shard: int, positions: list[Position]) -> int:
    """Remove events from the decisions of a shard, and return their number.

    A decision without an event is deleted.
    """
    gone, n = set(positions), 0
    seqs = [each.seq for each in positions]
    for decision in Decision.objects.filter(Q(seq__overlap=seqs), shard=shard) if seqs else ():
        stays = [Position(*each) not in gone for each in zip(decision.xid, decision.seq, strict=True)]
        n += stays.count(False)
        if not any(stays):
            decision.delete()
        elif not all(stays):
            Decision.objects.filter(pk=decision.pk).update(**decision.cut(stays))
    return n


def take_out_of_exclusions(key: int) -> int:
    """Remove the actor's key from exclusion rules, and return the number of rules.

    Without its events the rules need not name it.
    """
    naming = Exclusion.objects.filter(rule__actors__contains=[key])
    for each in naming:
        each.rule["actors"] = [actor for actor in each.rule["actors"] if actor != key]
        each.save(update_fields=["rule"])
    return len(naming)
