"""Compiles the core's loops ahead: `python -m recommender.core.warmup`, once a checkout.

    is_warm? ──no──> a process a core: the parts (core.warmup_parts), then the rest ──> Numba's cache, a stamp

Compiling takes 100 s of one core, and whoever needs a loop first waits for it: the learner's first step, every
process of the tests. What is compiled depends on the sources, the versions and the processor, and so does the stamp,
which lies beside the cache: with it this is over in a tenth of a second. A stamp that is lost, or that outlives the
cache, costs time only: Numba looks for itself and compiles what is missing. Without one all is compiled again, since
Numba does not notice where a loop calls one of another file that has changed.

Nothing of this is imported before it is needed, so that the supervisor may ask `is_warm`.
"""

import fcntl
import hashlib
import os
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

CORE = Path(__file__).resolve().parent
ABOUT_S = 60  # on two cores


def is_warm() -> bool:
    """Is everything compiled, as far as is known?"""
    return any((folder / _stamp()).exists() for folder in _folders())


def warm_up() -> None:
    """Compile what is not compiled yet, on all cores."""
    # slow to import, and needed only here
    import multiprocessing  # noqa: PLC0415
    from concurrent.futures import ProcessPoolExecutor  # noqa: PLC0415

    from recommender.core.warmup_parts import PARTS, REST  # noqa: PLC0415

    _drop_what_is_stale()
    n_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(n_cores, len(PARTS)), context, initializer=_one_at_a_time) as processes:
        for parts in (PARTS, REST):
            for part in [processes.submit(part) for part in parts]:
                part.result()
    _leave_stamp()


def _drop_what_is_stale() -> None:
    """Numba looks at a loop's own file only: of a loop that calls one which has changed it would load the old one."""
    for folder in (*_own_folders(), *CORE.glob("*/__pycache__")):
        for pattern in ("**/*.nbi", "**/*.nbc", "warm-*"):
            for file in folder.glob(pattern):
                with suppress(OSError):  # another process was first, or only others may write here
                    file.unlink()


def _leave_stamp() -> None:
    for folder in _folders():
        with suppress(OSError):  # a checkout that only others may write
            folder.mkdir(parents=True, exist_ok=True)
            (folder / _stamp()).touch()
            return


def _one_at_a_time() -> None:
    """Let one process at a time enter a loop into Numba's index.

    Two that enter the same loop for different arguments would give both the same file, and whoever loads it runs
    machine code made for other arguments. The parts have 14 of 94 loops in common, 4 of them for different arguments.

    Numba has no other way in than its method that saves. A cache locator, which is public, is told before a loop is
    saved and not after, so it cannot let go of a lock. A cache for each process would have to be merged by the form
    of Numba's index, which is private too. The common loops compiled first, by one process, would be safe until
    somebody adds one and forgets the list: nothing would tell. And parts that share loops, in one process, leave
    cores idle. Only the processes of the pool are patched, and they end with it."""
    os.nice(5)  # whatever starts beside this goes first
    from numba.core.caching import IndexDataCacheFile  # noqa: PLC0415 - see above

    save: Any = IndexDataCacheFile.save

    def locked(self: IndexDataCacheFile, key: object, data: object) -> None:
        folder = os.open(self._cache_path, os.O_RDONLY)
        try:
            with suppress(OSError):  # a network file system without locks
                fcntl.flock(folder, fcntl.LOCK_EX)
            save(self, key, data)
        finally:
            os.close(folder)

    IndexDataCacheFile.save = locked  # type: ignore[method-assign]  # a patch


def _folders() -> Iterator[Path]:
    """Where the stamp may lie: with Numba's cache, in the order in which Numba looks for a place it may write."""
    yield from _own_folders()
    yield Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "numba"


def _own_folders() -> Iterator[Path]:
    """Those of them in which nothing lies but this checkout's."""
    if named := os.environ.get("NUMBA_CACHE_DIR"):
        yield Path(named)
    yield CORE / "__pycache__"


def _stamp() -> str:
    from importlib.metadata import version  # noqa: PLC0415 - the supervisor asks once

    digest = hashlib.blake2b(digest_size=12)
    for name in ("numba", "llvmlite", "numpy"):
        digest.update(f"{name} {version(name)} ".encode())
    digest.update(f"{sys.version} {platform.machine()} {_processor()} {CORE}".encode())
    for source in sorted(CORE.rglob("*.py")):
        digest.update(f"{source.relative_to(CORE)} ".encode() + source.read_bytes())
    return f"warm-{digest.hexdigest()}"


def _processor() -> str:
    """What LLVM compiles for; unknown where there is no /proc, as if there were but one kind."""
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return " ".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}))
    return platform.processor()


def main() -> None:
    if is_warm():
        return
    began = time.monotonic()
    sys.stdout.write(f"Compiling the learner's loops, once in this checkout: about {ABOUT_S} s on two cores.\n")
    sys.stdout.flush()
    try:
        warm_up()
    except Exception as error:  # whoever needs a loop compiles it then
        sys.stdout.write(f"Not compiled ahead ({error!r}): the first step takes a minute or two.\n")
        return
    sys.stdout.write(f"Compiled in {time.monotonic() - began:.0f} s.\n")


if __name__ == "__main__":
    main()
