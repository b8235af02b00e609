"""A child process of the supervisor.

This module starts, watches and ends a child, and it finds children of an earlier supervisor.

Every child is a foreground process in its own session, so Ctrl-C in the terminal reaches only the supervisor. It
writes to a log file. It is also tied to the supervisor: on Linux the kernel sends it `death_signal` when the
supervisor dies for any reason. If that fails, the next start finds the child by a mark in its environment that names
the home, and ends it. A process without the mark is never touched, unless it is one of the two servers running in the
home.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from config.home import CannotStart, ServiceAccount

MARK = "GROUNDSWELL_CHILD_OF"
_PR_SET_PDEATHSIG = 1
_SERVERS = ("postgres", "valkey-", "redis-")
_LOG_BYTES = 32 * 2**20


@dataclass(kw_only=True)
class Child:
    """One process, which may be started again and again under the same name."""

    name: str
    argv: Sequence[str | Path]
    env: Mapping[str, str]
    log: Path
    cwd: Path
    account: ServiceAccount | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    stop_within_s: float = 10.0
    is_ready: Callable[["Child"], bool] = lambda _child: True
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def start(self) -> None:
        self.process = spawn(
            self.argv,
            env=self.env,
            log=self.log,
            cwd=self.cwd,
            account=self.account,
            death_signal=self.stop_signal,
        )

    def start_and_wait(self, *, within_s: float, interrupted: Callable[[], bool] = lambda: False) -> None:
        """Start the process and return when it is ready.

        Raises CannotStart, with the end of its log, if it ends or does not become ready in time.
        """
        self.start()
        deadline = time.monotonic() + within_s
        while not self.is_ready(self):
            if self.has_ended():
                raise CannotStart(f"{self.name} ended while starting ({self.how_it_ended()}).\n{self.explain()}")
            if time.monotonic() > deadline:
                raise CannotStart(f"{self.name} was not ready after {within_s:.0f} s.\n{self.explain()}")
            if interrupted():
                return
            time.sleep(0.02)

    def has_ended(self) -> bool:
        """Return whether the process has ended.

        When it has, the rest of its process group is killed before the process id is released.
        """
        if self.process is None:
            return True
        if self.process.returncode is not None:
            return True
        if not hasattr(os, "waitid"):  # macOS before Python 3.13
            return self.process.poll() is not None
        if os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
            return False
        self._signal_group(signal.SIGKILL)
        self.process.wait()
        return True

    def how_it_ended(self) -> str:
        code = self.process.returncode if self.process else None
        if code is not None and code < 0:
            return signal.Signals(-code).name
        return f"exit code {code}"

    def explain(self) -> str:
        lines = tail(self.log)
        return f"The end of {self.log}:\n" + "\n".join(f"    {line}" for line in lines)

    def ask_to_stop(self) -> None:
        if not self.has_ended():
            assert self.process
            self.process.send_signal(self.stop_signal)

    def stop(self, *, at_once: Callable[[], bool] = lambda: False) -> bool:
        """Ask the process to stop, wait, then kill it.

        Return True if asking was enough.
        """
        self.ask_to_stop()
        deadline = time.monotonic() + self.stop_within_s
        while not self.has_ended():
            if time.monotonic() > deadline or at_once():
                self._signal_group(signal.SIGKILL)
                assert self.process
                self.process.wait()
                return False
            time.sleep(0.02)
        return True

    def _signal_group(self, number: signal.Signals) -> None:
        assert self.process
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, number)


def spawn(
    argv: Sequence[str | Path],
    *,
    env: Mapping[str, str],
    log: Path,
    cwd: Path,
    account: ServiceAccount | None = None,
    death_signal: signal.Signals = signal.SIGTERM,
) -> subprocess.Popen[bytes]:
    """Start a process that dies with us.

    Call it from the main thread, because the kernel ties the process to the thread that started it.
    """
    parent = os.getpid()
    prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None

    def tie_to_parent() -> None:  # runs after the change of user, which would undo the tie
        if prctl is not None:
            prctl(_PR_SET_PDEATHSIG, int(death_signal))
            if os.getppid() != parent:
                os._exit(1)

    become: dict[str, Any] = {"user": account.uid, "group": account.gid, "extra_groups": []} if account else {}
    with open(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as out:
        try:
            return subprocess.Popen(  # noqa: S603 - our own arguments, no shell
                [str(part) for part in argv],
                env=dict(env),
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=tie_to_parent,  # noqa: PLW1509 - the supervisor has one thread
                **become,
            )
        except OSError as error:
            raise CannotStart(f"Cannot start {argv[0]}: {error}.") from error


def find_orphans(home: Path) -> list[int]:
    """Return the processes that an earlier supervisor of this home left behind.

    They carry the mark, or they are one of the two servers working in the home. The servers overwrite their
    environment with their titles, so the mark is lost. Only Linux shows this information. On other systems the list
    is empty, and PostgreSQL itself refuses a second server on its data.
    """
    mark = f"{MARK}={home}".encode()
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            is_marked = mark in (entry / "environ").read_bytes().split(b"\0")
            if (is_marked or _is_server_of(home, entry)) and _is_alive(int(entry.name)):
                found.append(int(entry.name))
    return found


def _is_server_of(home: Path, entry: Path) -> bool:
    program = os.path.basename(os.readlink(entry / "exe")).removesuffix(" (deleted)")
    return program.startswith(_SERVERS) and Path(os.readlink(entry / "cwd")).is_relative_to(home.resolve())


def end_orphans(home: Path, *, within_s: float = 10.0) -> int:
    """End the orphans and return how many there were.

    They are asked first (SIGINT: PostgreSQL's fast shutdown, Ctrl-C for the others), then killed.
    """
    orphans = left = find_orphans(home)
    for number, patience_s in ((signal.SIGINT, within_s), (signal.SIGKILL, 5.0)):
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
                os.kill(pid, signal.SIGCONT)  # a paused process receives only SIGKILL until it continues
        deadline = time.monotonic() + patience_s
        while (left := find_orphans(home)) and time.monotonic() < deadline:
            time.sleep(0.05)
    if left:
        raise CannotStart(f"An earlier run left processes that cannot be ended: {left}. Kill them, then try again.")
    return len(orphans)


def _is_alive(pid: int) -> bool:
    """Return whether the process is alive, which a zombie is not.

    In a container there may be no process that ever reaps a zombie.
    """
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def tail(log: Path, lines: int = 12) -> list[str]:
    with contextlib.suppress(OSError), open(log, "rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - 8192))
        return file.read().decode(errors="replace").splitlines()[-lines:]
    return []


def shorten(log: Path) -> None:
    """Keep a log from filling the disk.

    Past 32 MiB, the last 16 MiB move to `.1` and the log starts empty.
    """
    with contextlib.suppress(OSError):
        if log.stat().st_size > _LOG_BYTES:
            with open(log, "rb+") as file:
                file.seek(-_LOG_BYTES // 2, os.SEEK_END)
                log.with_suffix(".log.1").write_bytes(file.read())
                file.truncate(0)
