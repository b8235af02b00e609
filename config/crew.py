"""The supervisor's children as a group.

The crew starts them in order, keeps them alive and stops them in reverse. A child that dies is started again: almost
at once the first time, then after growing pauses. After a child has run for a minute, its earlier failures no longer
count. The servers stop last, after everything that uses them.
"""

import contextlib
import math
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from config.processes import Child, shorten

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 30.0
LOOK_EVERY_S = 0.2
FORGIVEN_AFTER_S = 60.0
MOST_FAILURES = 5  # of a child that the others do not need
_SHORTEN_EVERY_S = 60.0


class StopSign:
    """The signals that end the supervisor.

    The first signal stops everything in order. The second one stops everything at once.
    """

    def __init__(self) -> None:
        self.n_received = 0
        self.last: signal.Signals | None = None
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._note)

    def _note(self, number: int, _frame: object) -> None:
        self.n_received += 1
        self.last = signal.Signals(number)

    def is_up(self) -> bool:
        return self.n_received > 0

    def is_urgent(self) -> bool:
        return self.n_received > 1


@dataclass
class _Member:
    child: Child
    is_server: bool
    may_end: bool
    started_at: float
    pause_s: float = 0.0
    n_failures: int = 0
    due_at: float | None = None
    is_finished: bool = False


class Crew:
    def __init__(self, *, say: Callable[[str], None], stop_sign: StopSign) -> None:
        self.say = say
        self._stop_sign = stop_sign
        self._members: list[_Member] = []
        self._shortened_at = time.monotonic()

    def start(self, child: Child, *, within_s: float = 120.0, is_server: bool = False, may_end: bool = False) -> None:
        """Start a child and wait until it is ready.

        may_end: the child may finish. If it exits without an error, its work is done.
        """
        self._members.append(_Member(child, is_server, may_end, time.monotonic()))
        shorten(child.log)
        child.start_and_wait(within_s=within_s, interrupted=self._stop_sign.is_up)

    def run_to_end(self, child: Child) -> int:
        """Run a child that is one step of the start, and return its exit code."""
        self._members.append(member := _Member(child, is_server=False, may_end=True, started_at=time.monotonic()))
        child.start()
        while not child.has_ended() and not self._stop_sign.is_up():
            time.sleep(0.02)
        member.is_finished = True
        child.stop()
        assert child.process
        return child.process.returncode

    def watch(self) -> None:
        """Look at every child once, and restart dead ones whose pause is over."""
        now = time.monotonic()
        for member in self._members:
            if member.is_finished:
                continue
            if member.due_at is not None:
                if now >= member.due_at:
                    member.due_at, member.started_at = None, now
                    member.child.start()
            elif member.child.has_ended():
                self._note_end(member, now)
        if now - self._shortened_at > _SHORTEN_EVERY_S:
            self._shortened_at = now
            for member in self._members:
                shorten(member.child.log)

    def watch_until(self, condition: Callable[[], bool], *, within_s: float = math.inf) -> None:
        """Watch every child until the condition holds, a stop signal comes, or time is up."""
        deadline = time.monotonic() + within_s
        while not condition() and not self._stop_sign.is_up() and time.monotonic() < deadline:
            self.watch()
            time.sleep(LOOK_EVERY_S)

    def _note_end(self, member: _Member, now: float) -> None:
        child = member.child
        if member.may_end and child.process and child.process.returncode == 0:
            member.is_finished = True
            self.say(f"The {child.name} has done its work.")
            return
        member.n_failures = 1 if now - member.started_at > FORGIVEN_AFTER_S else member.n_failures + 1
        if member.may_end and member.n_failures > MOST_FAILURES:
            member.is_finished = True
            self.say(f"{child.name} keeps failing and will not be started again. The reason is in {child.log}")
            return
        member.pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** (member.n_failures - 1))
        member.due_at = now + member.pause_s
        how, pause = child.how_it_ended(), f"{member.pause_s:.1f} s"
        self.say(f"{child.name} ended ({how}). It starts again in {pause}. The reason is in {child.log}")

    def stop(self) -> None:
        """Stop all children in reverse order.

        All children that use the servers stop together. Then the servers stop one by one.
        """
        for is_server in (False, True):
            members = [m for m in reversed(self._members) if m.is_server is is_server and not m.is_finished]
            for member in members:
                if not is_server:
                    member.child.ask_to_stop()
            for member in members:
                if not member.child.stop(at_once=self._stop_sign.is_urgent):
                    self.say(f"{member.child.name} did not stop when asked, so it was killed.")
        self._members.clear()


def say(text: str) -> None:
    """Print a line for the person at the terminal, who may have closed it."""
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.write(f"{text}{os.linesep}")
        sys.stdout.flush()
