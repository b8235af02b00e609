"""The log returns each event once, in commit order, however many write at a time."""

import threading
import time

import pytest
from django.db import DatabaseError, connection, transaction

from recommender.core.events import country_code
from recommender.core.vocabulary import Kind
from recommender.log import event_log
from recommender.log.event_log import Position
from recommender.models import Event
from tests.help.log_rows import actors_of, clicks, events
from tests.help.patience import PATIENCE_S, wait_for

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("empty_log")]

KEY = b"0123456789abcdef"


def read_all(limit=1000, **options):
    """Return all visible events, slice by slice."""
    position, found = Position(), []
    while len(part := event_log.read(after=position, since_ms=0, limit=limit, **options)):
        found.append(part)
        position = part.end
    return found


def test_an_event_comes_back_as_it_was_sent():
    row = {"kind": [int(Kind.RATING)], "occurred_at": [1_700_000_000.25], "value": [4.5], "position": [3]}
    texts = {name: [f"the {name}"] for name in ("session", "recommendation", "user_agent", "referrer")}
    event_log.append(events(["ana"], ["näme 🦀"], **row, **texts, ip=["2001:db8::1"], country=["DE"], key=[KEY]))
    (found,) = read_all()
    assert (actors_of(found), list(found.items), found.batch.kind.tolist()) == (["ana"], ["näme 🦀"], [Kind.RATING])
    assert found.occurred_ms.tolist() == [1_700_000_000_250]
    assert found.batch.country.tolist() == [country_code("DE")]
    stored = Event.objects.get()
    assert (stored.session, stored.value, stored.position, stored.ip) == ("the session", 4.5, 3, "2001:db8::1")
    assert abs(found.received_ms[0] - stored.received_at.timestamp() * 1000) < 1


def test_an_event_without_a_time_of_its_own_occurred_when_it_came():
    event_log.append(clicks(1))
    (found,) = read_all()
    assert found.occurred_ms == found.received_ms


def test_the_same_key_is_written_once():
    assert event_log.append(events("ab", "xy", key=[KEY, None])) == 2
    assert event_log.append(events("ab", "xy", key=[KEY, None])) == 1
    assert Event.objects.count() == 3


def test_a_retry_after_midnight_is_still_a_duplicate():
    event_log.append(events("a", "x", key=[KEY]))
    with connection.cursor() as cursor:  # as if it had been sent a week ago
        cursor.execute("UPDATE recommender_event_key SET received_on = received_on - 7")
    assert event_log.append(events("a", "x", key=[KEY])) == 0


def test_two_writers_with_the_same_keys_in_other_orders_do_not_deadlock():
    keys = [bytes([number]) * 16 for number in range(200)]
    written, errors = [], []

    def write(order):
        try:
            for _ in range(5):
                written.append(event_log.append(events(["a"] * 200, ["x"] * 200, key=order)))
        except DatabaseError as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=write, args=(order,)) for order in (keys, keys[::-1])]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert (errors, sum(written)) == ([], 200)


def test_parallel_writers_one_of_them_slow_lose_nothing_and_repeat_nothing():
    n_writers, n_batches, n_events = 4, 25, 20
    is_done, committed = threading.Event(), []
    n_of_others = (n_writers - 1) * n_batches

    def write(writer):
        for batch in range(n_batches):
            with transaction.atomic():
                event_log.append(clicks(n_events, start=1000 * batch, item=f"writer-{writer}"))
                if writer == 0:  # its numbers are taken, and the other writers commit past it
                    n = len(committed)
                    wait_for(lambda n=n: len(committed) > n or n == n_of_others)
            if writer != 0:
                committed.append(batch)
        connection.close()

    def write_all():
        threads = [threading.Thread(target=write, args=(writer,)) for writer in range(n_writers)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        is_done.set()

    writing = threading.Thread(target=write_all)
    writing.start()
    position, seen = Position(), []
    while True:
        was_done = is_done.is_set()
        part = event_log.read(after=position, since_ms=0, limit=64)
        if len(part):
            position = part.end
            seen += list(zip(part.items, actors_of(part), strict=True))
        elif was_done:
            break
    writing.join()
    assert len(seen) == n_writers * n_batches * n_events
    assert len(set(seen)) == len(seen)
    for writer in range(n_writers):  # the events of one writer come in its order
        of_writer = [actor for item, actor in seen if item == f"writer-{writer}"]
        assert of_writer == sorted(of_writer, key=lambda actor: int(actor.split("-")[1]))


def test_nothing_is_read_past_an_open_transaction():
    event_log.append(clicks(1, item="before"))
    is_open, may_end = threading.Event(), threading.Event()

    def hold():
        with transaction.atomic():
            event_log.append(clicks(1, item="held"))
            is_open.set()
            may_end.wait(PATIENCE_S)
        connection.close()

    holder = threading.Thread(target=hold)
    holder.start()
    assert is_open.wait(PATIENCE_S)
    event_log.append(clicks(1, item="after"))
    first = event_log.read(after=Position(), since_ms=0, limit=10)
    assert (first.items, first.is_end) == (["before"], False)
    may_end.set()
    holder.join()
    rest = event_log.read(after=first.end, since_ms=0, limit=10)
    assert (rest.items, rest.is_end) == (["held", "after"], True)


def test_a_known_range_is_read_again_the_same():
    event_log.append(clicks(10))
    event_log.append(clicks(10, start=10))
    first = event_log.read(after=Position(), since_ms=0, limit=7)
    event_log.append(clicks(5, start=20))
    again = event_log.read(after=Position(), until=first.end, since_ms=0, limit=100)
    assert actors_of(again) == actors_of(first) == [f"actor-{number}" for number in range(7)]


def test_shards_divide_the_actors():
    event_log.append(clicks(200))
    parts = [read_all(shards=3, shard=shard) for shard in range(3)]
    actors = [set(actors_of(part[0])) for part in parts]
    assert all(actors)
    assert len(set.union(*actors)) == sum(map(len, actors)) == 200


def test_the_log_refuses_updates():
    event_log.append(clicks(1))
    with pytest.raises(DatabaseError, match="append-only"):
        Event.objects.update(actor="somebody else")


def test_the_reader_looks_a_day_behind_stream_time():
    event_log.append(clicks(1))
    now_ms = int(time.time() * 1000)
    assert len(event_log.read(after=Position(), since_ms=now_ms, limit=10)) == 1
    assert len(event_log.read(after=Position(), since_ms=now_ms + 2 * 86_400_000, limit=10)) == 0


def test_the_highest_number_counts_the_events():
    before = event_log.last_seq()
    event_log.append(clicks(10))
    assert event_log.last_seq() == before + 10
