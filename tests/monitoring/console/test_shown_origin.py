"""Test that pages show as much of an origin as PRIVACY keeps, and say so."""

import json
import time

import pytest
from django.urls import reverse

from monitoring.findings import actor_history, actor_likeness, finding_descriptions
from recommender import ids
from recommender.intake import privacy
from recommender.intake.event_rows import parse_events
from recommender.log import event_log
from recommender.log.event_log import Position
from recommender.log.lookups import acts_at
from recommender.log.partitions import ensure_partitions
from tests.help import version_0_1
from tests.help.console_pages import signed_in
from tests.help.log_rows import events

pytestmark = pytest.mark.django_db

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:{0}.0) Gecko/20100101 Firefox/{0}.0"
SECRET_PARTS = ("192.0.2.7", "192.0.2.8", "rv:143", "rv:142", "visit=17")


def sent(actor, *origins):
    """Store clicks of an actor as a request would.

    There is one for each address and version of the browser.
    """
    rows = [
        {
            "actor": actor,
            "item": f"item-{number}",
            "context": {
                "ip": ip,
                "user_agent": FIREFOX.format(version),
                "referrer": "https://news.example/a?visit=17",
            },
        }
        for number, (ip, version) in enumerate(origins)
    ]
    ensure_partitions()
    now_s = time.time()
    parsed = parse_events(json.dumps({"events": rows}).encode(), now_s=now_s, oldest_s=now_s - 60)
    event_log.store(parsed.events, parsed.keys)


def page_of(accounts, actor):
    answer = signed_in(accounts["reviewer"]).get(reverse("console:actor", args=[actor]))
    assert answer.status_code == 200
    return " ".join(answer.content.decode().split())


@pytest.mark.parametrize("level", privacy.LEVELS)
def test_an_actor_s_page_shows_what_is_kept(accounts, settings, level):
    settings.PRIVACY = level
    sent("ana", ("192.0.2.7", 143), ("192.0.2.8", 142), ("2001:db8:1::9", 142))
    page = page_of(accounts, "ana")
    if level == privacy.NONE:
        assert "2 networks, without their names" in page
        assert "2 browsers, without their names" in page
        assert "keeps no addresses and no names of browsers" in page
        assert "192.0.2" not in page
        assert "Firefox" not in page
        return
    assert "Networks: 2001:db8:1::/48, 192.0.2.0/24" in page
    assert "192.0.2.7" not in page
    if level == privacy.RAW:
        assert "rv:143" in page
        assert "Groundswell keeps" not in page
    else:
        assert "Browsers, 2 different ones of these families:" in page
        assert "<li>Firefox</li>" in page
        assert "keeps networks and families of browsers, not addresses and versions" in page
        assert not [part for part in SECRET_PARTS if part in page]


def test_an_actor_without_an_origin_has_none(accounts):
    ensure_partitions()
    parsed = parse_events(b'{"actor": "ana", "item": "a"}', now_s=time.time(), oldest_s=0)
    event_log.store(parsed.events, parsed.keys)
    page = page_of(accounts, "ana")
    assert "The site sent no IP address." in page
    assert "The site sent no user agent." in page


@pytest.mark.parametrize("level", privacy.LEVELS)
def test_what_actors_share_is_found_at_every_level(settings, level):
    settings.PRIVACY = level
    for number in range(8):
        sent(f"bot-{number}", ("192.0.2.7", 143))
        sent(f"reader-{number}", (f"198.51.{number}.1", 130 + number))
    seen = {kind: actor_history.look_up([f"{kind}-{n}" for n in range(8)]) for kind in ("bot", "reader")}
    acts = {kind: [act for who in found.values() for act in who.acts] for kind, found in seen.items()}
    told = actor_likeness.likenesses(acts["bot"], seen["bot"], acts["reader"], seen["reader"], began_ms=0)
    by_word = {each.says.split(":")[0]: each for each in told}
    network, browser = by_word["come from one network"], by_word["use exactly the same browser"]
    assert (network.share, network.usual) == (browser.share, browser.usual) == (1.0, 1 / 8)
    named = {
        privacy.RAW: ("192.0.2.0/24", FIREFOX.format(143)),
        privacy.TRUNCATED: ("192.0.2.0/24", "Firefox"),
        privacy.NONE: ("its name is not kept", "its name is not kept"),
    }
    assert (network.says.split(": ", 1)[1], browser.says.split(": ", 1)[1]) == named[level]


def test_the_api_has_what_is_kept_and_keys_to_compare():
    sent("ana", ("192.0.2.7", 143), ("192.0.2.8", 142))
    (who,) = actor_history.look_up(["ana"]).values()
    acts = acts_at([Position(act.xid, act.seq) for act in who.acts], since_ms=0)
    first, second = (finding_descriptions.describe_act(act, None) for act in acts)
    assert (first["ip"], first["network"], first["user_agent"]) == ("192.0.2.0/24", "192.0.2.0/24", "Firefox")
    assert first["network_key"] == second["network_key"] == f"{ids.encoder().address_key('192.0.2.7'):016x}"
    assert first["agent_key"] != second["agent_key"]
    assert json.dumps([first["network_key"], first["agent_key"]])


def test_acts_of_an_earlier_version_are_compared_by_the_same_keys():
    """Such rows have no keys, and the whole texts."""
    sent("ana", ("192.0.2.7", 143))
    version_0_1.append(events(["bo"], ["item-0"], ip=["192.0.2.8"], user_agent=[FIREFOX.format(143)]))
    (new,), (old,) = (who.acts for who in actor_history.look_up(["ana", "bo"]).values())
    assert (old.network_key, old.agent_key) == (new.network_key, new.agent_key)
    assert (old.network, old.ip) == ("192.0.2.0/24", "192.0.2.8")
