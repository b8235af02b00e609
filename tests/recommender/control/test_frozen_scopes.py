"""One list is frozen and shows it, while the other lists go on."""

import pytest

from recommender.control import learning_switch
from recommender.errors import Conflict, Invalid, NotFound, NoView
from recommender.learning import learner
from recommender.log import event_log
from recommender.models import FrozenScope, Item
from recommender.publishing import published_boards
from tests.help.learner_process import restart
from tests.help.log_rows import clicks, events

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("view_store", "empty_log", "fresh_process"),
]
SPORTS = "category=sports"


@pytest.fixture
def site(live_api, learned):
    """Describe two sports stories, the goal ahead of the race, and one of politics."""
    Item.objects.create(id="goal", categories=["sports"])
    Item.objects.create(id="race", categories=["sports"])
    Item.objects.create(id="vote", categories=["politics"])
    learned(clicks(20, item="goal"), clicks(10, start=20, item="race"), clicks(5, start=30, item="vote"))
    return live_api


@pytest.fixture
def learned(fresh_process, clock):
    """Yield learned(batch, ...), which learns batches and lets readers see the result."""

    def learned(*batches):
        for batch in batches:
            event_log.append(batch)
            learner.learn(0)
        learner.learn(0)
        clock.forward(published_boards.POLL_EVERY_S)

    return learned


def get(api, query=SPORTS, **more):
    return api.get(f"/api/v1/trending?{query}", key="read", **more)


def items(answer):
    return [entry["item"] for entry in answer.json["items"]]


RUSH = clicks(50, start=100, item="race")


def test_a_frozen_list_stands_still_and_the_others_go_on(site, learned):
    before = get(site)
    learning_switch.freeze_scope("category:sports")
    learned(RUSH)
    frozen = get(site)
    assert items(frozen) == items(before) == ["goal", "race"]
    assert frozen.json["items"] == before.json["items"]
    assert frozen.json["state"] == "frozen"
    assert frozen.json["checkpoint"] is None
    assert items(get(site, ""))[0] == "race"
    assert get(site, "").json["state"] == "learning"
    assert items(get(site, "category=politics")) == ["vote"]


def test_its_age_is_its_own(site, learned):
    frozen = learning_switch.freeze_scope("category:sports")
    FrozenScope.objects.update(as_of=frozen.as_of - 60)
    learned(RUSH)
    assert get(site, "").json["age_ms"] < 60_000 <= get(site).json["age_ms"]
    assert get(site).json["as_of"] < get(site, "").json["as_of"]


def test_thawed_it_catches_up_at_once(site, learned):
    learning_switch.freeze_scope("category:sports")
    learned(RUSH)
    learning_switch.thaw_scope("category:sports")
    learned()
    assert items(get(site)) == ["race", "goal"]
    assert get(site).json["state"] == "learning"


def test_a_client_that_has_the_frozen_list_needs_no_second_copy(site, learned):
    moving = get(site).headers["etag"]
    learning_switch.freeze_scope("category:sports")
    learned()
    tag = get(site).headers["etag"]
    assert tag != moving
    learned(RUSH, clicks(3, start=200))
    assert get(site, HTTP_IF_NONE_MATCH=tag).status == 304
    learning_switch.thaw_scope("category:sports")
    learned()
    assert get(site, HTTP_IF_NONE_MATCH=tag).status == 200


def test_what_is_hidden_leaves_a_frozen_list_too(site, learned):
    learning_switch.freeze_scope("category:sports")
    learned()
    tag = get(site).headers["etag"]
    Item.objects.filter(id="goal").update(is_hidden=True)
    learned()
    assert items(get(site)) == ["race"]
    assert get(site, HTTP_IF_NONE_MATCH=tag).status == 200


def test_it_stays_frozen_over_a_restart_and_a_lost_store(site, view_store, learned):
    learning_switch.freeze_scope("category:sports")
    restart()
    view_store.flushdb()
    learned(RUSH)
    assert items(get(site)) == ["goal", "race"]
    assert published_boards.reader().head().frozen_scopes == ["category:sports"]


def test_a_country_is_a_scope_too(site, learned):
    learned(events([f"de-{n}" for n in range(5)], ["tor"] * 5, country=["DE"] * 5))
    learning_switch.freeze_scope("country:de")
    learned(events([f"de-{n}" for n in range(5, 20)], ["wahl"] * 15, country=["DE"] * 15))
    assert items(get(site, "country=DE")) == ["tor"]
    learning_switch.thaw_scope("country:DE")
    learned()
    assert items(get(site, "country=DE")) == ["wahl", "tor"]


def test_metrics_count_them(site, learned):
    learning_switch.freeze_scope("category:sports")
    learned()
    assert b"groundswell_frozen_scopes 1.0" in site.get("/metrics").body


def test_of_two_who_freeze_a_list_one_is_told(site):
    learning_switch.freeze_scope("category:sports")
    with pytest.raises(Conflict, match="already frozen"):
        learning_switch.freeze_scope("category:sports")
    learning_switch.thaw_scope("category:sports")
    with pytest.raises(Conflict, match="not frozen"):
        learning_switch.thaw_scope("category:sports")


def test_a_list_that_is_not_there_cannot_stand_still(site, view_store):
    with pytest.raises(NotFound):
        learning_switch.freeze_scope("category:gardens")
    view_store.flushdb()
    with pytest.raises(NoView):
        learning_switch.freeze_scope("category:sports")


@pytest.mark.parametrize("wrong", ["", "sports", "category:", "category:" + "x" * 101, "country:Mars", "shadow:x"])
def test_what_is_no_scope_is_refused(wrong):
    with pytest.raises(Invalid) as refused:
        learning_switch.freeze_scope(wrong)
    assert set(refused.value.fields) == {"scope"}
