"""Events of a body are accepted, or rejected with a code, without server or clock."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.errors import TooManyEvents, Unparsable
from recommender.intake import json_rows, privacy
from recommender.intake.event_rows import REJECTIONS, event_key, parse_events

pytestmark = pytest.mark.usefixtures("_everything_is_kept")

NOW_S = 1_790_000_000.0  # 2026-09-21T14:13:20Z
OLDEST_S = NOW_S - 30 * 86_400


@pytest.fixture
def _everything_is_kept(settings):
    """Keep the whole origin, to see what the checks make of it."""
    settings.PRIVACY = privacy.RAW


def parse(body):
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return parse_events(raw, now_s=NOW_S, oldest_s=OLDEST_S)


def event(**more):
    return {"actor": "ana", "item": "article-1", **more}


def code_of(**more):
    """Return why one event is rejected, or None if it is accepted.

    The event is sent next to a good one, which must be accepted.
    """
    parsed = parse({"events": [event(), event(**more)]})
    assert parsed.events.actor[0] == "ana"
    return parsed.rejected[0]["code"] if parsed.rejected else None


def test_one_event_or_a_list_is_accepted():
    assert parse(event()).events.item == ["article-1"]
    assert parse({"events": [event(), event(item="article-2")]}).events.item == ["article-1", "article-2"]
    assert len(parse({"events": []}).events) == 0


def test_a_click_is_the_default_and_everything_else_is_empty():
    events = parse(event()).events
    assert (events.kind, events.key, events.occurred_at, events.value, events.ip) == (
        [2],
        [None],
        [None],
        [None],
        [None],
    )


def test_every_field_reaches_its_column():
    events = parse(
        event(
            event_id="e1",
            kind="purchase",
            occurred_at="2026-09-21T16:13:20+02:00",
            session="s",
            value=9.5,
            recommendation="r",
            position=3,
            context={"ip": "2001:DB8::1", "user_agent": "Firefox", "referrer": "https://a.example/", "country": "de"},
        )
    ).events
    assert events.key == [event_key("e1")]
    assert len(events.key[0]) == 16
    assert (events.kind, events.occurred_at) == ([6], [NOW_S])
    assert (events.session, events.value, events.recommendation, events.position) == (["s"], [9.5], ["r"], [3])
    assert (events.ip, events.country) == (["2001:db8::1"], ["DE"])
    assert (events.user_agent, events.referrer) == (["Firefox"], ["https://a.example/"])


def test_null_and_unknown_fields_are_ignored():
    assert code_of(event_id=None, session=None, context=None, colour="red", nested={"deep": [1]}) is None


@pytest.mark.parametrize(
    ("code", "fields"),
    [
        ("invalid_actor", {"actor": ""}),
        ("invalid_actor", {"actor": "a" * 257}),
        ("invalid_actor", {"actor": "a" * 2_000_000}),
        ("invalid_actor", {"actor": 7}),
        ("invalid_actor", {"actor": None}),
        ("invalid_actor", {"actor": "nul\0"}),
        ("invalid_actor", {"actor": "new\nline"}),
        ("invalid_actor", {"actor": "right-to-left \u202e"}),
        ("invalid_actor", {"actor": "lone \ud800"}),
        ("invalid_item", {"item": "\udfff"}),
        ("invalid_item", {"item": ["a"]}),
        ("invalid_event_id", {"event_id": ""}),
        ("invalid_event_id", {"event_id": "e" * 129}),
        ("invalid_event_id", {"event_id": "\u2028"}),
        ("invalid_event_id", {"event_id": 12}),
        ("invalid_kind", {"kind": "CLICK"}),
        ("invalid_kind", {"kind": "stare"}),
        ("invalid_kind", {"kind": None}),
        ("invalid_kind", {"kind": 2}),
        ("invalid_occurred_at", {"occurred_at": "2026-09-21T14:00:00"}),
        ("invalid_occurred_at", {"occurred_at": "yesterday"}),
        ("invalid_occurred_at", {"occurred_at": "1790000000"}),
        ("invalid_occurred_at", {"occurred_at": True}),
        ("invalid_occurred_at", {"occurred_at": float("nan")}),
        ("invalid_occurred_at", {"occurred_at": float("inf")}),
        ("invalid_occurred_at", {"occurred_at": float("-inf")}),
        ("occurred_in_future", {"occurred_at": NOW_S + 301}),
        ("occurred_in_future", {"occurred_at": 1e308}),
        ("occurred_in_future", {"occurred_at": int(NOW_S * 1000)}),
        ("occurred_in_future", {"occurred_at": "9999-12-31T23:59:59-14:00"}),
        ("occurred_too_long_ago", {"occurred_at": OLDEST_S - 1}),
        ("occurred_too_long_ago", {"occurred_at": 0}),
        ("occurred_too_long_ago", {"occurred_at": -1e300}),
        ("occurred_too_long_ago", {"occurred_at": "0001-01-01T00:00:00+14:00"}),
        ("invalid_session", {"session": "s" * 129}),
        ("invalid_session", {"session": "\x07"}),
        ("invalid_value", {"value": float("nan")}),
        ("invalid_value", {"value": float("-inf")}),
        ("invalid_value", {"value": 10**400}),
        ("invalid_value", {"value": "9"}),
        ("invalid_recommendation", {"recommendation": {}}),
        ("invalid_recommendation", {"recommendation": "\x00"}),
        ("invalid_position", {"position": -1}),
        ("invalid_position", {"position": 1_000_001}),
        ("invalid_position", {"position": 1.5}),
        ("invalid_position", {"position": 10**30}),
        ("invalid_context", {"context": "here"}),
        ("invalid_context", {"context": []}),
        ("invalid_ip", {"context": {"ip": "999.1.1.1"}}),
        ("invalid_ip", {"context": {"ip": "fe80::1%\n"}}),
        ("invalid_ip", {"context": {"ip": 127}}),
        ("invalid_country", {"context": {"country": "DEU"}}),
        ("invalid_country", {"context": {"country": "ÄÖ"}}),
        ("invalid_country", {"context": {"country": 49}}),
    ],
)
def test_a_bad_event_is_rejected_alone(code, fields):
    assert code_of(**fields) == code


def test_what_is_no_event_is_rejected_alone():
    parsed = parse({"events": [1, None, "x", [], {}, event()]})
    assert [rejection["code"] for rejection in parsed.rejected] == ["not_an_object"] * 4 + ["invalid_actor"]
    assert [rejection["index"] for rejection in parsed.rejected] == [0, 1, 2, 3, 4]
    assert len(parsed.events) == 1


def test_rejections_stand_in_order_and_say_what_to_do():
    parsed = parse({"events": [event(actor="\n"), event(kind="stare"), event(), event(value=float("nan"))]})
    assert [(each["index"], each["code"]) for each in parsed.rejected] == [
        (0, "invalid_actor"),
        (1, "invalid_kind"),
        (3, "invalid_value"),
    ]
    assert parsed.rejected[1]["message"] == REJECTIONS["invalid_kind"]


def test_late_events_and_slightly_fast_clocks_are_fine():
    assert code_of(occurred_at=NOW_S - 29 * 86_400) is None
    assert code_of(occurred_at=NOW_S + 299) is None


def test_every_event_keeps_its_place_in_the_body():
    parsed = parse({"events": [event(item="a"), event(kind="stare"), event(item="b"), event(item="c")]})
    assert list(zip(parsed.places, parsed.events.item, strict=True)) == [(0, "a"), (2, "b"), (3, "c")]
    assert parsed.n_received == 4


def test_the_keys_are_made_of_the_event_as_it_was_sent(monkeypatch):
    context = {"ip": "192.0.2.77", "user_agent": "Googlebot/2.1", "referrer": "https://news.example/story"}
    whole = parse(event(event_id="e1", session="s", context=context))
    for name in ("shown_ip", "shown_agent", "shown_referrer"):
        monkeypatch.setattr(privacy, name, lambda _text: None)
    hidden = parse(event(event_id="e1", session="s", context=context))
    assert hidden.keys == whole.keys == whole.events.keys()
    assert hidden.keys.is_crawler == [True]
    assert (hidden.events.ip, hidden.events.user_agent, hidden.events.referrer) == ([None], [None], [None])


def test_a_campaign_is_kept_as_it_was_sent():
    assert parse(event(campaign="Newsletter 7")).events.campaign == ["Newsletter 7"]
    assert parse(event(campaign="")).events.campaign == [None]
    assert code_of(campaign="x" * 129) == code_of(campaign="two\nlines") == code_of(campaign=7) == "invalid_campaign"


def test_the_key_of_an_event_id_never_changes():
    assert event_key("e1").hex() == "05c913623dff72294cd90f06760c41f8"


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("x" * 600, "x" * 512),
        ("Mo\0zilla\n\ud800", "Mozilla"),
        ("\n", None),
        ("", None),
        (["Mozilla"], None),
        (7, None),
    ],
)
def test_a_strange_user_agent_never_loses_a_click(sent, kept):
    assert parse(event(context={"user_agent": sent})).events.user_agent == [kept]


def test_an_address_has_one_spelling():
    ips = ["192.0.2.1", "::ffff:192.0.2.1", "2001:DB8:0::1", ""]
    parsed = parse({"events": [event(context={"ip": ip}) for ip in ips]})
    assert parsed.events.ip == ["192.0.2.1", "192.0.2.1", "2001:db8::1", None]


def test_bytes_that_are_no_utf8_spoil_only_their_event():
    parsed = parse(b'{"events":[{"actor":"\xff","item":"a"},{"actor":"ana","item":"b","x":"\xff"}]}')
    assert [each["code"] for each in parsed.rejected] == ["invalid_actor"]
    assert parsed.events.item == ["b"]


def test_of_a_key_sent_twice_the_last_counts():
    assert parse(b'{"actor":"mal","actor":"ana","item":"a"}').events.actor == ["ana"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"7",
        b'"events"',
        b'{"events": {}}',
        b'{"events": null}',
        b'{"events": [{"actor": "ana", "item": "a"}]',
        b'{"actor": "ana", "item": "a"} {"actor": "ana", "item": "b"}',
        b"[" * 200_000,
        b'{"events": [{"actor": "ana", "item": "a", "x": ' + b"[" * 50_000 + b"]" * 50_000 + b"}]}",
        '{"actor": "ana", "item": "a"}'.encode("utf-16"),
    ],
)
def test_what_is_no_json_of_the_right_shape_is_unparsable(body):
    with pytest.raises(Unparsable):
        parse(body)


def test_ten_thousand_events_are_the_most():
    assert len(parse({"events": [event()] * json_rows.MAX_ROWS}).events) == json_rows.MAX_ROWS
    with pytest.raises(TooManyEvents):
        parse({"events": [event()] * (json_rows.MAX_ROWS + 1)})
    with pytest.raises(TooManyEvents):
        parse({"events": [0] * (json_rows.MAX_ROWS + 1)})


@pytest.mark.parametrize("part", [b"{},", b"0,", b"[],", b'{"":' * 900 + b"0" + b"}" * 900 + b","])
def test_a_body_of_millions_of_parts_is_refused_before_anything_is_built(part):
    with pytest.raises(TooManyEvents):
        parse(b'{"events":[' + part * (8_000_000 // len(part)) + b"0]}")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
odd_events = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(
        ["actor", "item", "event_id", "kind", "occurred_at", "value", "session", "position", "context"],
        json_values,
    ),
)


@given(odd=st.lists(odd_events | json_values, max_size=4))
def test_whatever_stands_in_a_batch_a_good_event_gets_through(odd):
    parsed = parse({"events": [*odd, event(item="good")]})
    assert "good" in parsed.events.item
    assert parsed.n_received == len(odd) + 1
    assert all(each["code"] in REJECTIONS for each in parsed.rejected)
    columns = [getattr(parsed.events, name) for name in parsed.events.__slots__]
    assert {len(column) for column in columns} == {len(parsed.events)}
    for text in [*parsed.events.actor, *parsed.events.item, *filter(None, parsed.events.user_agent)]:
        text.encode()
        assert text.isprintable()


@given(odd=odd_events, bad=json_values)
def test_a_bad_neighbour_changes_nothing_for_an_event(odd, bad):
    alone = parse({"events": [odd]})
    beside = parse({"events": [odd, 0, bad]})
    assert len(beside.events) - len(parse({"events": [bad]}).events) == len(alone.events)
    assert [each for each in beside.rejected if each["index"] == 0] == alone.rejected


def answer_to(body):
    try:
        return parse(body)
    except Unparsable as refused:
        return refused


@given(body=st.binary(max_size=200))
def test_bytes_of_any_kind_are_answered(body):
    answer = answer_to(body)
    if isinstance(answer, Unparsable):
        assert (answer.status, answer.code) == (400, "unparsable")
    else:  # one event, or a list of them
        assert answer.n_received == 1 or b"[" in body
        assert all(each["code"] in REJECTIONS for each in answer.rejected)
