"""The shadow shows events that the defence held back, and never disturbs learning."""

import msgspec
import pytest

from recommender.control import learning_switch
from recommender.core.shadow_trend import Shadow
from recommender.learning import fresh_fold, learner, shadow_learner
from recommender.log import event_log
from recommender.log.event_log import Position
from recommender.models import Item, Learner, Step
from recommender.publishing import published_boards
from recommender.publishing.published_boards import BOARDS, PublishedBoard
from tests.help.learner_process import restart, warm
from tests.help.log_rows import clicks

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("view_store", "empty_log", "fresh_process", "with_shadow"),
]


@pytest.fixture
def with_shadow(settings):
    settings.SHADOW = True
    settings.TRUST_FLOOR = 0.01


def learned(*batches):
    for batch in batches:
        event_log.append(batch)
        learner.learn(0)


def board(view_store, scope):
    packed = view_store.hget(BOARDS, scope)
    return msgspec.msgpack.decode(packed, type=PublishedBoard) if packed else None


def shadow():
    return learner.in_memory(0).shadow


HONEST, PUSH = clicks(5, item="story"), clicks(60, start=100, item="push")


def test_it_counts_in_full_what_the_defended_list_counts_at_the_floor(view_store):
    learned(HONEST, PUSH)
    assert board(view_store, "shadow").items == ["push", "story"]
    assert board(view_store, "shadow").score(0) == 60
    assert board(view_store, "").score(0) < 1


def test_an_attack_that_is_held_off_the_list_leads_the_shadow(view_store):
    learned(HONEST)
    learned(PUSH)
    learning_switch.confirm(positions=_positions(2), since_ms=0)
    learner.learn(0)
    assert "push" not in board(view_store, "").items
    assert board(view_store, "shadow").items[0] == "push"


def _positions(number):
    part = event_log.read_step(Step.objects.get(number=number))
    return [Position(int(xid), int(seq)) for xid, seq in zip(part.xid, part.seq, strict=True)]


def test_a_restart_warms_it_from_the_log(view_store):
    learned(HONEST, PUSH)
    before = dict(zip(board(view_store, "shadow").items, board(view_store, "shadow").counts, strict=True))
    restart()
    learner.learn(0)
    after = dict(zip(board(view_store, "shadow").items, board(view_store, "shadow").counts, strict=True))
    assert after == before


def test_a_restart_on_a_busy_site_reads_the_last_events_alone(view_store, monkeypatch):
    monkeypatch.setattr(shadow_learner, "WARM_EVENTS", 70)
    learned(clicks(50, start=500, item="old"), HONEST, PUSH)
    restart()
    learner.learn(0)
    assert board(view_store, "shadow").items == ["push", "story"]


def test_it_is_no_part_of_the_state(settings):
    learned(HONEST, PUSH)
    with_it = warm().digest()
    settings.SHADOW = False
    assert fresh_fold.verify(Learner.objects.get().checkpoint) == with_it


def test_off_there_is_none(settings, view_store, monkeypatch):
    settings.SHADOW = False
    monkeypatch.setattr(Shadow, "learn", lambda *args: pytest.fail("it costs"))
    learned(HONEST)
    assert shadow() is None
    assert board(view_store, "shadow") is None


def test_one_that_breaks_is_left_and_learning_goes_on(view_store, monkeypatch, caplog):
    learned(HONEST)
    monkeypatch.setattr(Shadow, "learn", lambda *args: 1 / 0)
    learned(PUSH)
    assert shadow() is None
    assert "without it" in caplog.text
    assert Learner.objects.get().step == 2
    assert board(view_store, "shadow") is None


def test_hidden_items_are_on_neither(view_store):
    Item.objects.create(id="push", is_hidden=True)
    learned(HONEST, PUSH)
    assert board(view_store, "shadow").items == ["story"]


def test_no_reader_can_ask_for_it(live_api, view_store, clock):
    Item.objects.create(id="story", categories=["shadow"])
    learned(HONEST, PUSH)
    clock.forward(published_boards.POLL_EVERY_S)
    assert view_store.hexists(BOARDS, "shadow")
    answer = live_api.get("/api/v1/trending?category=shadow", key="admin").json
    assert [each["item"] for each in answer["items"]] == ["story"]
    for query in ("scope=shadow", "country=shadow", "category="):
        answer = live_api.get(f"/api/v1/trending?{query}", key="admin")
        assert answer.status == 400 or answer.json["items"][0]["score"] < 1
