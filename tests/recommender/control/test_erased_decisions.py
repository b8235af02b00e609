"""Actors of one decision can be erased one after the other, and undo stays right."""

from importlib import import_module

import pytest
from django.apps import apps
from django.db import IntegrityError, connection, transaction

from recommender.control import erasures, learning_switch
from recommender.core.vocabulary import Ruling
from recommender.errors import Conflict
from recommender.learning import fresh_fold, learner
from recommender.log import event_log
from recommender.log.event_log import Position
from recommender.models import Checkpoint, Decision, Erasure, Learner
from tests.help.learner_process import warm
from tests.help.log_rows import clicks
from tests.recommender.control.test_erasures import MAL, ZERO, erase, learned, mixed
from tests.recommender.control.test_reverts import revert

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("view_store", "empty_log", "fresh_process"),
]

ZOE = "actor-3"
ADMITTED, QUARANTINED, IN_NO_HISTORY = 0, 2, -1
migration = import_module("recommender.migrations.0019_decision_columns")


def confirmed(*actors):
    """Learn clicks of many actors, and confirm those of some in one decision."""
    learned(mixed(1), clicks(20))
    positions = [position for each in actors for position in places_of(each)]
    learning_switch.confirm(positions=sorted(positions), since_ms=0)
    learner.learn(0)
    return Decision.objects.get()


def places_of(actor):
    return [position for position, _ in event_log.actor_steps(actor, 0)]


def check_columns(actors):
    """Check that each event of the decision has the verdict from before it."""
    row = Decision.objects.get()
    there = sorted(position for each in actors for position in places_of(each))
    assert [Position(*each) for each in zip(row.xid, row.seq, strict=True)] == there
    assert row.before == [ADMITTED] * len(there)


def test_both_actors_of_a_decision_can_be_erased_one_after_the_other():
    confirmed(MAL, ZOE)
    check_columns([MAL, ZOE])
    erase(MAL)
    check_columns([ZOE])
    erase(ZOE)
    assert not Decision.objects.exists()
    assert erasures.traces_of(MAL) == erasures.traces_of(ZOE) == ZERO
    assert fresh_fold.verify(Learner.objects.get().checkpoint) == warm().digest()


def test_undo_gives_each_event_its_own_verdict_after_an_erasure():
    """Zoe's event was removed before the decision, and those of the others counted."""
    learned(mixed(1), clicks(20))
    first = places_of(ZOE)[:1]
    learning_switch.confirm(positions=first, since_ms=0)
    learner.learn(0)
    positions = [places_of(each)[0] for each in (MAL, ZOE, "actor-5")]
    learning_switch.confirm(positions=sorted(positions), since_ms=0)
    learner.learn(0)
    erase(MAL)
    row = Decision.objects.latest("id")
    said = dict(zip(row.seq, row.before, strict=True))
    assert said == {positions[1].seq: QUARANTINED, positions[2].seq: ADMITTED}
    learning_switch.take_back([row.pk])
    given_back = dict(Decision.objects.filter(taken_in=None).values_list("ruling", "seq"))
    assert given_back == {Ruling.WITHHOLD: [positions[1].seq], Ruling.RELEASE: [positions[2].seq]}


def test_a_revert_after_an_erasure_reads_the_decision_as_it_is_now():
    confirmed(MAL, ZOE)
    erase(MAL)
    revert(Checkpoint.objects.order_by("step").first())
    check_columns([ZOE])


# -- rows that are stored already ------------------------------------------------------------------------------------


@pytest.fixture
def unchecked():
    """Take the constraint away, as in a database from before the migration."""
    (constraint,) = Decision._meta.constraints
    with connection.schema_editor() as editor:
        editor.remove_constraint(Decision, constraint)
    yield
    Decision.objects.all().delete()
    with connection.schema_editor() as editor:
        editor.add_constraint(Decision, constraint)


def heal():
    with connection.schema_editor() as editor:
        migration.heal(apps, editor)


def spoil(row, before):
    Decision.objects.filter(pk=row.pk).update(before=before)


def test_rows_whose_columns_differ_are_healed_where_the_surplus_is_known(unchecked):
    row = confirmed(ZOE, "actor-5")
    n = len(row.seq)
    spoil(row, [IN_NO_HISTORY, *row.before[:-1], IN_NO_HISTORY, QUARANTINED])
    heal()
    row.refresh_from_db()
    assert row.before == [ADMITTED] * (n - 1) + [QUARANTINED]


def test_where_the_surplus_is_not_known_undo_is_refused_with_the_reason(unchecked):
    row = confirmed(ZOE, "actor-5")
    spoil(row, [IN_NO_HISTORY, IN_NO_HISTORY, *row.before[1:]])
    heal()
    row.refresh_from_db()
    assert row.before is None
    with pytest.raises(Conflict, match="not known, because an actor was erased"):
        learning_switch.take_back([row.pk])


def test_an_erasure_that_was_stuck_is_done_after_the_migration(unchecked):
    row = confirmed(MAL, ZOE)
    spoil(row, [IN_NO_HISTORY, *row.before])
    asked, _ = erasures.ask_for(actor_id=ZOE)
    heal()
    assert erasures.run_next()
    asked.refresh_from_db()
    assert asked.state == Erasure.State.DONE
    check_columns([MAL])


def test_the_database_refuses_columns_of_different_lengths():
    row = confirmed(ZOE)
    for columns in ({"before": [0] * (len(row.seq) + 1)}, {"xid": row.xid[1:]}):
        with pytest.raises(IntegrityError, match="decision_columns_of_one_length"), transaction.atomic():
            Decision.objects.filter(pk=row.pk).update(**columns)
