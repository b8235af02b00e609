"""The page of an actor: its events in the log, hostile ids, and its erasure."""

from urllib.parse import urlencode

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from monitoring.findings import actor_history, collect_findings, refresh_findings
from monitoring.models import Finding, Review
from recommender.core.trust import TrustConfig
from recommender.log import event_log, lookups
from recommender.log.partitions import ensure_partitions
from recommender.models import Erasure
from tests.help.attacked_site import learn_all, push, site, write
from tests.help.log_rows import events

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("view_store", "empty_log", "fresh_process"),
]
HOUR_S = 3600


def signed_in(user):
    client = Client()
    client.force_login(user)
    return client


def read(client, actor):
    answer = client.get(f"{reverse('console:actors')}?{urlencode({'id': actor})}")
    return answer.status_code, " ".join(answer.content.decode().split())


def acted(actor, hours_ago, **columns):
    """Write acts of an actor, each so many hours ago and on an item of its own."""
    ensure_partitions()
    with connection.cursor() as cursor:
        cursor.execute("SELECT extract(epoch FROM now())::float8")
        (now,) = cursor.fetchone()
    n = len(hours_ago)
    acts = events([actor] * n, [f"item-{each}" for each in hours_ago], **columns)
    event_log.append_at(acts, [now - HOUR_S * each for each in hours_ago])


def test_the_page_says_what_the_log_says(accounts):
    agents = ["Mozilla/5.0 (old)", "Mozilla/5.0 (new)"]
    acted("ana", [22, 1], ip=["192.0.2.7", "203.0.113.9"], user_agent=agents, session=["s1", "s2"])
    status, page = read(signed_in(accounts["reviewer"]), "ana")
    assert status == 200
    assert "Networks: 203.0.113.0/24, 192.0.2.0/24" in page
    assert "203.0.113.9" not in page
    assert page.index("(new)") < page.index("(old)")
    assert "<dt>Active days</dt><dd>2</dd>" in page
    assert "0.05 to 0.24" in page
    assert "click" in page


@pytest.mark.parametrize(("hours", "days"), [([0], 1), ([0, 19], 1), ([0, 20], 2), ([0, 19, 21, 40, 41], 3)])
def test_an_active_day_begins_no_sooner_than_trust_says(hours, days):
    assert actor_history.active_days(3_600_000 * each for each in hours) == days


def test_of_a_busy_actor_the_newest_are_looked_at_and_nothing_is_concluded(monkeypatch):
    acted("bo", [5, 4, 3, 2, 1])
    (seen,) = actor_history.look_up(["bo"], 3).values()
    assert [act.item for act in seen.acts] == ["item-1", "item-2", "item-3"]
    assert (seen.is_all, seen.most) == (False, 1.0)
    (whole,) = actor_history.look_up(["bo"], 6).values()
    assert (whole.is_all, whole.most) == (True, TrustConfig().floor)


def test_what_it_did_in_an_attack_is_there_with_its_finding(accounts):
    write(push(site(), "target", 60))
    learn_all()
    while collect_findings.gather():
        pass
    finding = Finding.objects.get(items__item="target")
    actor = next(iter(refresh_findings.look(finding).actors))
    _, page = read(signed_in(accounts["reviewer"]), actor)
    assert f"Finding {finding.pk}</a>" in page
    assert "quarantine</span>" in page
    assert f"1 of its {finding.n_events} events" in page


NOBODY = [
    "nobody",
    "../../etc/passwd",
    "..",
    "a/b//c",
    "erase",
    "ünïcødé",
    "<script>alert(1)</script>",
    "%00",
    256 * "x",
]


@pytest.mark.parametrize("actor", NOBODY)
def test_whoever_is_not_known_has_an_empty_page(accounts, actor):
    status, page = read(signed_in(accounts["operator"]), actor)
    assert status == 200
    assert "The log has no events of this actor" in page
    assert "<script>alert" not in page


@pytest.mark.parametrize("actor", ["a\0b", "x" * 257, "line\nbreak", "\u202eevil", "\ud800"])
def test_what_is_no_id_is_not_found(accounts, actor):
    address = f"{reverse('console:actors')}?id={''.join(f'%{byte:02X}' for byte in actor.encode(errors='replace'))}"
    answer = signed_in(accounts["reviewer"]).get(address)
    assert answer.status_code == (200 if actor == "\ud800" else 404)  # a path that is no text arrives as another


def test_a_viewer_may_not_know_who_acted(accounts):
    acted("ana", [1])
    client = signed_in(accounts["viewer"])
    assert read(client, "ana")[0] == 403
    assert client.get(reverse("console:actor", args=["ana"])).status_code == 403
    assert "Only reviewers see actors" in client.get(reverse("console:actors")).content.decode()


def test_the_number_of_queries_is_the_same_for_anybody(accounts):
    client, n = signed_in(accounts["reviewer"]), []
    acted("ana", [1])
    acted("bo", [each / 10 for each in range(150)])
    read(client, "ana")
    for actor in ("ana", "bo"):
        with CaptureQueriesContext(connection) as queries:
            read(client, actor)
        n.append(len(queries))
    assert n[0] == n[1]


def test_operators_erase_and_nobody_else(accounts):
    acted("ana", [1])
    form = {"actor": "ana", "again": "ana", "note": "asked for by mail"}
    for role in ("viewer", "reviewer"):
        assert signed_in(accounts[role]).post(reverse("console:erase"), form).status_code == 403
        assert "Erase permanently" not in read(signed_in(accounts[role]), "ana")[1]
    assert not Erasure.objects.exists()
    client = signed_in(accounts["operator"])
    assert "Erase permanently" in read(client, "ana")[1]
    client.post(reverse("console:erase"), form)
    asked = Erasure.objects.get()
    assert (asked.actor, asked.state) == ("ana", "queued")
    review = Review.objects.get(action="erase")
    assert review.by == "otto"
    assert "ana" not in str(review.subject)
    assert "queued</span>" in read(client, "ana")[1]


@pytest.mark.parametrize("change", [{"again": "anna"}, {"again": ""}, {"note": ""}, {"note": "ana asked"}])
def test_an_erasure_by_a_slip_of_the_hand_is_refused(accounts, change):
    form = {"actor": "ana", "again": "ana", "note": "asked for by mail"} | change
    signed_in(accounts["operator"]).post(reverse("console:erase"), form)
    assert not Erasure.objects.exists()


def test_a_look_into_the_log_uses_its_indexes():
    acted("ana", [each / 10 for each in range(100)])
    with connection.cursor() as cursor:
        cursor.execute("SET enable_seqscan = off")
        parameters = {"actors": ["ana", "bo"], "each": 50}
        cursor.execute(f"EXPLAIN {lookups._NEWEST_OF}", parameters)
        plan = "\n".join(row[0] for row in cursor.fetchall())
        cursor.execute("SET enable_seqscan = on")
    assert "actor_seq_idx" in plan
    assert "Seq Scan on recommender_event" not in plan
