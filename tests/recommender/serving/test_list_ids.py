"""Test that a list's id is valid for its actor, item and place only."""

import base64
import time
from hashlib import blake2b

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from recommender.core.vocabulary import Kind, ListValidity
from recommender.counters import RECOMMENDED_CLICKS
from recommender.intake.event_rows import MAX_LIST_ID, event_key
from recommender.models import Event
from recommender.serving import list_ids
from recommender.serving.list_ids import CLOCKS_S, MAX_AGE_S, MAX_PLACES, SOURCES, issue, judge, source_of
from tests.help.written_decisions import at_once

NOW_S = 1_800_000_000.5
CLICK, EXPOSURE = int(Kind.CLICK), int(Kind.EXPOSURE)
V = ListValidity
ITEMS = [f"story-{n}" for n in range(10)]


def issued(actor="ana", items=ITEMS, now_s=NOW_S):
    return issue(actor=actor, items=items, sources=[n % 4 for n in range(len(items))], now_s=now_s)


def judged(recommendation, actor="ana", item="story-3", position=3, kind=CLICK, now_s=NOW_S):
    return judge(recommendation=recommendation, actor=actor, item=item, position=position, kind=kind, now_s=now_s)


def validity(*arguments, **named):
    return judged(*arguments, **named)[0]


@given(
    items=st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=MAX_PLACES, unique=True),
    actor=st.text(min_size=1, max_size=50),
)
@examples(max_examples=30)
def test_every_place_is_valid_for_its_item_and_knows_its_source(items, actor):
    sent = issued(actor, items)
    assert len(sent) == 16 + 4 * len(items) <= MAX_LIST_ID
    keys = set()
    for place, item in enumerate(items):
        found, key = judged(sent, actor, item, place)
        assert (found, len(key)) == (V.VALID, 16)
        assert source_of(recommendation=sent, position=place) == SOURCES[place % 4]
        keys.add(key)
    assert len(keys) == len(items)


def test_the_sizes_that_the_documents_name():
    assert [len(issued(items=ITEMS * n)) for n in (1, 20)] == [56, 816]


def test_an_id_is_good_for_its_actor_its_item_its_place_and_its_hour():
    sent = issued()
    assert validity(sent) == V.VALID
    for named, found in [
        ({"actor": "mal"}, V.OTHER_ACTOR),
        ({"actor": "an"}, V.OTHER_ACTOR),
        ({"item": "story-4"}, V.OTHER_ITEM),
        ({"item": "mine"}, V.OTHER_ITEM),
        ({"position": 4}, V.OTHER_ITEM),
        ({"position": 10}, V.NO_PLACE),
        ({"position": -1}, V.NO_PLACE),
        ({"position": 10**6}, V.NO_PLACE),
        ({"position": None}, V.NO_PLACE),
        ({"now_s": NOW_S + MAX_AGE_S + 1}, V.EXPIRED),
        ({"now_s": NOW_S - CLOCKS_S - 1}, V.EXPIRED),
    ]:
        assert judged(sent, **named) == (found, None)
    # the process that served it knows the database's clock a little differently
    assert validity(sent, now_s=NOW_S - CLOCKS_S + 1) == V.VALID


def test_one_list_pays_for_no_other_item_at_any_place(settings):
    settings.SECRET_KEY = "fixed, so that none of these 8,000 guesses is lucky"
    sent = issued(items=[f"story-{n}" for n in range(MAX_PLACES)])
    wanted = [
        validity(sent, item=f"mine-{target}", position=place) for target in range(20) for place in range(MAX_PLACES)
    ]
    assert set(wanted) == {V.OTHER_ITEM}
    moved = [
        validity(sent, item=f"story-{n}", position=place)
        for n in range(20)
        for place in range(MAX_PLACES)
        if n != place
    ]
    assert set(moved) == {V.OTHER_ITEM}


def test_parts_of_two_lists_make_no_third():
    mine, other = issued("mal", ["mine"]), issued("ana", ["story"])
    mixed = [mine[:16] + other[16:], other[:16] + mine[16:], mine + other[16:], mine[:16], mine[16:]]
    for sent in mixed:
        for actor in ("mal", "ana"):
            assert {validity(sent, actor, item, 0) for item in ("mine", "story")} == {V.NOT_OURS}


def test_an_id_with_any_letter_changed_is_not_ours():
    sent = issued()
    for place, letter in enumerate(sent):
        changed = sent[:place] + ("A" if letter != "A" else "B") + sent[place + 1 :]
        assert judged(changed) == (V.NOT_OURS, None)


def test_a_text_is_not_moved_between_actor_and_item():
    sent = issued("ana1", ["story"])
    assert validity(sent, "ana", "1story", 0) == V.OTHER_ACTOR


def test_a_place_has_one_pay_key_for_each_kind_however_the_id_is_spelled():
    sent = next(each for each in (issued(now_s=NOW_S + n) for n in range(1000)) if "-" in each or "_" in each)
    key = judged(sent, now_s=NOW_S + 500)[1]
    assert judged(sent, now_s=NOW_S + 600)[1] == key
    assert judged(sent.replace("-", "+").replace("_", "/"), now_s=NOW_S + 500)[1] == key
    assert judged(sent, kind=EXPOSURE, now_s=NOW_S + 500)[1] != key
    assert judged(sent, item="story-2", position=2, now_s=NOW_S + 500)[1] != key
    assert judged(issued(now_s=NOW_S + 2000), now_s=NOW_S + 2000)[1] != key


def test_no_event_id_has_the_key_of_a_place():
    sent = issued()
    whole = base64.urlsafe_b64decode(sent)
    key = judged(sent)[1]
    tried = [sent, f"{sent}3", whole.decode("latin-1"), (whole + b"\0\3\2").decode("latin-1")]
    assert key not in [event_key(each) for each in tried]


@pytest.mark.parametrize(
    "sent",
    [
        "",
        "a",
        "ä" * 20,
        "=" * 16,
        "A" * 128,
        "A" * 1024,
        "A" * 817,
        "../../etc",
        "AAAA AAAA",
        "\0" * 20,
        "\ud800" * 20,
        "AAAA" * 4 + "AA==",
        "a" * 100_000,
        "\N{GRINNING FACE}" * 8,
    ],
)
def test_every_hostile_text_is_answered(sent):
    assert judged(sent) == (V.NOT_OURS, None)


encoded = st.binary(max_size=620).map(lambda raw: base64.urlsafe_b64encode(raw).decode())


@given(sent=st.one_of(st.text(max_size=900), encoded))
@examples(max_examples=200)
def test_any_text_at_all_is_answered(sent):
    assert judged(sent, actor=sent, item=sent) == (V.NOT_OURS, None)


def test_an_id_of_the_version_before_is_not_ours(settings):
    # it had the time, the number of places, their sources, and one MAC that covered the actor
    key = blake2b(settings.SECRET_KEY.encode(), digest_size=32, person=b"recommendation").digest()
    payload = int(NOW_S).to_bytes(4, "big") + b"\x0a" + b"\xe4" * 3
    mac = blake2b(payload + b"ana", digest_size=8, key=key).digest()
    sent = base64.urlsafe_b64encode(payload + mac).decode().rstrip("=")
    assert len(sent) == 22
    assert judged(sent) == (V.NOT_OURS, None)
    long = int(NOW_S).to_bytes(4, "big") + bytes([200]) + b"\xe4" * 50
    sent = base64.urlsafe_b64encode(long + blake2b(long + b"ana", digest_size=8, key=key).digest()).decode()
    assert judged(sent.rstrip("=")) == (V.NOT_OURS, None)


def test_an_id_lives_through_a_change_of_the_key_only_while_the_old_one_is_named(settings):
    sent = issued()
    old, settings.SECRET_KEY = settings.SECRET_KEY, "another key of at least thirty-two characters"
    assert validity(sent) == V.NOT_OURS
    settings.SECRET_KEY_FALLBACKS = [old]
    assert validity(sent) == V.VALID
    assert issued() != sent


@pytest.mark.parametrize("n", [0, 201])
def test_a_list_has_places_and_not_too_many(n):
    with pytest.raises(ValueError, match="1 to 200 places"):
        list_ids.issue(actor="ana", items=["story"] * n, sources=[0] * n, now_s=NOW_S)


@pytest.mark.usefixtures("empty_log")
def test_a_click_that_is_sent_in_counts_for_its_source(api):
    def clicks(source):
        return RECOMMENDED_CLICKS.labels(source)._value.get()

    before = {source: clicks(source) for source in (*SOURCES, "not_credited")}
    recommendation = issue(actor="ana", items=["other", "story"], sources=[1, 0], now_s=time.time())
    click = {"actor": "ana", "item": "story", "recommendation": recommendation, "position": 1}
    answer = api.post(
        "/api/v1/events",
        {"events": [click, click | {"kind": "exposure"}, click | {"actor": "mal"}, click | {"item": "mine"}]},
        key="ingest",
    )
    assert (answer.status, answer.json["accepted"]) == (202, 4)
    assert clicks("similar") == before["similar"] + 1
    assert clicks("trending") == before["trending"]
    assert clicks("not_credited") == before["not_credited"] + 2


# -- in the log ------------------------------------------------------------------------------------------------------


def send(api, *events):
    """Send events in one body, and return the validity of each in the log."""
    before = set(Event.objects.values_list("seq", flat=True))
    answer = api.post("/api/v1/events", {"events": list(events)}, key="ingest")
    assert answer.status == 202
    assert answer.json["rejected"] == []
    return list(Event.objects.exclude(seq__in=before).order_by("seq").values_list("list_validity", flat=True))


@pytest.fixture
def click(empty_log):
    recommendation = issue(actor="ana", items=["other", "story"], sources=[1, 0], now_s=time.time())
    return {"actor": "ana", "item": "story", "recommendation": recommendation, "position": 1}


def test_a_place_pays_once_for_each_kind_of_act(api, click):
    assert send(api, click | {"kind": "exposure"}) == [V.VALID]
    assert send(api, click | {"kind": "view"}) == [V.VALID]
    assert send(api, click) == [V.VALID]
    assert send(api, click, click | {"event_id": "again"}) == [V.SPENT, V.SPENT]
    assert send(api, click | {"kind": "exposure"}) == [V.SPENT]
    assert send(api, click | {"item": "other", "position": 0}) == [V.VALID]
    assert send(api, {"actor": "ana", "item": "story"}) == [None]
    assert set(Event.objects.values_list("recommendation", flat=True)) == {None, click["recommendation"][:16]}


def test_a_place_pays_once_in_a_body(api, click):
    assert sorted(send(api, *[click] * 20)) == [V.VALID] + [V.SPENT] * 19


def test_one_list_pays_neither_another_actor_nor_another_item(api, click):
    wrong = [click | {"actor": "mal"}, click | {"item": "mine"}, click | {"position": 0}, click | {"position": 7}]
    assert send(api, *wrong) == [V.OTHER_ACTOR, V.OTHER_ITEM, V.OTHER_ITEM, V.NO_PLACE]
    assert send(api, click) == [V.VALID]  # the guesses did not use it up


def test_a_repeated_request_pays_nothing(api, click):
    event = click | {"event_id": "one"}
    assert send(api, event) == [V.VALID]
    assert send(api, event) == []
    assert send(api, event | {"event_id": "two"}) == [V.SPENT]


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("empty_log")
def test_of_clicks_at_once_one_is_paid(api, click):
    def one_click():
        return api.post("/api/v1/events", {"events": [click, click | {"kind": "like"}]}, key="ingest").status

    assert at_once(*[one_click] * 6) == [202] * 6
    for kind in (Kind.CLICK, Kind.LIKE):
        found = Event.objects.filter(kind=kind).values_list("list_validity", flat=True)
        assert sorted(found) == [V.VALID] + [V.SPENT] * 5


def test_hostile_ids_are_answered_and_stored_as_not_ours(api, click):
    hostile = ["A" * 1024, "=" * 16, "ä" * 300, "AAAA AAAA", "\N{GRINNING FACE}" * 8, click["recommendation"][::-1]]
    assert send(api, *[click | {"recommendation": each} for each in hostile]) == [V.NOT_OURS] * len(hostile)
    answer = api.post("/api/v1/events", click | {"recommendation": "A" * 1025}, key="ingest")
    assert (answer.status, answer.json["rejected"][0]["code"]) == (202, "invalid_recommendation")


def test_the_clock_of_the_machine_does_not_matter(api, click, monkeypatch):
    off_by_hours = time.time() + 7200
    monkeypatch.setattr("time.time", lambda: off_by_hours)
    assert send(api, click) == [V.VALID]
