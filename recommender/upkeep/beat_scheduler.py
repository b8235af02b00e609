"""Send every wake of beat at its interval, by a clock that no one can set.

Celery's own scheduler compares times of day. Where the machine's clock is set back by two hours, it sends nothing
for two hours. This one counts seconds, and stores nothing. It touches the file of `--schedule` every three minutes,
so that a monitor sees that beat runs.

At a start every entry is sent at once, because no task minds a wake too many. A task that must not run often asks the
database whether it is due (`recommender.upkeep.chores`). A queue whose worker is stopped gets a few wakes only
(`recommender.wake_workers`).
"""

import logging
import signal
from math import inf
from pathlib import Path
from types import FrameType
from typing import Any, cast

from celery.beat import ScheduleEntry, Scheduler, Service

from recommender import wake_workers
from recommender.process_state import Clock, clock

logger = logging.getLogger(__name__)


class SteadyScheduler(Scheduler):
    """Send every entry of the schedule at its interval."""

    now: Clock = clock

    def __init__(self, *args: Any, schedule_filename: str | None = None, **more: Any) -> None:
        """Start as beat asks for it.

        schedule_filename: the file to touch.
        """
        self._file = Path(schedule_filename) if schedule_filename else None
        super().__init__(*args, **more)

    def setup_schedule(self) -> None:
        """Read the schedule. It must consist of intervals."""
        self.data: dict[str, ScheduleEntry] = {}
        self.merge_inplace(self.app.conf.beat_schedule)
        self._next_at: dict[str, float] = {}

    def tick(self, *_: Any, **__: Any) -> float:
        """Send the entries that are due, and return the seconds until the next one.

        An entry that could not be sent is sent again an interval later.
        """
        for name, entry in self.schedule.items():
            now = self.now()
            if now >= self._next_at.get(name, -inf):
                self._send(entry)
                interval = cast(Any, entry.schedule).run_every
                self._next_at[name] = now + interval.total_seconds()
        left_s = min(self._next_at.values(), default=inf) - self.now()
        return max(0.0, min(left_s, float(self.max_interval or inf)))

    def sync(self) -> None:
        """Touch the file."""
        if self._file is None:
            return
        try:
            self._file.touch()
        except OSError as error:
            logger.warning("the file of --schedule cannot be touched, no monitor can see that beat runs: %s", error)

    def _send(self, entry: ScheduleEntry) -> None:
        queue = (entry.options or {}).get("queue", self.app.conf.task_default_queue)
        try:
            has_room = wake_workers.has_room(self.producer, queue, str(entry.task))
        except Exception as error:  # the broker's client can raise anything, and sending says what is wrong
            logger.debug("the queue %s could not be counted: %s", queue, error)
            has_room = True
        if has_room:
            self.apply_entry(entry, producer=self.producer)


def end_at_signals(service: Service) -> None:
    """End beat at SIGTERM and SIGINT, at any moment they arrive.

    Celery's handler only raises SystemExit, and Python drops an exception that is raised inside a finalizer. So beat
    is first told to end its loop.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stopping_first(service, signal.getsignal(number)))


def _stopping_first(service: Service, known: Any) -> Any:
    def stop(number: int, frame: FrameType | None) -> None:
        service.stop()
        if callable(known):
            known(number, frame)

    return stop
