"""A web process reads what another version published, or has no view."""

import msgspec
import pytest

from recommender.models import FrozenScope
from recommender.publishing import published_boards, view_format
from recommender.publishing.excerpt import EXCERPTS, POLL_EVERY_S, VERSIONS, ExcerptReader, Message
from recommender.publishing.published_boards import BOARDS, HEAD, Head, PublishedBoard, ViewReader, read_boards
from recommender.publishing.publisher import FrozenBoards

NEWER = view_format.FORMAT + 1
READS = ["/api/v1/trending", "/api/v1/trending?category=town", "/api/v1/recommendations?actor=ana", "/health/ready"]


class HeadOfB6685f3(msgspec.Struct):
    version: int
    as_of: float
    state: str
    checkpoint: int | None


class HeadOfLater(HeadOfB6685f3):
    frozen_scopes: list[str] = []
    mood: str = "fair"


def pack(value):
    return msgspec.msgpack.encode(value)


def test_a_head_of_an_earlier_or_later_version_is_read_where_fields_were_added():
    for head in (HeadOfB6685f3(1, 2.0, "learning", None), HeadOfLater(1, 2.0, "learning", None)):
        assert view_format.unpack(pack(head), Head) == Head(1, 2.0, "learning", None)


@pytest.mark.parametrize(
    "packed",
    [
        pack({"version": 1, "as_of": 2.0, "state": "learning", "checkpoint": None, "format": NEWER}),
        pack({"version": "one"}),
        pack({}),
        b"\xc1",
        b"\xd9\xff",
        b"\x91" * 5000,
    ],
)
def test_another_format_is_no_view_and_is_logged_once(packed, caplog):
    assert [view_format.unpack(packed, Head) for _ in range(3)] == [None] * 3
    assert caplog.text.count("a Head in the store cannot be read, another version wrote it") == 1
    assert view_format.unpack(pack(Head(1, 2.0, "learning", 3)), Head) is not None


def of_another_format(store):
    """Let a newer version publish in a format that this one cannot read."""
    head = {"version": 2**60, "as_of": 2.0, "state": "learning", "checkpoint": None, "format": NEWER}
    store.set(HEAD, pack(head))
    store.delete(BOARDS, EXCERPTS)
    store.hset(BOARDS, mapping={"": pack({"items": {"a": 1}}), "category:town": pack(["a"])})
    store.hset(EXCERPTS, "0", pack({"names": "all"}))
    store.hset(VERSIONS, "0", str(2**60))


def test_a_reader_serves_its_last_copy_of_a_view_it_cannot_read_any_more(publish, view_store, clock):
    publish({"": [("story", 5)]})
    reader = ViewReader(view_store, clock)
    assert reader.board("").items == ["story"]
    of_another_format(view_store)
    clock.forward(published_boards.POLL_EVERY_S)
    assert reader.board("").items == ["story"]
    assert reader.board("category:town") is None
    publish({"": [("news", 5)], "category:town": [("news", 5)]})
    assert reader.board("").items == ["news"]
    assert reader.board("category:town").items == ["news"]


@pytest.mark.parametrize("path", READS)
def test_no_request_answers_500_where_a_newer_version_publishes(path, live_api, view_store):
    of_another_format(view_store)
    answer = live_api.get(path, key="read")
    assert answer.status in (200, 503)
    if answer.status == 503 and "health" not in path:
        assert answer.code == "no_view"


def test_boards_in_another_format_are_left_out(view_store):
    of_another_format(view_store)
    view_store.hset(BOARDS, "country:DE", pack(PublishedBoard(1, ["a"], [1], 1, 1)))
    assert read_boards(["", "category:town", "country:DE"]).keys() == {"country:DE"}
    with pytest.raises(published_boards.NoView, match="Upgrade this node"):
        published_boards.read_board("")


def test_an_excerpt_in_another_format_is_left_out(view_store, clock):
    of_another_format(view_store)
    reader = ExcerptReader(view_store, clock)
    assert reader.excerpts() == []
    clock.forward(POLL_EVERY_S)
    fields = dict.fromkeys(Message.__struct_fields__, b"") | {"names": ["a"], "categories": ["a"], "trend": b"123"}
    fields |= {"half_lives_s": [1], "recall": [1.0], "mode": "trend", "version": 1, "as_of": 1.0, "blend": 1.0}
    view_store.hset(EXCERPTS, "0", pack(fields | {"format": view_format.FORMAT}))
    assert reader.excerpts() == []


@pytest.mark.django_db
def test_a_list_frozen_by_another_version_goes_on_as_it_is_counted(caplog):
    for scope, board in (("category:town", ["a"]), ("category:river", PublishedBoard(1, ["a"], [1], 1, 1))):
        FrozenScope.objects.create(scope=scope, board=pack(board), as_of=1.0)
    frozen = FrozenBoards()
    assert frozen.refresh()
    assert frozen.boards.keys() == {"category:river"}
    assert "a PublishedBoard in the store cannot be read" in caplog.text
