"""The page of an item: places, prices in words, accounts, held events, actions."""

import re

import pytest
from django.urls import reverse

from monitoring.console.data import item_data
from monitoring.findings import collect_findings
from monitoring.models import Finding
from monitoring.templatetags.console import item_url
from recommender.core.trend.place_prices import fewest_clickers, margins
from recommender.learning import learner
from recommender.log import event_log
from recommender.models import Item
from recommender.publishing import published_boards
from recommender.publishing.published_boards import PublishedBoard
from tests.help.attacked_site import learn_all, push, site, write
from tests.help.console_pages import decided, page, signed_in
from tests.help.learner_process import warm
from tests.help.log_rows import clicks, events
from tests.help.streams import HOUR, T0

PLACES = [(f"story-{place}", 5000 - 100 * (place - 1)) for place in range(1, 31)]
HOSTILE = [
    "a/b",
    "../../x",
    "/lead",
    "a//b",
    "trail/",
    ".",
    "..",
    "<script>alert(1)</script>",
    "a?b#c%2F",
    "é'\"",
    "id=1&x",
]


@pytest.fixture
def client(accounts):
    return signed_in(accounts["operator"])


def board(places=PLACES, *, unit=1000, fresh=50, **more):
    return PublishedBoard(1, [item for item, _ in places], [count for _, count in places], unit, fresh, **more)


# -- places and prices ----------------------------------------------------------------------------------------------


def test_a_listed_items_price_is_the_margin_of_the_api():
    sizes = [(3, 2400, 900), (50, 2300, 60)]
    told = item_data.price("story-3", "", board(network=11_000, sizes={"story-3": sizes}))
    (actors,), (trust,) = margins([4800], 4000, 1000, 50)
    assert (told.place, told.score, told.rival) == (3, 4.8, "story-11")
    assert (told.actors, told.trust, told.networks) == (actors, trust, 1)
    assert told.readers == fewest_clickers(sizes, 800)


def test_an_item_outside_needs_what_lifts_it_past_the_tenth_place():
    told = item_data.price("story-20", "", board())
    gap = 4100 - 3100
    assert (told.actors, told.trust, told.rival) == (gap // 50 + 1, gap / 1000, "story-10")
    # With so many new acts more, and no fewer, the item has more than place 10.
    assert 3100 + told.actors * 50 > 4100 >= 3100 + (told.actors - 1) * 50


def test_of_an_item_that_is_not_published_the_least_it_can_take_is_told():
    short = item_data.price("unheard of", "", board())
    assert (short.is_exact, short.actors) == (True, 4100 // 50 + 1)
    full = board([(f"item-{place}", 10_000 - place) for place in range(published_boards.BOARD_DEPTH)])
    beyond = item_data.price("unheard of", "", full)
    assert not beyond.is_exact
    assert beyond.actors == (full.counts[9] - full.counts[-1]) // 50 + 1


def test_a_list_with_places_to_spare_costs_nothing():
    told = item_data.price("unheard of", "", board(PLACES[:4]))
    assert told.is_open
    assert told.actors == 1


def test_contributions_become_bands_of_what_they_weigh():
    told = item_data.bands([(2, 1600, 900), (10, 2500, 260), (100, 900, 20)], 1000)
    assert [each.n for each in told] == [2, 10, 100]
    assert [each.share for each in told] == [0.32, 0.5, 0.18]
    assert item_data.bands([(2, 1600, 900), (0, 500, 1000), (10, 2500, 260), (100, 900, 20)], 1000) == told
    assert item_data.bands([], 1000) == []


@pytest.mark.django_db
def test_the_page_says_it_in_words(client, publish):
    Item.objects.create(id="story-3", title="A <b>bold</b> title", url="javascript:alert(1)", categories=["sports"])
    publish(
        {"": PLACES, "category:sports": PLACES[2:3], "country:DE": PLACES[:3], "country:FR": PLACES[:2]},
        fresh=50,
        network=11_000,
        sizes={"story-3": [(3, 2400, 900), (50, 2300, 60)]},
    )
    text = re.sub(r"\s+", " ", page(client, reverse("console:item", args=["story-3"])))
    assert "All items: place 3, score 4.800" in text
    assert "To push it out of the top 10, an attacker needs at least <b>17 new accounts</b>" in text
    assert "from at least <b>1 network</b>" in text
    assert "at least 1 of its readers are fake" in text
    assert "Category sports: place 1" in text
    assert "country DE</th>" in text
    assert "country FR" not in text
    assert "<b>bold" not in text
    assert 'href="javascript' not in text
    assert "high: half an act" in text


@pytest.mark.django_db
@pytest.mark.parametrize("item", HOSTILE)
def test_every_id_has_a_page_and_none_breaks_it(client, publish, item):
    publish({"": [(item, 5000), *PLACES]}, fresh=50)
    text = page(client, item_url(item))
    assert "All items: place 1, score 5.000" in text
    assert "The site has not described this item" in text
    assert "<script>alert" not in text


@pytest.mark.django_db
def test_ids_that_nobody_can_have_sent_are_told_or_empty(client, publish):
    publish({"": PLACES})
    assert "not on it" in page(client, reverse("console:items") + "?id=nothing")
    assert page(client, reverse("console:items") + "?id=a%00b")
    assert "1 to 256 characters" in page(client, reverse("console:items") + "?id=" + "x" * 300, status=404)
    assert page(client, reverse("console:items") + "?id=", status=404)


@pytest.mark.django_db
def test_without_lists_the_page_opens_and_says_so(client, view_store):
    assert "No list has been published yet" in page(client, reverse("console:item", args=["a"]))
    assert "The list is empty" in page(client, reverse("console:items"))


@pytest.mark.django_db
def test_the_page_is_a_bounded_number_of_reads(client, publish, django_assert_max_num_queries):
    publish({"": PLACES})
    for number in range(60):
        finding = Finding.objects.create(title=f"finding {number}", first_ms=1, last_ms=number + 1, is_stale=False)
        finding.items.create(item="story-1", first_ms=1, last_ms=number + 1, n_events=1)
    page(client, reverse("console:item", args=["story-1"]))
    with django_assert_max_num_queries(20):
        text = page(client, reverse("console:item", args=["story-1"]))
    assert text.count('class="gs-finding"') == 20


# -- search ---------------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_items_are_found_by_id_and_by_title(client, publish):
    Item.objects.create(id="story-7", title="Storks return early")
    Item.objects.create(id="story-unread", is_hidden=True)
    publish({"": PLACES})
    by_title = page(client, reverse("console:items") + "?q=STORKS")
    assert "Storks return early" in by_title
    assert "Found" in by_title
    by_id = page(client, reverse("console:items") + "?q=story-")
    assert "story-unread" in by_id
    assert "hidden" in by_id
    assert by_id.count('class="gs-place"') == 21
    assert "story-1<" in page(client, reverse("console:items"))
    hostile = page(client, reverse("console:items") + "?q=%3Cscript%3Ealert(1)%3C/script%3E%00")
    assert "<script>alert" not in hostile


# -- hiding ---------------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_an_item_is_hidden_and_shown_with_a_reason(client, publish):
    publish({"": PLACES})
    address = reverse("console:item", args=["story-1"])
    answer = client.post(
        reverse("console:hide"), {"item": "story-1", "hidden": "1", "note": "libel", "next": address}
    )
    assert answer["Location"] == address
    assert Item.objects.get(id="story-1").is_hidden_by_operator
    text = page(client, address)
    assert "libel" in text
    assert "Show: allow it on lists again" in text
    again = client.post(reverse("console:hide"), {"item": "story-1", "hidden": "1", "note": "once more"})
    assert again.status_code == 409
    assert 'value="once more"' in again.content.decode()
    client.post(reverse("console:hide"), {"item": "story-1", "hidden": "0", "note": "settled"})
    assert not Item.objects.get(id="story-1").is_hidden_now
    assert [(each.action, each.subject["is_hidden"], each.note) for each in decided()] == [
        ("hide", True, "libel"),
        ("hide", False, "settled"),
    ]


@pytest.mark.django_db
@pytest.mark.parametrize("wrong", [{"note": " "}, {"item": "a\tb"}, {"item": "x" * 300}, {"item": ""}])
def test_what_cannot_be_hidden_is_told_and_nothing_is_written(client, publish, wrong):
    publish({"": PLACES})
    answer = client.post(reverse("console:hide"), {"item": "story-1", "hidden": "1", "note": "x"} | wrong)
    assert answer.status_code in (400, 404)
    assert not Item.objects.exists()
    assert not decided()


@pytest.mark.django_db
def test_each_role_sees_the_buttons_it_may_press(accounts, publish):
    publish({"": PLACES})
    finding = Finding.objects.create(title="x", first_ms=1, last_ms=2, is_stale=False)
    finding.items.create(item="story-1", first_ms=1, last_ms=2, n_events=1)
    address = reverse("console:item", args=["story-1"])
    may = {"viewer": (), "reviewer": ("Release:",), "operator": ("Release:", "Hide:", "Revert to before it")}
    for role, labels in may.items():
        text = page(signed_in(accounts[role]), address)
        for label in may["operator"]:
            assert (label in text) == (label in labels)
    for role in ("viewer", "reviewer"):
        answer = signed_in(accounts[role]).post(reverse("console:hide"), {"item": "a", "hidden": "1", "note": "x"})
        assert answer.status_code == 403


# -- through the real learner ---------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("view_store", "empty_log", "fresh_process")
class TestLearned:
    def test_what_was_held_is_stacked_on_what_was_admitted(self, client):
        write(push(site(), "target", 100, at_ms=T0 + 2 * HOUR - 120_000))
        learn_all()
        collect_findings.gather()
        bars = item_data.get_bars(item_id="target", shards=1)
        n_on_it = event_log.fetch("SELECT count(*) FROM recommender_event WHERE item = 'target'", [])[0]
        assert bars.n["held"] + bars.n["out"] >= 90
        assert sum(bars.n.values()) == n_on_it
        assert sum(sum(each["y"]) for each in bars.chart["series"]) == n_on_it
        text = page(client, reverse("console:item", args=["target"]))
        assert "item-events-data" in text
        assert f"Finding {Finding.objects.get(item='target').pk}</a>" in text
        assert item_data.get_bars(item_id="unheard of", shards=1).chart is None

    def test_events_that_wait_are_not_told_as_admitted(self):
        event_log.append(clicks(5))
        learner.learn(0)
        event_log.append(clicks(7, start=50))
        assert item_data.get_bars(item_id="story", shards=1).n == {"admitted": 5, "held": 0, "out": 0, "waiting": 7}

    def test_no_more_of_the_log_than_declared_is_looked_at(self, monkeypatch):
        monkeypatch.setattr(item_data, "LOOKED_AT", 10)
        event_log.append(clicks(30))
        event_log.append(clicks(4, start=50, item="other"))
        assert sum(item_data.get_bars(item_id="story", shards=1).n.values()) == 6

    def test_the_half_lives_that_are_not_served_are_told(self, client):
        event_log.append(events(["ana", "ben", "cleo"], ["story", "story", "other"]))
        learner.learn(0)
        trend, now_ms = warm().trend, warm().stream_ms
        told = item_data.get_standing(item_id="story", item=None).memories
        assert [each.half_life_s for each in told] == [3600, 21_600]
        for half, each in enumerate(told, start=1):
            score = trend.counts(half)[trend.names.index("story")] / trend.unit(now_ms, half)
            assert (each.place, each.score) == (1, pytest.approx(score, rel=1e-6))
        text = page(client, reverse("console:item", args=["story"]))
        assert "60 min" in text
        assert "6 h" in text

    def test_a_hidden_item_leaves_the_published_list(self, client):
        event_log.append(clicks(5))
        learner.learn(0)
        client.post(reverse("console:hide"), {"item": "story", "hidden": "1", "note": "x"})
        learner.learn(0)
        assert published_boards.read_board("")[0] is None
        assert "This item is hidden" in page(client, reverse("console:item", args=["story"]))
