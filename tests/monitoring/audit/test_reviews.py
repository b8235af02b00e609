"""Decisions are recorded with their effect in one chain that shows every change."""

import os
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.db.models import ProtectedError
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from monitoring.audit import reviews
from monitoring.audit.hash_chain import GENESIS, MAX_SUBJECT_BYTES, ChainHead, Entry
from monitoring.models import Review
from recommender.errors import Invalid
from tests.help.patience import PATIENCE_S

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=10,
)


# -- recording ----------------------------------------------------------------------------------------------------


def test_a_decision_says_who_what_when_and_why(olga, decide):
    before = datetime.now(UTC)
    review = decide(
        by=olga,
        action="revert",
        note="  back to before the push ",
        subject={"checkpoint": 812},
        scope="country:DE",
        shard=0,
        before="a" * 64,
        after="b" * 64,
    )
    review = Review.objects.get(id=review.id)
    assert (review.by, review.user, review.action, review.note) == ("olga", olga, "revert", "back to before the push")
    assert (review.scope, review.shard, review.subject) == ("country:DE", 0, {"checkpoint": 812})
    assert (review.before_digest, review.after_digest) == ("a" * 64, "b" * 64)
    assert abs(review.at - before) < timedelta(minutes=5)


@pytest.mark.parametrize("by", ["policy", "api:the shop", "shell:root"])
def test_a_machine_decides_without_an_account(decide, by):
    review = decide(by=by)
    assert (review.by, review.user) == (by, None)


def test_an_account_may_be_named(olga, decide):
    assert decide(by="olga").user == olga


@pytest.mark.parametrize("by", ["", "nobody", "api:", "shell: ", "api:a\nb", "olga\0"])
def test_who_decides_must_be_somebody(olga, decide, by):
    with pytest.raises(Invalid) as caught:
        decide(by=by)
    assert "by" in caught.value.fields


@pytest.mark.parametrize("name", ["policy", "api:shop", "shell:root"])
def test_an_account_cannot_pass_for_a_machine(olga, decide, name):
    olga.username = name
    olga.save()
    with pytest.raises(Invalid):
        decide(by=olga)


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"note": ""}, "note"),
        ({"note": " \n"}, "note"),
        ({"note": "x" * 2001}, "note"),
        ({"note": "a\0b"}, "note"),
        ({"note": "\ud800"}, "note"),
        ({"action": "delete"}, "action"),
        ({"scope": "x" * 201}, "scope"),
        ({"before": "abc"}, "before"),
        ({"after": "A" * 64}, "after"),
        ({"subject": {"x": "y" * MAX_SUBJECT_BYTES}}, "subject"),
        ({"subject": {"x": float("nan")}}, "subject"),
        ({"subject": {"x": "a\0b"}}, "subject"),
        ({"subject": {"a\0b": 1}}, "subject"),
        ({"subject": {"x": "\udc00"}}, "subject"),
        ({"subject": {"x": {1, 2}}}, "subject"),
        ({"subject": {1: 2}}, "subject"),
        ({"subject": [1]}, "subject"),
    ],
)
def test_what_cannot_be_a_decision_is_refused_and_nothing_written(decide, wrong, field):
    with pytest.raises(Invalid) as caught:
        decide(**wrong)
    assert set(caught.value.fields) == {field}
    assert not Review.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_outside_a_transaction_nothing_is_recorded():
    with pytest.raises(transaction.TransactionManagementError):
        reviews.record(by="policy", action="note", note="n", subject={})
    assert not Review.objects.exists()


def test_a_decision_goes_with_the_transaction_of_what_it_decides(decide):
    decide()
    with transaction.atomic():
        decide()
        transaction.set_rollback(True)
    decide()
    assert [*Review.objects.order_by("id").values_list("id", flat=True)] == [1, 2]
    assert reviews.verify_chain().is_intact


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(subject=st.dictionaries(TEXTS, JSON, max_size=5), note=TEXTS.filter(str.strip))
@example(subject={"a": 1e22, "b": -0.0, "c": 5e-324, "d": 1e308, "e": "\\u0000"}, note="x")
def test_whatever_is_recorded_still_gives_its_hash_when_read_back(decide, subject, note):
    review = decide(subject=subject, note=note)
    stored = Entry(*Review.objects.filter(id=review.id).values_list(*Entry._fields).get())
    assert stored.digest == stored.hash == review.hash
    assert stored.subject == subject


# -- append-only --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        lambda review: Review.objects.update(note="other"),
        lambda review: Review.objects.filter(id=0).update(note="of no row at all"),
        lambda review: review.save(),
        lambda review: review.delete(),
        lambda review: Review.objects.all().delete(),
    ],
)
def test_the_database_refuses_what_the_orm_tries(decide, change):
    review = decide()
    with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
        change(review)
    assert reviews.verify_chain().n_rows == 1


COLUMNS = ", ".join(Entry._fields)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE monitoring_review SET note = 'other'",
        "DELETE FROM monitoring_review",
        "TRUNCATE monitoring_review",
        "TRUNCATE monitoring_review CASCADE",
        f"INSERT INTO monitoring_review ({COLUMNS}) SELECT {COLUMNS} FROM monitoring_review"
        " ON CONFLICT (id) DO UPDATE SET note = 'other'",
        "SET LOCAL session_replication_role = replica; DELETE FROM monitoring_review",
    ],
)
def test_the_database_refuses_sql(decide, statement):
    decide()
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)
    assert reviews.verify_chain().is_intact


def test_the_database_refuses_a_second_row_after_one(decide):
    first = decide()
    decide()
    with pytest.raises(IntegrityError, match="previous_hash"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO monitoring_review SELECT 3, at, by, user_id, action, scope, shard, subject, note,"
            " before_digest, after_digest, %s, repeat('f', 64) FROM monitoring_review WHERE id = 2",
            [first.hash],
        )


def test_an_account_that_decided_is_not_deleted(olga, decide):
    decide(by=olga)
    with pytest.raises(ProtectedError):
        olga.delete()


# -- one chain ----------------------------------------------------------------------------------------------------


def test_each_decision_carries_the_hash_of_the_one_before(decide):
    assert reviews.head() == ChainHead(0, GENESIS)
    rows = [decide() for _ in range(3)]
    assert [row.id for row in rows] == [1, 2, 3]
    assert [row.previous_hash for row in rows] == [GENESIS, rows[0].hash, rows[1].hash]
    assert reviews.head() == ChainHead(3, rows[2].hash)


@pytest.mark.django_db(transaction=True)
def test_writers_at_once_make_one_chain_without_gaps_or_forks():
    n_writers, n_each = 6, 12
    together = threading.Barrier(n_writers)

    def write(writer):
        try:
            together.wait()
            for i in range(n_each):
                with transaction.atomic():
                    reviews.record(by="policy", action="note", note=f"{writer}.{i}", subject={})
                    transaction.set_rollback(i % 4 == 3)  # a rollback leaves no gap
        finally:
            connection.close()

    with ThreadPoolExecutor(n_writers) as pool:
        list(pool.map(write, range(n_writers)))
    report = reviews.verify_chain(batch=7)
    assert report.is_intact
    assert report.n_rows == report.head.id == n_writers * 9
    assert len(set(Review.objects.values_list("previous_hash", flat=True))) == report.n_rows
    times = [*Review.objects.order_by("id").values_list("at", flat=True)]
    assert times == sorted(times)


@pytest.mark.django_db(transaction=True)
def test_a_writer_with_an_old_snapshot_is_refused_instead_of_forking():
    started, written = threading.Event(), threading.Event()

    def write_between():
        started.wait(PATIENCE_S)
        try:
            with transaction.atomic():
                reviews.record(by="policy", action="note", note="between", subject={})
        finally:
            connection.close()
            written.set()

    other = threading.Thread(target=write_between)
    other.start()
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            cursor.execute("SELECT 1 FROM monitoring_review")
        started.set()
        assert written.wait(PATIENCE_S)
        with pytest.raises(IntegrityError):
            reviews.record(by="policy", action="note", note="late", subject={})
        transaction.set_rollback(True)
    other.join()
    assert reviews.verify_chain().n_rows == 1


# -- listing ------------------------------------------------------------------------------------------------------


def test_decisions_are_listed_newest_first_and_by_what_is_asked(olga, decide):
    decide(action="freeze")
    decide(action="thaw", by=olga)
    last = decide(action="freeze", by=olga)

    def ids(**asked):
        return [row.id for row in reviews.list_reviews(**asked)]

    assert ids() == [3, 2, 1]
    assert ids(limit=2) == [3, 2]
    assert ids(before_id=3) == [2, 1]
    assert ids(action="freeze") == [3, 1]
    assert ids(by="olga") == [3, 2]
    assert ids(since=last.at) == [3]


@pytest.mark.django_db(transaction=True)
def test_psql_is_refused_as_well(server_env):
    with transaction.atomic():
        reviews.record(by="policy", action="note", note="n", subject={})
    psql = Path(os.environ.get("PG_BIN_DIR", "/nonexistent")) / "psql"
    program = str(psql) if psql.exists() else "psql"
    try:
        done = subprocess.run(
            [program, "-X", server_env["DATABASE_URL"], "-c", "DELETE FROM monitoring_review"],
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        pytest.skip("no psql here")
    assert done.returncode != 0
    assert "append-only" in done.stderr
    assert reviews.verify_chain().n_rows == 1
