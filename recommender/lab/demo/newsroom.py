"""Invented news site: items, readers and their events for `manage.py demo`.

    Newsroom(seed, ...).events(seconds) ──> event dicts as POST /api/v1/events takes them, in order of time

The site is more than uniform noise, which would test nothing:

- Readers have favourite categories, homes and habits. They come in sessions, more by day than by night. A day lasts
  minutes here.
- Items are born, draw very unequal interest, and fade.
- Now and then a story breaks. Within a minute it brings crowds from everywhere. Most of these readers are new to the
  site, and they read on. Then interest falls by a power law. All of them are honest, so holding them back is wrong.

The stream is pure and seeded, without clock or network. The same seed and start give the same stream, even if it is
cut into other calls. Memory is bounded by `readers.MAX_READERS` and the items of the last hour.
"""

import heapq
import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from recommender.lab.demo import headlines
from recommender.lab.demo.headlines import CATEGORIES, Headline
from recommender.lab.demo.readers import DemoReaders, Session, crowd_referrer

TICK_S = 0.25
DAY_S = 900.0  # a day of this site, which begins in the morning
DAY_SWING = 0.6  # the busiest hour exceeds the mean by this share of it
OPEN_BEFORE_S = 60.0  # readers are there before the stream begins
FIRST_STORY_S = 120.0
STORY_RAMP_S, STORY_FADE_S, STORY_POWER = 60.0, 120.0, 1.3
STORY_SHARE = 0.9  # extra sessions at the peak of a story, as a share of the usual ones
ITEM_EVERY_S = 8.0
EVENTS_A_SESSION = 12.65  # measured means; tests/recommender/lab/demo/test_newsroom.py
EVENTS_A_STORY_SESSION = 7.15


@dataclass(slots=True)
class DemoItem:
    """An item to read.

    pull: how strongly it draws.
    fade_s: how long it draws. A story rises and falls in its own way.
    """

    id: str
    title: str
    category: int
    born_s: float
    pull: float
    fade_s: float
    is_story: bool = False
    story: str | None = None  # for a follow-up, the id of its story

    def interest(self, at_s: float) -> float:
        """Return the interest at a time, in units of an ordinary item's pull."""
        age = at_s - self.born_s
        if self.is_story:
            return self.pull * story_shape(age)
        return self.pull * (1 - math.exp(-age / 20.0)) * math.exp(-age / self.fade_s) if age > 0 else 0.0


def story_shape(age_s: float) -> float:
    """Return the interest in a story, 1 at its peak.

    It rises on a ramp of a minute, then falls by a power law.

    >>> [round(story_shape(s), 2) for s in (-1, 30, 60, 180, 660)]
    [0.0, 0.5, 1.0, 0.41, 0.1]
    """
    if age_s < STORY_RAMP_S:
        return max(0.0, age_s / STORY_RAMP_S)
    return float((1 + (age_s - STORY_RAMP_S) / STORY_FADE_S) ** -STORY_POWER)


class Newsroom:
    """The site from its start on.

    rate: events per second, on average over a day without stories.
    pace: 2 means that stories break twice as often as usual.
    """

    def __init__(
        self, *, seed: int, started_at: float, rate: float = 40.0, day_s: float = DAY_S, pace: float = 1.0
    ) -> None:
        self.started_at = started_at
        self.now_s = -OPEN_BEFORE_S
        self.items: list[DemoItem] = []
        self.stories: list[DemoItem] = []
        self._rng = np.random.default_rng(seed)
        self._rate, self._day_s, self._pace = rate, day_s, pace
        self.run = f"{seed:x}-{int(started_at):x}"
        self._n_ticks = -round(OPEN_BEFORE_S / TICK_S)
        self._owed_s = 0.0
        self._n_events = self._n_items = self._n_sessions = self._n_queued = 0
        self._readers = DemoReaders(self._rng, run=self.run)
        self._queue: list[tuple[float, int, Session | dict[str, Any]]] = []
        self._new_items: list[DemoItem] = []
        self._notes: list[tuple[float, str]] = []
        self._story_due_s = FIRST_STORY_S / pace
        self._weights: list[tuple[list[DemoItem], np.ndarray]] = []
        for age in np.linspace(600.0, 0.0, 75):
            self._add_item(self._write(), born_s=-OPEN_BEFORE_S - float(age))
        while self._n_ticks < 0:
            self._tick()

    def events(self, seconds: float) -> list[dict[str, Any]]:
        """Return the events of the next seconds, oldest first.

        Only whole ticks are played. The rest of the time is left for the next call.
        """
        self._owed_s += seconds
        happened: list[dict[str, Any]] = []
        while self._owed_s >= TICK_S - 1e-9:
            self._owed_s -= TICK_S
            happened += self._tick()
        return happened

    def skip(self, seconds: float) -> None:
        """Let nothing happen for a while. Everything else happens that much later."""
        self.started_at += seconds

    def take_new_items(self) -> list[dict[str, Any]]:
        """Return the items born since the last call, as PUT /api/v1/items takes them."""
        items, self._new_items = self._new_items, []
        return [
            {
                "id": item.id,
                "title": item.title,
                "url": f"https://news.example/{item.id}",
                "categories": [CATEGORIES[item.category]],
                "published_at": datetime.fromtimestamp(self.started_at + item.born_s, UTC).isoformat(),
            }
            for item in items
        ]

    def take_notes(self) -> list[tuple[float, str]]:
        """Return the news since the last call for a person who watches.

        Each is a time in unix seconds and a sentence.
        """
        notes, self._notes = self._notes, []
        return notes

    # -- time ----------------------------------------------------------------------------------------------------

    def _tick(self) -> list[dict[str, Any]]:
        rng, now = self._rng, self.now_s
        if rng.random() < TICK_S / ITEM_EVERY_S:
            self._add_item(self._write(), born_s=now)
        if now >= self._story_due_s:
            self._break_story(now)
        self._weigh(now)
        usual = self._rate / EVENTS_A_SESSION * (1 + DAY_SWING * np.sin(2 * np.pi * now / self._day_s))
        for _ in range(int(rng.poisson(usual * TICK_S))):
            self._arrive(now + rng.random() * TICK_S, None)
        for story in self.stories:
            crowd = STORY_SHARE * self._rate / EVENTS_A_STORY_SESSION * story_shape(now - story.born_s)
            for _ in range(int(rng.poisson(crowd * TICK_S))):
                self._arrive(now + rng.random() * TICK_S, story)
        self._n_ticks += 1
        self.now_s = self._n_ticks * TICK_S
        happened = []
        while self._queue and self._queue[0][0] < self.now_s:
            at_s, _, due = heapq.heappop(self._queue)
            if isinstance(due, Session):
                self._visit(due, at_s)
            else:
                self._n_events += 1
                due["event_id"] = f"demo-{self.run}-{self._n_events}"
                due["occurred_at"] = round(self.started_at + at_s, 3)
                happened.append(due)
        return happened

    def _at(self, at_s: float, due: Session | dict[str, Any]) -> None:
        self._n_queued += 1  # breaks ties, so that dicts are never compared
        heapq.heappush(self._queue, (at_s, self._n_queued, due))

    # -- items ---------------------------------------------------------------------------------------------------

    def _write(self) -> Headline:
        return headlines.write(self._rng, CATEGORIES[int(self._rng.integers(len(CATEGORIES)))])

    def _add_item(self, headline: Headline, *, born_s: float, **more: Any) -> DemoItem:
        self._n_items += 1
        fade_s = float(np.clip(self._rng.lognormal(np.log(240), 0.5), 60, 1200))
        pull = min(25.0, float((1 - self._rng.random()) ** -0.8))  # Zipf-like: few items draw many readers
        item = DemoItem(
            f"{headlines.slug(headline.title)}-{self._n_items}",
            headline.title,
            CATEGORIES.index(headline.category),
            born_s,
            **{"pull": pull, "fade_s": fade_s} | more,
        )
        self.items.append(item)
        self._new_items.append(item)
        return item

    def _break_story(self, now: float) -> None:
        headline = headlines.write_story(self._rng)
        story = self._add_item(headline, born_s=now, pull=25.0, is_story=True)
        self.stories.append(story)
        for i, title in enumerate(headline.follow_ups):
            self._add_item(
                Headline(title, headline.category),
                born_s=now + 20.0 * (i + 1),
                pull=12.0,
                fade_s=400.0,
                story=story.id,
            )
        self._story_due_s = now + float(self._rng.uniform(600, 1200)) / self._pace
        self._notes.append((self.started_at + now, f"the story {story.title!r} breaks"))

    def _weigh(self, now: float) -> None:
        """Forget items that no one reads any more, and weigh the others.

        The weights are the chances to be read, overall and by category.
        """
        interest = np.array([item.interest(now) for item in self.items])
        is_alive = [
            now < item.born_s + 30 or each > 0.02 * item.pull for item, each in zip(self.items, interest, strict=True)
        ]
        for item in [item for item, alive in zip(self.items, is_alive, strict=True) if not alive and item.is_story]:
            self.stories.remove(item)
            self._notes.append((self.started_at + now, f"the story {item.title!r} is over"))
        self.items = [item for item, alive in zip(self.items, is_alive, strict=True) if alive]
        interest = interest[np.array(is_alive, bool)]
        self._weights = [(self.items, np.cumsum(interest))]
        category = np.array([item.category for item in self.items])
        for number in range(len(CATEGORIES)):
            rows = np.flatnonzero(category == number)
            self._weights.append(([self.items[row] for row in rows.tolist()], np.cumsum(interest[rows])))

    def _draw(self, which: int) -> DemoItem | None:
        """Draw an item of a category (number + 1), or of all (0), by its interest."""
        items, weights = self._weights[which]
        if not items or weights[-1] <= 0:
            return None
        return items[min(int(np.searchsorted(weights, self._rng.random() * weights[-1], "right")), len(items) - 1)]

    # -- readers -------------------------------------------------------------------------------------------------

    def _arrive(self, at_s: float, story: DemoItem | None) -> None:
        """Let a reader come, unprompted or because of a story."""
        reader = self._readers.draw(is_crowd=story is not None)
        self._n_sessions += 1
        session = Session(
            reader,
            id=f"s{self.run}-{self._n_sessions}",
            n_left=1 + int(self._rng.geometric(0.6 if story else 0.32)),
            referrer=crowd_referrer(self._rng) if story else reader.habit,
            story=story.id if story else None,
        )
        if story is not None and story.id not in reader.seen:
            self._read(session, story, at_s)
        else:
            self._visit(session, at_s)

    def _visit(self, session: Session, at_s: float) -> None:
        """Let a reader look at the list, open an unread item, or give up."""
        rng, reader = self._rng, session.reader
        for _ in range(4):
            item = self._choose(session)
            if item is not None and item.id not in reader.seen:
                break
        else:
            return
        shown = [
            item,
            *(other for _ in range(int(rng.integers(3))) if (other := self._draw(0)) and other is not item),
        ]
        places = rng.permutation(10)[: len(shown)].tolist()
        for other, place in zip(shown, places, strict=True):
            self._act(session, other, "exposure", at_s, position=place)
        self._read(session, item, at_s + 1 + 6 * rng.random(), position=places[0])

    def _choose(self, session: Session) -> DemoItem | None:
        rng = self._rng
        if session.story and rng.random() < 0.6:
            related = [item for item in self.items if item.story == session.story and item.born_s < self.now_s]
            if related:
                return related[int(rng.integers(len(related)))]
        if rng.random() < 0.65:
            favourites = session.reader.favourites
            return self._draw(1 + favourites[int(rng.integers(len(favourites)))])
        return self._draw(0)

    def _read(self, session: Session, item: DemoItem, at_s: float, **more: Any) -> None:
        """Let a reader click, perhaps read to the end, like and share, then perhaps go on."""
        rng = self._rng
        self._act(session, item, "click", at_s, **more)
        session.reader.has_seen(item.id)
        after_s = at_s + 5 + 20 * rng.random()
        if rng.random() < 0.45:
            self._act(session, item, "view", after_s)
            liked, shared = rng.random(2)
            if liked < 0.14:
                self._act(session, item, "like", after_s + 2)
            if shared < (0.12 if item.is_story else 0.05):
                self._act(session, item, "share", after_s + 5)
        session.n_left -= 1
        if session.n_left > 0:
            self._at(after_s + float(rng.lognormal(math.log(8), 0.6)), session)

    def _act(self, session: Session, item: DemoItem, kind: str, at_s: float, **more: Any) -> None:
        context = session.reader.context
        if session.referrer is not None:
            context = context | {"referrer": session.referrer}
        event = {"actor": session.reader.id, "item": item.id, "kind": kind, "session": session.id, "context": context}
        self._at(at_s, event | more)
