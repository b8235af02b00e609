"""A check of the chain of decisions finds every change."""

import pytest

from monitoring.audit import reviews
from monitoring.audit.hash_chain import GENESIS, ChainHead, Entry
from monitoring.models import Review
from tests.monitoring.conftest import unguarded


def kinds(report):
    return [(problem.id, problem.kind) for problem in report.problems]


@pytest.mark.parametrize("batch", [1, 3, 1000])
def test_an_untouched_chain_is_intact(decide, batch):
    assert reviews.verify_chain(batch=batch).is_intact
    rows = [decide(note=str(i)) for i in range(7)]
    report = reviews.verify_chain(batch=batch)
    assert report.is_intact
    assert (report.n_rows, report.head) == (7, ChainHead(7, rows[-1].hash))


@pytest.mark.parametrize(
    "change",
    [
        "note = 'nothing happened'",
        "by = 'policy '",
        "user_id = 99",
        "at = at + interval '1 microsecond'",
        "action = 'note'",
        "scope = 'country:DE'",
        "shard = 1",
        "subject = '{}'",
        "before_digest = repeat('a', 64)",
        "after_digest = repeat('a', 64)",
        "hash = repeat('a', 64)",
    ],
)
def test_a_changed_row_is_found_whatever_is_changed(decide, change):
    for _ in range(4):
        decide()
    with unguarded() as cursor:
        cursor.execute(f"UPDATE monitoring_review SET {change} WHERE id = 2")
    report = reviews.verify_chain(batch=2)
    assert (2, "changed") in kinds(report)
    assert {id for id, _ in kinds(report)} <= {2, 3}


def test_a_row_changed_together_with_its_hash_is_found_at_the_next(decide):
    for _ in range(3):
        decide()
    entry = Entry(*Review.objects.filter(id=2).values_list(*Entry._fields).get())._replace(note="forged")
    with unguarded() as cursor:
        cursor.execute("UPDATE monitoring_review SET note = %s, hash = %s WHERE id = 2", [entry.note, entry.digest])
    assert kinds(reviews.verify_chain()) == [(3, "unlinked")]


@pytest.mark.parametrize(("gone", "told"), [("1", 1), ("2", 2), ("2, 3", 2), ("1, 2, 3", 1)])
def test_missing_rows_are_found(decide, gone, told):
    for _ in range(5):
        decide()
    with unguarded() as cursor:
        cursor.execute(f"DELETE FROM monitoring_review WHERE id IN ({gone})")
    assert kinds(reviews.verify_chain(batch=1)) == [(told, "missing")]


def test_rows_that_changed_places_are_found(decide):
    for i in range(5):
        decide(note=str(i))
    with unguarded() as cursor:
        for number, to in ((2, 99), (3, 2), (99, 3)):
            cursor.execute("UPDATE monitoring_review SET id = %s WHERE id = %s", [to, number])
    found = kinds(reviews.verify_chain())
    assert {(2, "changed"), (3, "changed"), (2, "reordered"), (3, "reordered")} <= set(found)


def test_a_fork_is_found(decide):
    for _ in range(3):
        decide()
    with unguarded() as cursor:
        cursor.execute("ALTER TABLE monitoring_review DROP CONSTRAINT monitoring_review_previous_hash_key")
    first, third = (Entry(*row) for row in Review.objects.exclude(id=2).order_by("id").values_list(*Entry._fields))
    fork = third._replace(id=4, previous_hash=first.hash, note="another way")
    Review.objects.create(**fork._replace(hash=fork.digest)._asdict())
    assert kinds(reviews.verify_chain()) == [(4, "forked")]


def test_of_many_problems_some_are_told_and_all_are_counted(decide):
    for _ in range(30):
        decide()
    with unguarded() as cursor:
        cursor.execute("UPDATE monitoring_review SET note = 'x'")
    report = reviews.verify_chain()
    assert (report.n_problems, len(report.problems)) == (30, reviews.MAX_PROBLEMS)


def test_dropping_the_newest_rows_is_found_by_a_head_kept_elsewhere(decide):
    for _ in range(4):
        decide()
    kept = ChainHead.parse(reviews.head().signed())
    decide()
    assert reviews.verify_chain(kept=kept).is_intact
    with unguarded() as cursor:
        cursor.execute("DELETE FROM monitoring_review WHERE id >= 4")
    assert reviews.verify_chain().is_intact
    assert kinds(reviews.verify_chain(kept=kept)) == [(4, "head")]
    decide()  # a new row in its place
    assert kinds(reviews.verify_chain(kept_hash=kept.hash)) == [(4, "head")]


def test_the_head_of_an_empty_chain_is_always_there(decide):
    decide()
    assert reviews.verify_chain(kept=ChainHead(0, GENESIS), kept_hash=GENESIS).is_intact


def test_a_head_signed_elsewhere_is_not_believed(decide, settings):
    decide()
    signed = reviews.head().signed()
    assert ChainHead.parse(signed + "\n") == reviews.head()
    for wrong in ("", "1:" + "a" * 64, signed[:-1], "2" + signed[1:]):
        with pytest.raises(ValueError, match="not signed"):
            ChainHead.parse(wrong)
    settings.SECRET_KEY = "another key of at least thirty-two characters"
    with pytest.raises(ValueError, match="not signed"):
        ChainHead.parse(signed)
