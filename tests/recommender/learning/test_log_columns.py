"""Test that learning does not depend on the version that wrote an event.

It does not depend on PRIVACY either.

Rows of version 0.1.0 have no keys, and their bucket is another. Old processes may write such rows for days after the
migration.
"""

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from django.db import connection

from recommender import ids
from recommender.control import erasures, learning_switch
from recommender.core.events import country_code
from recommender.core.pipeline import Pipeline
from recommender.core.vocabulary import Kind
from recommender.learning import fresh_fold, learner, pipeline_settings
from recommender.learning.refold import KeysDiffer, encode
from recommender.log import event_log, id_secret
from recommender.log.event_log import Position, shards_of
from recommender.models import Checkpoint, Decision, Event, EventVerdict, IdFingerprint, Learner, Step
from tests.help import emptied_tables, version_0_1
from tests.help.learner_process import restart
from tests.help.log_rows import actors_of, clicks, events
from tests.help.streams import SCREENED

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("view_store", "empty_log", "fresh_process"),
]

N = 1500
AGENTS = (None, "Mozilla/5.0 (X11) Firefox/140.0", "Mozilla/5.0 (iPhone) Safari/605.1", "Googlebot/2.1", "Prefetch x")


def stream(n=N, seed=1):
    """Return events of every kind of origin, and the times they were received."""
    rng = random.Random(seed)
    actors = [f"actor-{int(rng.random() ** 2 * 300)}" for _ in range(n)]
    numbers = [int(actor[6:]) for actor in actors]
    made = events(
        actors,
        [f"item-{int(rng.random() ** 3 * 60)}" for _ in range(n)],
        kind=[int(rng.choice([Kind.CLICK, Kind.VIEW, Kind.LIKE, Kind.EXPOSURE, Kind.UNDO])) for _ in range(n)],
        session=[f"s-{each}-{rng.randrange(3)}" if each % 4 else None for each in numbers],
        ip=[(None, f"192.0.{each % 7}.{each % 200}", f"2001:db8:{each % 5}::1")[each % 3] for each in numbers],
        user_agent=[AGENTS[each % 5] for each in numbers],
        referrer=[rng.choice([None, "https://a.example/", "https://b.example/x"]) for _ in range(n)],
        country=[rng.choice([None, "DE", "FR"]) for _ in range(n)],
    )
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(hours=3)
    return made, [midnight.timestamp() + 4 * number for number in range(n)]


def part_of(made, start, end):
    return replace(made, **{name: getattr(made, name)[start:end] for name in made.__slots__})


def folded(*, step=100, **options):
    """Return the digest of a fold of the whole log in steps."""
    pipeline, position = Pipeline(replace(SCREENED, secret=ids.secret())), Position()
    while part := event_log.read(after=position, since_ms=0, limit=step, **options):
        pipeline.step(encode(pipeline, part))
        position = part.end
    return pipeline.digest()


def of_texts(made, received, *, step=100):
    """Return the digest of a fold that never saw a log."""
    pipeline = Pipeline(replace(SCREENED, secret=ids.secret()))
    for start in range(0, N, step):
        part = part_of(made, start, start + step)
        at_ms = [round(at * 1e6) // 1000 for at in received[start : start + step]]
        batch = pipeline.encode(
            received_ms=at_ms,
            occurred_ms=at_ms,
            actors=part.actor,
            items=part.item,
            kind=part.kind,
            country=[country_code(country or "") for country in part.country],
            sessions=part.session,
            ips=part.ip,
            user_agents=part.user_agent,
            referrers=part.referrer,
        )
        pipeline.step(batch)
    return pipeline.digest()


def test_old_rows_new_rows_and_both_mixed_fold_to_one_digest():
    made, received = stream()
    digests = [of_texts(made, received)]
    for pattern in ([version_0_1], [event_log], [version_0_1, event_log]):
        emptied_tables.empty_log()
        for number, start in enumerate(range(0, N, 37)):
            end = min(start + 37, N)
            pattern[number % len(pattern)].append_at(part_of(made, start, end), received[start:end])
        digests += [folded(), folded()]
    assert len(set(digests)) == 1


def test_texts_that_people_may_not_read_change_no_digest():
    made, received = stream()
    event_log.append_at(made, received)
    with connection.cursor() as cursor:
        digest = folded()
        cursor.execute("ALTER TABLE recommender_event DISABLE TRIGGER append_only")
        cursor.execute(
            "UPDATE recommender_event SET ip = NULL, user_agent = NULL, referrer = NULL, session = NULL, actor = 'x'"
        )
        cursor.execute("ALTER TABLE recommender_event ENABLE TRIGGER append_only")
    assert folded() == digest


def test_a_state_of_another_secret_is_not_fed_with_keys_that_mean_nothing_to_it(settings):
    event_log.append(clicks(3))
    learner.learn(0)
    settings.SECRET_KEY = "another secret key, of at least 32 characters"
    restart()
    event_log.append(clicks(3, start=3))
    with pytest.raises(id_secret.IdSecretWrong):
        learner.learn(0)
    IdFingerprint.objects.update(fingerprint=id_secret.fingerprint(ids.secret()))  # the state itself differs too
    with pytest.raises(KeysDiffer, match="another ID_SECRET"):
        learner.learn(0)
    assert Learner.objects.get().n_events == 3


# -- shards --------------------------------------------------------------------------------------------------------


@pytest.fixture
def two_shards(settings, monkeypatch):
    settings.SHARDS = 2
    monkeypatch.setattr(pipeline_settings, "configured", lambda: replace(SCREENED, secret=ids.secret()))


def learn_all():
    for shard in range(2):
        learner.learn(shard, for_s=600)


def migrate_amid_events():
    """Let old processes write, migrate, and let old and new ones write.

    Both learners learn in between.
    """
    version_0_1.note_nothing_yet()
    version_0_1.append(clicks(60))
    learn_all()
    version_0_1.append(clicks(60, item="waiting"))
    version_0_1.note_migration()
    for number in range(3):
        version_0_1.append(clicks(30, start=10 * number, item="by an old process"))
        event_log.append(clicks(30, start=10 * number, item="by a new process"))
        learn_all()


@pytest.fixture
def migrated(two_shards):
    yield
    version_0_1.note_no_migration()


def learned_positions():
    found = []
    for step in Step.objects.order_by("shard", "number"):
        part = event_log.read_step(step)
        assert len(part) == step.n_events
        found += zip(part.seq.tolist(), actors_of(part), [step.shard] * len(part), strict=True)
    return found


@pytest.mark.usefixtures("migrated")
def test_every_event_is_learned_once_on_both_sides_of_the_migration():
    migrate_amid_events()
    found = learned_positions()
    assert sorted(seq for seq, _, _ in found) == sorted(Event.objects.values_list("seq", flat=True))
    assert sum(Learner.objects.values_list("n_events", flat=True)) == len(found) == 300
    assert any(len({shard for _, actor, shard in found if actor == f"actor-{n}"}) == 2 for n in range(60))
    for row in Learner.objects.select_related("checkpoint"):
        restart()
        learner.learn(row.shard)
        assert fresh_fold.verify(Checkpoint.objects.filter(shard=row.shard).latest("id"))
    for checkpoint in Checkpoint.objects.all():
        assert fresh_fold.verify(checkpoint) == checkpoint.digest


@pytest.mark.usefixtures("migrated")
def test_a_decision_reaches_the_shard_that_learned_each_event():
    migrate_amid_events()
    found = learned_positions()
    actor = next(f"actor-{n}" for n in range(60) if len(shards_of(f"actor-{n}", 2)) == 2)
    rows = Event.objects.filter(actor=actor).order_by("seq").values_list("seq", flat=True)
    shard_of_row = {seq: shard for seq, _, shard in found}
    assert {shard_of_row[seq] for seq in rows} == {0, 1}
    with connection.cursor() as cursor:
        cursor.execute("SELECT xid::text::bigint, seq FROM recommender_event WHERE actor = %s", [actor])
        positions = [Position(*row) for row in cursor.fetchall()]
    learning_switch.confirm(positions=positions, since_ms=1)
    assert {row.shard: {shard_of_row[seq] for seq in row.seq} for row in Decision.objects.all()} == {0: {0}, 1: {1}}
    learn_all()
    assert EventVerdict.objects.filter(seq__in=rows).count() == len(rows)


@pytest.mark.usefixtures("migrated")
def test_an_actor_of_both_shards_is_erased_from_both():
    migrate_amid_events()
    actor = next(f"actor-{n}" for n in range(60) if len(shards_of(f"actor-{n}", 2)) == 2)
    n_events = event_log.count_of(actor)
    wanted = {}
    for shard in range(2):
        pipeline = Pipeline(pipeline_settings.configured())
        for step in Step.objects.filter(shard=shard).order_by("number"):
            part = event_log.read_step(step)
            rows = np.flatnonzero([each != actor for each in actors_of(part)])
            pipeline.step(encode(pipeline, part).take(rows))
        wanted[shard] = pipeline.digest()
    asked, _ = erasures.ask_for(actor_id=actor)
    assert erasures.run_next()
    asked.refresh_from_db()
    assert (asked.error, asked.outcome["events"], asked.outcome["learned"]) == ("", n_events, n_events)
    learn_all()
    assert {shard: learner.in_memory(shard).pipeline.digest() for shard in range(2)} == wanted
    assert not any(erasures.traces_of(actor).values())
    for checkpoint in Checkpoint.objects.all():
        assert fresh_fold.verify(checkpoint) == checkpoint.digest
    assert sum(len(event_log.read_step(step)) for step in Step.objects.all()) == 300 - n_events
