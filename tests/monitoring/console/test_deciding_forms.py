"""Decisions from the list: one, many, and refusals.

Alarms take the place of findings, because they need no log.
"""

import pytest
from django.contrib.messages import get_messages
from django.urls import reverse

from monitoring.console import decide
from monitoring.console.reasons import QUICK
from monitoring.models import Finding, Review
from monitoring.operations import decide_finding
from tests.help.made_findings import alarm
from tests.monitoring.console.test_pages import signed_in

pytestmark = pytest.mark.django_db
WHY = {"reason_release": QUICK["release"][0], "reason_confirm": QUICK["confirm"][0]}


@pytest.fixture
def rita(accounts):
    return signed_in(accounts["reviewer"])


def send(client, name="decide", **fields):
    """Send the form and return the messages."""
    answer = client.post(reverse(f"console:{name}"), WHY | {"next": reverse("console:queue")} | fields)
    assert (answer.status_code, answer["Location"]) == (302, reverse("console:queue"))
    return [str(each) for each in get_messages(answer.wsgi_request)]


def states():
    return list(Finding.objects.order_by("id").values_list("state", flat=True))


def test_one_is_decided_by_its_own_button_whatever_is_selected(rita):
    first, second = alarm(), alarm()
    (said,) = send(rita, one=f"release:{first.pk}", finding=[second.pk])
    assert said == "1 finding released: 0 events count again."
    assert states() == ["released", "open"]
    review = Review.objects.latest("id")
    assert (review.by, review.action, review.note) == ("rita", "release", QUICK["release"][0])


def test_many_are_decided_each_with_a_review(rita):
    chosen = [alarm().pk for _ in range(3)]
    (said,) = send(rita, ruling="confirm", finding=chosen, note="As on Monday.")
    assert said == "3 findings confirmed: 0 events no longer count."
    reviews = Review.objects.filter(action="confirm")
    assert [each.subject["finding"] for each in reviews.order_by("id")] == chosen
    assert {each.note for each in reviews} == {f"{QUICK['confirm'][0]} As on Monday."}
    assert len({each.subject["together"] for each in reviews}) == 1


def test_one_that_is_refused_is_told_and_stops_no_other(rita):
    chosen = [alarm().pk for _ in range(3)]
    decide_finding.confirm(by="policy", note="first", finding_id=chosen[1])
    warned, said = send(rita, ruling="confirm", finding=[*chosen, 10**9])
    assert said == "2 findings confirmed: 0 events no longer count."
    assert warned.startswith("Not changed: 2 findings.")
    assert f"Finding {chosen[1]} is already confirmed." in warned
    assert f"There is no finding {10**9}" in warned
    assert states() == ["confirmed"] * 3


def test_where_all_are_refused_that_is_all_that_is_said(rita):
    decided = alarm(state="confirmed")
    (said,) = send(rita, ruling="confirm", finding=[decided.pk])
    assert said.startswith("Nothing was changed.")
    assert not Review.objects.filter(action="confirm").exists()


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"ruling": "confirm"}, "Choose at least one"),
        ({"ruling": "erase", "finding": ["1"]}, "release or to confirm"),
        ({"finding": ["1"]}, "release or to confirm"),
        ({"ruling": "confirm", "finding": ["x"]}, "has digits only"),
        ({"ruling": "confirm", "finding": ["-1"]}, "has digits only"),
        ({"ruling": "confirm", "finding": ["9" * 30]}, "has digits only"),
        ({"one": "confirm:"}, "Choose at least one"),
        ({"ruling": "confirm", "finding": list(range(1, decide.MAX_AT_ONCE + 2))}, "at most 200"),
        ({"ruling": "confirm", "finding": ["1"], "reason_confirm": "", "note": " "}, "Give a reason"),
        ({"ruling": "confirm", "finding": ["1"], "reason_confirm": "made up"}, "Give a reason"),
    ],
)
def test_a_form_that_makes_no_sense_decides_nothing(rita, fields, says):
    Finding.objects.bulk_create([Finding(id=1, kind="drift", title="x", first_ms=1, last_ms=1, is_stale=False)])
    (said,) = send(rita, **fields)
    assert says in said
    assert states() == ["open"]


def test_a_note_that_is_too_long_decides_nothing(rita):
    chosen = [alarm().pk for _ in range(2)]
    (said,) = send(rita, ruling="confirm", finding=chosen, note="x" * 2001)
    assert "1 to 2000 characters" in said
    assert states() == ["open", "open"]


@pytest.mark.parametrize("name", ["decide", "undo"])
def test_a_viewer_who_forges_a_form_is_refused(accounts, name):
    finding = alarm()
    answer = signed_in(accounts["viewer"]).post(
        reverse(f"console:{name}"), {"one": f"confirm:{finding.pk}", "note": "x", "review": "1"}
    )
    assert answer.status_code == 403
    assert states() == ["open"]


def test_the_list_alone_tells_what_came_of_it(rita):
    finding = alarm()
    part = f"{reverse('console:queue')}?part=1"
    answer = rita.post(reverse("console:decide"), WHY | {"one": f"confirm:{finding.pk}", "next": part}, follow=True)
    shown = answer.content.decode()
    assert "1 finding confirmed: 0 events no longer count." in shown
    assert 'data-key="u"' in shown
    assert "<html" not in shown
