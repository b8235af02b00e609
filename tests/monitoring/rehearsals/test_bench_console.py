"""Tests for the bench of the console: it fills a database, and every page answers."""

import pytest
from django.db import connection

from monitoring.models import Finding, FindingEvent, Review
from monitoring.rehearsals import console_filling, page_times
from recommender.models import EventVerdict, Learner, Step

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("view_store", "empty_log", "fresh_process"),
]
SIZE = console_filling.Size(n_events=4_000, n_findings=200, n_reviews=50)


def test_a_full_database_is_made_and_every_page_answers_on_it(monkeypatch):
    monkeypatch.setattr(console_filling, "CHUNK", 2_000)
    console_filling.fill(SIZE, lambda _text: None)
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*), max(seq) FROM recommender_event")
        n_events, last_seq = cursor.fetchone()
    assert n_events > SIZE.n_events
    assert Learner.objects.get().seq == last_seq
    assert Finding.objects.count() == SIZE.n_findings
    assert FindingEvent.objects.count() == console_filling.PER_FINDING * SIZE.n_findings
    assert EventVerdict.objects.count() >= FindingEvent.objects.count()
    assert Step.objects.filter(number__gte=1_000).count() == 2
    assert Review.objects.count() == SIZE.n_reviews
    timed = list(page_times.measure(repeats=1))
    assert [each.path for each in timed] == page_times.paths()
    assert all(each.median_s > 0 for each in timed)
    assert [each.path for each in timed if not each.n_queries] == ["/"]  # by then the page knows its titles
