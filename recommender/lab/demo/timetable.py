"""Play on a server: the honest site and, if allowed, the botnet that attacks it.

    Newsroom.events ──┐
                      ├──by time──> Programme.events ──> feed
    Botnet.events  ───┘

It has the methods of a `Newsroom`, so code that sends one can send the other. The honest events are those that the
newsroom would send alone. The two share the clock and nothing else.
"""

from typing import Any

import msgspec

from recommender.lab.demo.botnet import DemoBotnet
from recommender.lab.demo.newsroom import DemoItem, Newsroom


class Happening(msgspec.Struct, frozen=True):
    """A story or an attack under way: its item, and when it began (unix seconds)."""

    item: str
    title: str
    began_at: float


class Playing(msgspec.Struct, frozen=True):
    """The part of the play that the console shows. next_attack_at: unix seconds."""

    story: Happening | None
    attack: Happening | None
    next_attack_at: float

    @property
    def next_attack_ms(self) -> int:
        return int(1000 * self.next_attack_at)


class Programme:
    """Newsroom and botnet in one stream, with the methods of a newsroom."""

    def __init__(self, newsroom: Newsroom, botnet: DemoBotnet | None = None) -> None:
        self._newsroom, self._botnet = newsroom, botnet

    @property
    def started_at(self) -> float:
        return self._newsroom.started_at

    @property
    def now_s(self) -> float:
        return self._newsroom.now_s

    @property
    def items(self) -> list[DemoItem]:
        return self._newsroom.items

    def events(self, seconds: float) -> list[dict[str, Any]]:
        """Return the events of the next seconds, oldest first."""
        happened = self._newsroom.events(seconds)
        if self._botnet is None:
            return happened
        return sorted(happened + self._botnet.events(self.now_s), key=lambda event: event["occurred_at"])

    def skip(self, seconds: float) -> None:
        """Let nothing happen for a while. Everything else happens that much later."""
        self._newsroom.skip(seconds)
        if self._botnet is not None:
            self._botnet.started_at += seconds

    def take_new_items(self) -> list[dict[str, Any]]:
        return self._newsroom.take_new_items() + (self._botnet.take_new_items() if self._botnet else [])

    def take_notes(self) -> list[tuple[float, str]]:
        return sorted(self._newsroom.take_notes() + (self._botnet.take_notes() if self._botnet else []))

    def attack_now(self) -> bool:
        """Let the botnet attack at once.

        Return False if there is no botnet or an attack is under way.
        """
        return self._botnet is not None and self._botnet.begin(self.now_s)

    def playing(self) -> Playing | None:
        """Return the play, or None without a botnet."""
        if self._botnet is None:
            return None
        story = self._newsroom.stories[-1] if self._newsroom.stories else None
        attack = self._botnet.attack
        return Playing(
            story=self._happening(story.id, story.title, story.born_s) if story else None,
            attack=self._happening(attack.item, attack.title, attack.start_s) if attack else None,
            next_attack_at=self.started_at + self._botnet.due_s,
        )

    def _happening(self, item: str, title: str, began_s: float) -> Happening:
        return Happening(item, title, self.started_at + began_s)
