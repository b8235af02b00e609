"""Write a checkpoint in a forked process, so that the learner can go on.

    learner ──fork──> a process with the state as it was at that moment ──keep()──> pieces
       │  takes steps                                    │ columns of the row, over a pipe
       └──poll()──> the row that names the pieces, in the learner's own transaction

Fork gives a snapshot at the price of copying page tables: 20 ms for a gigabyte. Before it, the learner gives back
memory that it does not use, which takes as long (`core.memory.trim`). The kernel copies a page when the learner
writes to it, so the memory taken is that of the pages changed meanwhile. The process gives the pages of each piece
back once the piece is stored. A thread was the alternative. While the learner waits, a thread must copy every piece
that has changed. To know these it must hash all of them, which takes 0.4 s for 350 MB.
docs/decisions/0011-checkpoints-in-pieces.md has the figures of both.

What makes the fork safe:

- The process opens a connection to PostgreSQL of its own. It forgets those it inherited without ending them: libpq
  would say goodbye to the server in the learner's name. It asks no broker and no view store.
- It closes its copies of all sockets. Otherwise the servers would not notice the end of a learner that is killed, and
  the locks of its transaction would stay until this process ends.
- It ends by `os._exit`, so it runs no exit handler, flushes no buffer and closes nothing that is shared.
- It calls NumPy, hashlib, psycopg, boto3 and madvise only: no OpenMP, no compiled client with threads of its own. The
  learner forks only while no forest is fitted in a thread, for the state has to wait for that thread. Locks that
  another thread held at the moment of the fork stay locked in the process. If it ever hangs on one, the learner kills
  it after LIMIT_S, which counts as a failed checkpoint.
- It ends when the learner is gone, and it writes no row that names a piece. So a learner that is killed at any moment
  leaves a sound state, and some pieces without a name.

macOS forbids most libraries after a fork. There, and where CHECKPOINT_FORK is off, and where the kernel refuses to
fork, the learner writes the checkpoint itself and waits. So it does inside a transaction, whose rows no other
connection could see.
"""

import gc
import logging
import os
import select
import signal
import stat
import warnings
from dataclasses import dataclass, field
from typing import Any, NoReturn

import msgspec
from django.conf import settings
from django.db import connection, connections

from recommender.core import memory
from recommender.core.pipeline import Pipeline
from recommender.learning.checkpoints import piece_table, thinning
from recommender.learning.checkpoints.state_writer import keep
from recommender.process_state import clock, remembered

LIMIT_S = 0.8 * piece_table.GRACE_S  # a writer must be done before the thinner may delete what it found
THIN_PIECES_EVERY_S = 60.0  # each look compares all pieces with all names
READ_BYTES = 2**16
OOM_SCORE = "/proc/self/oom_score_adj"

logger = logging.getLogger(__name__)


class CheckpointFailed(Exception):
    """A checkpoint could not be written.

    The message has the cause.
    """


@dataclass(slots=True)
class Writing:
    """A process that writes the pieces of one state."""

    pid: int
    pipe: int
    began_at: float
    _said: bytearray = field(default_factory=bytearray)
    _is_over: bool = False

    def poll(self, wait_s: float = 0.0) -> dict[str, Any] | None:
        """Return the columns of the row, or None if the process still writes.

        Raises CheckpointFailed, also if `is_running` has ended the process.
        """
        if self._is_over:
            raise CheckpointFailed(f"its process was ended after {LIMIT_S:.0f} s")
        while select.select([self.pipe], [], [], wait_s)[0]:
            said = os.read(self.pipe, READ_BYTES)
            self._said += said
            if not said:
                return self._result(self._end())
        if self.is_late:
            self.kill()
            raise CheckpointFailed(f"it was not written within {LIMIT_S:.0f} s")
        return None

    @property
    def is_late(self) -> bool:
        """Return whether it began more than LIMIT_S ago."""
        return clock() - self.began_at > LIMIT_S

    def wait(self) -> dict[str, Any]:
        """Return the columns of the row once the process is done. Raises CheckpointFailed."""
        while (columns := self.poll(wait_s=1.0)) is None:
            pass
        return columns

    def kill(self) -> None:
        """End the process, if it has not ended yet."""
        if self is _running.get(""):
            os.kill(self.pid, signal.SIGKILL)
            self._end()

    def _end(self) -> int:
        _running.pop("", None)
        self._is_over = True
        gc.unfreeze()
        os.close(self.pipe)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def _result(self, exit_code: int) -> dict[str, Any]:
        if exit_code != 0 or not self._said:
            raise CheckpointFailed(f"the process that wrote it ended with {exit_code}")
        said: dict[str, Any] = msgspec.msgpack.decode(self._said)
        if "error" in said:
            raise CheckpointFailed(said["error"])
        return said


_running: dict[str, Writing] = {}  # at most one, because each may take as much memory as the state
_thinned_at: dict[str, float] = {}  # when this process or one that it forked last had its turn
_inherited: list[object] = []  # in the forked process: connections that must not be closed


def is_possible() -> bool:
    """Return whether a checkpoint can be written by a forked process here."""
    return settings.CHECKPOINT_FORK and hasattr(os, "fork") and not connection.in_atomic_block


def is_running() -> bool:
    """Return whether this process has a checkpoint under way, of any shard.

    One that takes longer than LIMIT_S is ended. The shard that began it may be another process's by now, and would
    not ask for it again.
    """
    for writing in list(_running.values()):
        if writing.is_late:
            logger.warning("process %d wrote a checkpoint for more than %.0f s and is ended", writing.pid, LIMIT_S)
            writing.kill()
    return bool(_running)


@remembered
def forget() -> None:
    """End the process under way, and thin pieces with the next checkpoint."""
    _thinned_at.clear()
    for writing in list(_running.values()):
        writing.kill()


def begin(pipeline: Pipeline, shard: int) -> Writing:
    """Fork a process that writes the pieces of a state.

    It also thins the shard's checkpoints. Raises OSError if the kernel refuses, usually for want of memory.
    """
    assert not _running, "one checkpoint is still under way"
    began_at, parent = clock(), os.getpid()
    with_pieces = take_turn()
    memory.trim()
    reading, writing = os.pipe()
    gc.freeze()  # a collection in the learner would write to, and so copy, every page with an object
    try:
        with warnings.catch_warnings():
            # Python 3.12 warns of locks that other threads may hold. The module's docstring says why this is safe.
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
    except OSError:
        gc.unfreeze()
        os.close(reading)
        os.close(writing)
        raise
    if pid == 0:
        os.close(reading)
        _write(pipeline, shard, writing, parent, with_pieces)
    os.close(writing)
    _running[""] = Writing(pid, reading, began_at)
    return _running[""]


def _write(pipeline: Pipeline, shard: int, pipe: int, parent: int, with_pieces: bool) -> NoReturn:
    """Do the work of the forked process, and end it."""
    code = 1
    try:
        gc.disable()  # a collection would touch, and so copy, every page with an object
        for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(each, signal.SIG_DFL)
        _offer_to_oom_killer()
        _let_go_of_connections()
        _close_sockets()

        def stop_if_alone() -> None:
            if os.getppid() != parent:
                os._exit(1)

        try:
            thin(shard, with_pieces=with_pieces)
            said = keep(pipeline, stop_if_alone, is_last_use=True)
        except Exception as error:  # the learner logs it, with the cause
            said = {"error": f"{type(error).__name__}: {str(error).strip()}"}
        with os.fdopen(pipe, "wb") as file:
            file.write(msgspec.msgpack.encode(said))
        code = 0
    finally:
        os._exit(code)


def take_turn() -> bool:
    """Return whether pieces should be thinned with this checkpoint.

    They are once in THIN_PIECES_EVERY_S, with a checkpoint of any shard of this process.
    """
    now = clock()
    is_due = "" not in _thinned_at or now - _thinned_at[""] >= THIN_PIECES_EVERY_S
    if is_due:
        _thinned_at[""] = now
    return is_due


def thin(shard: int, *, with_pieces: bool) -> None:
    """Drop checkpoints that nothing needs, and pieces if it is their turn.

    A failure is logged, for the next time may succeed.
    """
    try:
        thinning.thin_checkpoints(shard)
        if with_pieces:
            thinning.thin_pieces()
    except Exception:
        logger.exception("old checkpoints of shard %d cannot be thinned", shard)


def _offer_to_oom_killer() -> None:
    """Let the kernel end this process, and not the learner, when memory runs out."""
    try:
        with open(OOM_SCORE, "w") as file:
            file.write("1000")
    except OSError:
        return  # not Linux, or forbidden: the kernel chooses by size, as it did


def _let_go_of_connections() -> None:
    """Forget the inherited database connections without closing them.

    The next query opens a new one.
    """
    for each in connections.all(initialized_only=True):
        _inherited.append(each.connection)
        each.connection = None


def _close_sockets() -> None:
    """Close the copies of the learner's sockets, except standard streams.

    Nothing is sent over them.
    """
    for name in os.listdir("/dev/fd"):
        try:
            if int(name) > 2 and stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                os.close(int(name))
        except OSError:
            continue  # it was the descriptor of the list itself
