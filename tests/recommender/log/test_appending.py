"""Test that each event is stored once by its id, by any writer."""

import threading

import pytest
from django.db import DatabaseError, connection, transaction

from recommender.core.vocabulary import Kind, ListValidity
from recommender.log import event_log
from recommender.log.event_keys import log_key
from recommender.log.rollout import IdRule, id_rule
from recommender.models import Event
from tests.help import version_0_1
from tests.help.log_rows import events
from tests.help.patience import PATIENCE_S, wait_for

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("empty_log")]

KEY, OTHER = b"0123456789abcdef", b"fedcba9876543210"
PAY = b"the pay key of 1"


def store(actors, items, **columns):
    sent = events(actors, items, **columns)
    return event_log.store(sent, sent.keys())


def keys():
    """Return what the table of keys holds: (key, is it an alias)."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT key, is_alias FROM recommender_event_key ORDER BY key")
        return [(bytes(key), is_alias) for key, is_alias in cursor.fetchall()]


def at_once(*works):
    """Run functions in threads with connections of their own, and return the errors."""
    ready, errors = threading.Barrier(len(works)), []

    def run(work):
        try:
            ready.wait(PATIENCE_S)
            work()
        except DatabaseError as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    return errors


# -- duplicates and conflicts --------------------------------------------------------------------------------------


def test_one_id_counts_once_for_each_actor_item_and_kind():
    sent = {"key": [KEY] * 4, "kind": [Kind.CLICK, Kind.CLICK, Kind.CLICK, Kind.LIKE]}
    assert store(["ana", "mal", "ana", "ana"], ["x", "x", "y", "x"], **sent).n_written == 4
    assert store(["ana", "mal", "ana", "ana"], ["x", "x", "y", "x"], **sent).n_written == 0


@pytest.mark.parametrize(
    "part", [{"value": [2.0]}, {"position": [4]}, {"session": ["other"]}, {"recommendation": ["another"]}]
)
def test_the_same_id_with_another_content_is_a_conflict_and_the_first_stays(part):
    sent = {"key": [KEY], "value": [1.0], "position": [3], "session": ["s"], "recommendation": ["r"]}
    assert store(["ana"], ["x"], **sent).conflicts == []
    again = store(["ana"], ["x"], **sent | part)
    assert (again.is_written, again.conflicts) == ([False], [0])
    (row,) = Event.objects.all()
    assert (row.value, row.position, row.session, row.recommendation) == (1.0, 3, "s", "r")


def test_times_and_context_make_no_conflict():
    assert store(["ana"], ["x"], key=[KEY], value=[1.0]).n_written == 1
    context = {
        "ip": ["192.0.2.1"],
        "user_agent": ["Mozilla/5.0"],
        "referrer": ["https://a.example"],
        "country": ["DE"],
    }
    again = store(["ana"], ["x"], key=[KEY], value=[1.0], occurred_at=[1e9], campaign=["letter"], **context)
    assert (again.is_written, again.conflicts) == ([False], [])


def test_within_one_body_the_first_stays_too():
    found = store(["ana"] * 4, ["x"] * 4, key=[KEY, KEY, OTHER, KEY], value=[1.0, 1.0, 2.0, 5.0])
    assert (found.is_written, found.conflicts) == ([True, False, True, False], [3])
    assert sorted(Event.objects.values_list("value", flat=True)) == [1.0, 2.0]


def test_a_body_is_compared_with_what_is_stored_and_not_with_itself():
    store(["ana"], ["x"], key=[KEY], value=[1.0])
    found = store(["ana"] * 2, ["x"] * 2, key=[KEY, KEY], value=[2.0, 1.0])
    assert found.conflicts == [0]


@pytest.mark.parametrize("n_others", [0, 30])
def test_two_writers_at_once_give_one_event_and_one_conflict(n_others):
    for number in range(20):
        key = bytes([number]) * 16
        found = []

        def write(value, key=key, found=found):
            others = [None] * n_others
            sent = {"key": [*others, key], "value": [None] * n_others + [value]}
            found.append(store(["ana"] * (n_others + 1), ["x"] * (n_others + 1), **sent))

        assert at_once(lambda: write(1.0), lambda: write(2.0)) == []
        assert sorted(each.is_written[-1] for each in found) == [False, True]
        assert sorted(each.conflicts for each in found) == [[], [n_others]]
        assert Event.objects.filter(value__isnull=False).count() == number + 1


def test_the_second_writer_waits_and_finds_the_first_ones_content():
    is_written, found = threading.Event(), []

    def is_waiting():
        return event_log.fetch("SELECT count(*) FROM pg_locks WHERE NOT granted", [])[0] == 1

    def first():
        with transaction.atomic():
            store(["ana"], ["x"], key=[KEY], value=[1.0])
            is_written.set()
            wait_for(is_waiting)

    def second():
        assert is_written.wait(PATIENCE_S)
        found.append(store(["ana"], ["x"], key=[KEY], value=[2.0]))

    assert at_once(first, second) == []
    assert (found[0].is_written, found[0].conflicts) == ([False], [0])


@pytest.mark.parametrize("days_ago", [None, 0, 8])
def test_writers_with_the_same_ids_in_other_orders_do_not_deadlock(days_ago):
    ids = [bytes([number]) * 16 for number in range(100)]
    n_written = []

    def write(order, append):
        for _ in range(5):
            sent = events(["a"] * 100, ["x"] * 100, key=order, pay_key=order, list_validity=[1] * 100)
            n_written.append(append(sent))

    def run():
        works = [lambda: write(ids, event_log.append), lambda: write(ids[::-1], event_log.append)]
        if days_ago == 0:
            works.append(lambda: write(ids[50:] + ids[:50], version_0_1.append))
        assert at_once(*works) == []
        assert sum(n_written) == Event.objects.count() == 100

    if days_ago is None:
        run()
        return
    with version_0_1.migrated(days_ago=days_ago):
        run()


# -- processes of 0.1.0 --------------------------------------------------------------------------------------------


def test_a_new_installation_writes_one_key_an_event():
    assert id_rule() == IdRule.ALONE
    store(["ana"], ["x"], key=[KEY])
    assert keys() == [(log_key(KEY, "ana", "x", Kind.CLICK), False)]


@pytest.mark.parametrize("n", [1, 3])
def test_an_event_stored_by_an_old_process_is_a_duplicate_for_a_new_one(n):
    sent = events(["ana"] * n, ["x"] * n, key=[bytes([each]) * 16 for each in range(n)], value=[1.0] * n)
    assert version_0_1.append(sent) == n
    for days_ago in (0, 8, 20):
        with version_0_1.migrated(days_ago=days_ago):
            found = event_log.store(sent, sent.keys())
            assert (found.n_written, found.conflicts) == (0, [])
    assert Event.objects.count() == n


def test_old_keys_are_looked_up_until_retention_has_deleted_them(settings):
    settings.RETENTION_DAYS = 30
    for days_ago, rule in ((0, IdRule.BOTH), (6.9, IdRule.BOTH), (7.1, IdRule.OLDER), (37.1, IdRule.ALONE)):
        with version_0_1.migrated(days_ago=days_ago):
            assert id_rule() == rule


@pytest.mark.parametrize("n", [1, 3])
def test_an_event_stored_by_a_new_process_is_a_duplicate_for_an_old_one(n):
    sent = events(["ana"] * n, ["x"] * n, key=[bytes([each]) * 16 for each in range(n)])
    with version_0_1.migrated():
        assert event_log.append(sent) == n
        assert version_0_1.append(sent) == 0
        assert event_log.append(sent) == 0
    assert Event.objects.count() == n


def test_an_alias_does_not_hide_another_event_with_the_same_id():
    with version_0_1.migrated():
        assert store(["ana", "mal"], ["x", "x"], key=[KEY, KEY]).n_written == 2
        assert store(["ben"], ["x"], key=[KEY]).n_written == 1
    assert sum(is_alias for _, is_alias in keys()) == 1


def test_an_old_and_a_new_process_at_once_store_an_event_once():
    with version_0_1.migrated():
        for number in range(20):
            sent = events(["ana"], ["x"], key=[bytes([number]) * 16])
            n_written = []
            works = (version_0_1.append, event_log.append)
            assert at_once(*(lambda w=work, n=n_written, s=sent: n.append(w(s)) for work in works)) == []
            assert sum(n_written) == 1
    assert Event.objects.count() == 20


# -- payments ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_others", [0, 3])
def test_a_place_of_a_list_pays_once(n_others):
    def act(actor, key=None, validity=ListValidity.VALID, pay_key=PAY):
        columns = {"key": [key], "list_validity": [validity], "pay_key": [pay_key]}
        columns = {name: [*column, *[None] * n_others] for name, column in columns.items()}
        return store([actor, *["other"] * n_others], ["x"] * (n_others + 1), **columns)

    assert act("ana", KEY).list_validity[0] == ListValidity.VALID
    assert act("ana", KEY).list_validity[0] is None  # not written again
    assert act("ana", OTHER).list_validity[0] == ListValidity.SPENT
    assert act("ana").list_validity[0] == ListValidity.SPENT
    assert act("ana", validity=ListValidity.EXPIRED, pay_key=None).list_validity[0] == ListValidity.EXPIRED
    stored = Event.objects.filter(actor="ana").order_by("seq").values_list("list_validity", flat=True)
    assert list(stored) == [1, 2, 2, 7]
    assert not Event.objects.filter(actor="other").exclude(list_validity=None).exists()


def test_a_conflict_pays_nothing():
    store(["ana"], ["x"], key=[KEY], value=[1.0])
    again = store(["ana"], ["x"], key=[KEY], value=[2.0], list_validity=[1], pay_key=[PAY])
    assert again.conflicts == [0]
    assert PAY not in dict(keys())


# -- erasure -------------------------------------------------------------------------------------------------------


def test_the_keys_of_an_erased_actor_are_forgotten():
    with version_0_1.migrated():
        version_0_1.append(events(["mal", "ana"], ["x", "x"], key=[KEY, OTHER]))
        ids = [b"a" * 16, b"b" * 16]
        event_log.append(events(["mal", "ana"], ["y", "y"], key=ids))
        event_log.append(events(["mal"], ["z"]))
        assert len(keys()) == 6
        with transaction.atomic():
            assert len(event_log.erase("mal")) == 3
        assert keys() == sorted(
            [(OTHER, False), (b"b" * 16, True), (log_key(b"b" * 16, "ana", "y", Kind.CLICK), False)]
        )
        assert version_0_1.append(events(["mal"], ["y"], key=ids[:1])) == 1


def test_what_a_learner_needs_is_stored_beside_the_texts():
    sent = events(["ana"], ["x"], user_agent=["Googlebot/2.1"], campaign=["letter"], ip=["192.0.2.1"])
    made = sent.keys()
    event_log.store(sent, made)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT site, campaign, is_crawler, actor_key, item_key, session_key, network, agent, bucket"
            " FROM recommender_event"
        )
        site, campaign, is_crawler, *hashes, bucket = cursor.fetchone()
    assert (site, campaign, is_crawler) == (1, "letter", True)
    unsigned = [None if each is None else each % 2**64 for each in hashes]
    assert unsigned == [*made.actor, *made.item, None, *made.network, *made.agent]
    assert bucket == made.actor[0] >> 58


def test_a_text_of_several_lines_is_refused():
    with pytest.raises(ValueError, match="line break"):
        event_log.append(events(["ana", "b\nc"], ["x", "y"]))
    assert not Event.objects.exists()
