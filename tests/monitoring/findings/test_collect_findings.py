"""Findings: an attack makes one, an honest crowd none, no matter what interrupts."""

import pytest
from django.db import connection, transaction

from monitoring.findings import collect_findings, refresh_findings
from monitoring.findings.wording import FEATURES, REASONS, UNKNOWN
from monitoring.models import Finding, FindingCursor, FindingEvent, FindingItem, Notification
from recommender.control import learning_switch, reverts
from recommender.core.features.feature_columns import FEATURES as MEASURED
from recommender.core.screen import evidence
from recommender.core.vocabulary import Reason
from recommender.learning import learner
from recommender.log import event_log
from recommender.models import Checkpoint, EventVerdict, Learner
from tests.help.attacked_site import flash_crowd, learn_all, push, site, write
from tests.help.log_rows import clicks, events

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("view_store", "empty_log", "fresh_process"),
]

CRAWLER = "Googlebot/2.1 (+http://www.google.com/bot.html)"
FIGURES = ("id", "kind", "state", "item", "n_events", "n_actors", "n_held", "n_quarantined", "reasons", "title")


def gather_all():
    while collect_findings.gather():
        pass


def snapshot():
    rows = list(Finding.objects.order_by("id").values(*FIGURES))
    return rows, sorted(FindingEvent.objects.values_list("finding", "xid", "seq"))


def attack(n=300, **more):
    write(push(site(), "target", n, **more))
    learn_all()


def of_target():
    return Finding.objects.get(items__item="target")


def test_an_attack_is_one_finding_with_the_right_counts():
    attack()
    gather_all()
    finding = of_target()
    verdicts = EventVerdict.objects.filter(seq__in=finding.events.values("seq"))
    assert (finding.kind, finding.state, finding.item) == ("campaign", "open", "target")
    assert finding.n_events == verdicts.count() == finding.n_actors == finding.n_units
    assert finding.n_quarantined == verdicts.filter(verdict=2).count()
    assert 290 <= finding.n_events <= 300
    assert finding.n_held == 0
    assert "almost none opened a second item" in finding.title
    assert finding.title.startswith(f'{finding.n_actors} accounts pushed "target" in ')
    assert finding.last_ms - finding.first_ms < 61_000
    actors = refresh_findings.look(finding).actors
    assert all(actor.startswith("mal-") for actor in actors)


def test_gathered_along_the_way_or_at_the_end_it_is_the_same(monkeypatch):
    write(push(site(), "target", 120))
    learn_all(between=collect_findings.gather)
    gather_all()
    along = of_target()
    Finding.objects.all().delete()
    FindingCursor.objects.all().delete()
    monkeypatch.setattr(collect_findings, "BATCH", 37)
    gather_all()
    for name in FIGURES[1:]:
        assert getattr(of_target(), name) == getattr(along, name)


def test_gathering_again_changes_nothing():
    attack(100)
    gather_all()
    before = snapshot()
    FindingCursor.objects.update(verdict_id=0, step=0)  # as if the cursor had never been written
    gather_all()
    assert snapshot() == before


@pytest.mark.parametrize(
    ("owner", "name", "call"),
    [(collect_findings, "_add", 2), (collect_findings, "_gather_shard", 3), (refresh_findings, "_tell", 1)],
)
def test_killed_in_the_middle_the_next_run_goes_on(owner, name, call, monkeypatch):
    attack(100)
    real, calls = getattr(owner, name), iter(range(1, 1000))

    def die(*args):
        if next(calls) == call:
            raise SystemExit
        return real(*args)

    with monkeypatch.context() as patched:
        patched.setattr(owner, name, die)
        patched.setattr(collect_findings, "BATCH", 30)
        with pytest.raises(SystemExit):
            gather_all()
    gather_all()
    interrupted = of_target()
    Finding.objects.all().delete()
    FindingCursor.objects.all().delete()
    gather_all()
    for each in FIGURES[1:]:
        assert getattr(of_target(), each) == getattr(interrupted, each)


def test_a_crowd_that_was_held_and_released_leaves_no_work():
    write(flash_crowd(site(), "story", 80))
    was_open = []

    def between():
        collect_findings.gather()
        was_open.extend(Finding.objects.filter(state="open", item="story").values_list("id", flat=True))

    learn_all(between=between)
    gather_all()
    assert was_open
    (finding,) = Finding.objects.filter(items__item="story")
    assert (finding.state, finding.n_held, finding.n_quarantined) == ("expired", 0, 0)
    assert finding.n_released_since == finding.n_events > 0
    assert not finding.is_told


def test_the_same_accounts_on_two_items_are_one_finding():
    write(push(push(site(), "target", 80), "other", 80))
    learn_all(between=collect_findings.gather)
    gather_all()
    finding = of_target()
    assert set(finding.items.values_list("item", flat=True)) >= {"target", "other"}
    assert 76 <= finding.n_actors <= 81
    assert finding.n_events == finding.events.count() == sum(finding.items.values_list("n_events", flat=True))
    assert " and 1 more item in" in finding.title


def test_declared_crawlers_are_counted_and_make_no_finding():
    event_log.append(events(["bot"] * 12, ["x"] * 12, user_agent=[CRAWLER] * 12))
    learner.learn(0)
    gather_all()
    assert not Finding.objects.exists()
    assert FindingCursor.objects.get().n_automated == 12


def test_a_quiet_while_makes_another_finding():
    minute = 60_000
    stream = push(site(), "target", 60)
    write(push(stream, "target", 60, name="eve", at_ms=stream.rows[-1][0] + 25 * minute))
    learn_all()
    gather_all()
    assert Finding.objects.filter(items__item="target").count() == 2


def test_a_revert_takes_the_figures_along():
    attack(100)
    gather_all()
    before = snapshot()
    finding = of_target()
    start = Checkpoint.objects.order_by("step").first()
    for mode, exclusion in (
        ("exclude", learning_switch.exclusion(actors=sorted(refresh_findings.look(finding).actors))),
        ("replay", None),
    ):
        learning_switch.ask_for_revert(checkpoint_id=start.pk, mode=mode, exclusion=exclusion, is_preview=False)
        assert reverts.run_next()
        gather_all()
        finding.refresh_from_db()
        if mode == "exclude":
            assert (finding.state, finding.n_quarantined, finding.n_events) == (
                "expired",
                0,
                len(finding.events.all()),
            )
            assert "is in the model's history now" in finding.title
    assert snapshot() == before


def test_whoever_is_told_is_told_once(settings):
    settings.ALERT_WEBHOOK_URL = "https://hooks.example/x"
    write(push(site(), "target", 100))
    learn_all(between=collect_findings.gather)
    gather_all()
    (told,) = Notification.objects.filter(kind="finding", payload__facts__item="target")
    assert not any("mal-" in str(value) for value in told.payload["facts"].values())


def test_two_do_not_gather_at_once():
    attack(40)
    other = connection.copy()
    try:
        with other.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(%s, 0)", [collect_findings._LOCK_CLASS])
            assert collect_findings.gather() == 0
            assert not FindingCursor.objects.exists()
            cursor.execute("SELECT pg_advisory_unlock(%s, 0)", [collect_findings._LOCK_CLASS])
    finally:
        other.close()
    gather_all()
    assert Finding.objects.exists()


def test_what_is_decided_is_not_reopened_and_more_of_the_same_is_a_new_finding():
    attack(60)
    gather_all()
    Finding.objects.update(state=Finding.State.CONFIRMED, is_stale=True)
    n_events = of_target().n_events
    EventVerdict.objects.update(verdict=0)
    gather_all()
    assert of_target().state == "confirmed"
    EventVerdict.objects.update(verdict=2)
    FindingEvent.objects.filter(id__in=of_target().events.values("id")[:10]).delete()
    FindingCursor.objects.all().delete()
    gather_all()
    assert sorted(Finding.objects.filter(items__item="target").values_list("n_events", flat=True)) == [
        10,
        n_events - 10,
    ]


def test_house_is_kept():
    attack(60)
    gather_all()
    assert collect_findings.prune() == 0
    n_others = Finding.objects.exclude(items__item="target").count()
    Finding.objects.update(state=Finding.State.EXPIRED, updated_at="2020-01-01T00:00Z")
    assert collect_findings.prune() == 1 + n_others
    assert not FindingEvent.objects.exists()
    assert not FindingItem.objects.exists()


def test_every_reason_and_feature_has_words():
    assert {int(reason): reason.name.lower() for reason in Reason if reason}.items() <= {
        bit: name for bit, (name, _) in REASONS.items()
    }.items()
    assert MEASURED == FEATURES
    assert evidence.UNKNOWN == UNKNOWN


def test_findings_hold_no_actor():
    attack(60)
    gather_all()
    with connection.cursor() as cursor, transaction.atomic():
        for table in ("finding", "findingitem", "findingevent"):
            cursor.execute(f"SELECT count(*) FROM monitoring_{table} AS t WHERE t::text LIKE '%%mal-%%'", [])
            assert cursor.fetchone()[0] == 0


def test_gathering_without_a_learner_does_nothing():
    assert collect_findings.gather() == 0
    event_log.append(clicks(3))
    learner.get_learner(0)
    assert collect_findings.gather() == 0
    assert Learner.objects.get().step == 0
