"""The audit log on a page: filtered, checked, downloaded, and safe with any note."""

import csv
from datetime import timedelta
from io import StringIO

import pytest
from django.contrib.auth import get_user_model
from django.db import connection
from django.urls import reverse
from django.utils import timezone

from monitoring.audit import audit_list, chain_checks
from monitoring.audit.audit_list import Asked, list_audit
from monitoring.models import ChainCheck, Review
from tests.monitoring.conftest import unguarded
from tests.monitoring.console.test_pages import signed_in

pytestmark = pytest.mark.django_db
HOSTILE = ['=cmd|"/c calc"!A0', "+1+1", "-2", "@SUM(A1)", " =1", "\t=1", "<script>alert(1)</script>"]


@pytest.fixture
def rita(accounts):
    return signed_in(accounts["reviewer"])


def shown(client, **address):
    answer = client.get(reverse("console:audit"), address)
    assert answer.status_code == 200
    return answer.content.decode()


def notes(**asked):
    return [row.review.note for row in list_audit(Asked(**asked)).rows]


def test_newest_first_and_each_filter_leaves_what_it_says(decide):
    decide(note="one", action="freeze")
    decide(note="two of a kind", action="thaw", by="api:shop")
    decide(note="three", action="thaw")
    assert notes() == ["three", "two of a kind", "one"]
    assert notes(action="thaw") == ["three", "two of a kind"]
    assert notes(by="api:shop") == ["two of a kind"]
    assert notes(text="KIN two") == ["two of a kind"]
    assert notes(since=timezone.now() + timedelta(hours=1)) == []
    assert notes(until=timezone.now() - timedelta(hours=1)) == []


def test_pages_follow_one_another(decide, monkeypatch, rita):
    monkeypatch.setattr(audit_list, "PAGE", 2)
    total = Review.objects.count()
    for number in range(3):
        decide(note=f"note {number}")
    first = list_audit(Asked())
    assert [row.review.pk for row in first.rows] == [total + 3, total + 2]
    assert list_audit(Asked(), before=first.before).rows[0].review.pk == total + 1
    assert f"before={total + 2}" in shown(rita)


def test_words_of_a_note_are_read_by_their_index():
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
    plan = audit_list._filtered(Asked(text="fell")).order_by().explain()
    assert "monitoring_review_words" in plan


def test_what_a_decision_is_about_is_linked(decide, rita):
    decide(subject={"finding": 7, "checkpoint": 8, "revert": 9, "undo_of": 1, "events": 10})
    page = shown(rita)
    for name, number in (("finding", 7), ("revert", 9)):
        assert reverse(f"console:{name}", args=[number]) in page
    assert "#review-1" in page


def test_a_checkpoint_leads_to_the_way_back_for_whoever_may_go_it(decide, accounts):
    decide(subject={"checkpoint": 8})
    link = f"{reverse('console:ask-revert')}?checkpoint=8"
    for who, may_go in (("viewer", False), ("operator", True)):
        client = signed_in(accounts[who])
        page = shown(client)
        assert "checkpoint 8" in page
        assert (link in page) == may_go
        assert (client.get(link).status_code == 200) == may_go


def test_whatever_a_note_says_is_text(decide, rita):
    for note in HOSTILE:
        decide(note=note, subject={"text": note.strip()})
    page = shown(rita, q="<script>", by="'\"><script>alert(1)</script>")
    assert "<script>alert(1)</script>" not in page + shown(rita)


def test_the_file_holds_every_row_and_no_formula(decide, rita):
    for note in HOSTILE:
        decide(note=note, scope="=1+1")
    answer = rita.get(reverse("console:audit-export"))
    assert answer.streaming
    assert "attachment" in answer["Content-Disposition"]
    text = b"".join(answer.streaming_content).decode()
    rows = list(csv.DictReader(StringIO(text)))
    assert [int(row["id"]) for row in rows] == list(Review.objects.order_by("id").values_list("id", flat=True))
    for row in rows:
        assert not any(value.lstrip().startswith(("=", "+", "@", "-")) for value in row.values())
    assert rows[-1]["note"] == HOSTILE[-1]


def test_the_file_is_read_in_pieces_and_has_what_the_page_is_filtered_by(decide, monkeypatch):
    monkeypatch.setattr(audit_list, "BATCH", 2)
    for number in range(5):
        decide(note=f"note {number}", action="thaw")
    pieces = list(audit_list.lines(Asked(action="thaw")))
    assert len(pieces) == 4  # three batches, and the end
    assert [row["note"] for row in csv.DictReader(StringIO("".join(pieces)))] == [f"note {n}" for n in range(5)]
    assert "".join(audit_list.lines(Asked(action="erase"))).startswith("id,at,by,")


def test_a_check_begins_where_the_last_one_ended(decide):
    n = Review.objects.count()
    decide()
    decide()
    first = chain_checks.check(by="policy")
    assert (first.after_id, first.n_rows, first.head_id, first.n_problems) == (0, n + 2, n + 2, 0)
    decide()
    assert chain_checks.get_verified().n_since == 1
    second = chain_checks.check(by="policy")
    assert (second.after_id, second.n_rows, second.head_id) == (n + 2, 1, n + 3)
    assert chain_checks.check(by="policy", is_full=True).n_rows == n + 3


def test_a_long_chain_is_checked_a_piece_at_a_time(decide, monkeypatch):
    monkeypatch.setattr(chain_checks, "CHECKED_ROWS", 2)
    n = Review.objects.count()
    for _ in range(5):
        decide()
    heads = [chain_checks.check(by="policy").head_id for _ in range(n + 5)]
    assert heads[0] == 2
    assert heads[-1] == n + 5
    assert chain_checks.get_verified().n_since == 0


@pytest.mark.parametrize("row", [2, 3])
def test_a_changed_row_is_told_and_checked_again_from_the_beginning(rita, decide, row):
    for _ in range(3):
        decide()
    n = Review.objects.count()
    chain_checks.check(by="policy")
    with unguarded() as cursor:
        # If the row is the head of the last check, that is rewritten as well.
        at = n if row == 3 else 2
        cursor.execute("UPDATE monitoring_review SET note = 'x', hash = md5('a') || md5('b') WHERE id = %s", [at])
    form = {"full": "" if row == 3 else "1", "next": reverse("console:audit")}
    answer = rita.post(reverse("console:audit-verify"), form, follow=True)
    page = answer.content.decode()
    assert "NOT INTACT" in page
    assert f"Number {at}" in page
    assert chain_checks.intact_head().id == 0


def test_whoever_may_see_the_chain_may_check_it_and_it_says_who(rita):
    answer = rita.post(reverse("console:audit-verify"), {"full": ""}, follow=True)
    assert "Intact" in answer.content.decode()
    assert ChainCheck.objects.get().by == "rita"
    stranger = get_user_model().objects.create_user("mal", is_staff=True)
    assert signed_in(stranger).post(reverse("console:audit-verify")).status_code == 403
    assert signed_in(stranger).get(reverse("console:audit-export")).status_code == 403


def test_old_checks_are_forgotten():
    for _ in range(4):
        chain_checks.check(by="policy")
    assert chain_checks.prune(kept=2) == 2
    assert ChainCheck.objects.count() == 2
