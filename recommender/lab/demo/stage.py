"""Link between the demo and the web server: what is played, and the cue to attack.

    demo process ──every second, forgotten after ALIVE_S──> store: what is played ──> panel
    panel ──a cue, forgotten after CUE_S──> store ──> demo process, which attacks

Both sides use the store of the view. The console's panel (`panel`) can only leave a cue. The demo process attacks
with its own key, and only a server on its own machine (`manage.py demo`). If no demo runs, there is no play and no
button, and no one reads a cue.
"""

import logging
import time
from typing import Any

import msgspec
import redis

from recommender.errors import Conflict
from recommender.lab.demo.timetable import Playing, Programme
from recommender.publishing import published_boards
from recommender.publishing.view_format import unpack

PLAYING, CUE = "groundswell:demo:playing", "groundswell:demo:cue"
EVERY_S, ALIVE_S, CUE_S = 1.0, 10, 10

logger = logging.getLogger(__name__)


class Stage:
    """The demo's side of the link. If the store is away, the demo plays on."""

    def __init__(self, programme: Programme, store: Any) -> None:
        self._programme, self._store = programme, store
        self._due_at = 0.0

    def attend(self) -> None:
        """Take a cue and publish the play, at most once a second."""
        now = time.monotonic()
        if now < self._due_at:
            return
        self._due_at = now + EVERY_S
        try:
            if self._store.getdel(CUE):
                self._programme.attack_now()
            if playing := self._programme.playing():
                self._store.set(PLAYING, msgspec.msgpack.encode(playing), ex=ALIVE_S)
        except redis.RedisError as error:
            logger.debug("the console cannot show the state of the demo: %s", error)


def read_playing() -> Playing | None:
    """Return the play of the demo, or None if no demo runs or the store is away."""
    try:
        with published_boards.connect() as store:
            packed = store.get(PLAYING)
    except redis.RedisError:
        return None
    return unpack(packed, Playing)


def cue_attack() -> None:
    """Let the demo's botnet attack within a second or two.

    Raises Conflict if no demo runs or an attack is under way.
    """
    playing = read_playing()
    if playing is None:
        raise Conflict("No demo runs here, so there is no attack to start.")
    if playing.attack is not None:
        raise Conflict(f"An attack for {playing.attack.title!r} is already under way. Wait for its end.")
    with published_boards.connect() as store:
        store.set(CUE, b"1", ex=CUE_S)
