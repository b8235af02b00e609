"""Compile the core's loops ahead, once a checkout.

    python -m recommender.core.warmup
    is_warm? ──no──> a process a core: the parts (core.warmup_parts), then the rest ──> Numba's cache, a stamp

Compiling takes 100 s of one core. Without it, the first process that needs a loop waits for it: the learner in its
first step, or a process of the tests.

The compiled code depends on the sources, the versions and the processor, and so does the stamp. The stamp is a file
next to the cache. If it is there, this module is done in a tenth of a second. A stamp that is lost, or that outlives
the cache, costs time only, because Numba looks for itself and compiles the missing loops. Without a stamp everything
is compiled again. The reason is that Numba does not notice when a loop calls one of another file that has changed.

The module imports its larger needs late, so that the supervisor can ask `is_warm` cheaply.
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
    """Return True if everything is compiled, as far as the stamps show."""
    return any((folder / _stamp()).exists() for folder in _folders())


def warm_up() -> None:
    """Compile all missing loops, on all cores."""
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
    """Delete the caches, since Numba would load stale loops.

    Numba checks a loop's own file only. If another file that the loop calls has changed, Numba would load the old
    loop.
    """
    for folder in (*_own_folders(), *CORE.glob("*/__pycache__")):
        for pattern in ("**/*.nbi", "**/*.nbc", "warm-*"):
            for file in folder.glob(pattern):
                with suppress(OSError):  # another process was first, or this user may not write here
                    file.unlink()


def _leave_stamp() -> None:
    for folder in _folders():
        with suppress(OSError):  # a checkout that this user may not write
            folder.mkdir(parents=True, exist_ok=True)
            (folder / _stamp()).touch()
            return


def _one_at_a_time() -> None:
    """Let one process at a time enter a loop into Numba's index.

    Without a lock, two processes that enter the same loop for different arguments would name the same file for both.
    A process that loads it then runs machine code made for other arguments. The parts have 14 of 94 loops in common,
    4 of them for different arguments.

    Numba's saving method is the only place for the lock. Three other ways fail:

    - A cache locator is public, but it is called before a loop is saved and not after, so it cannot release a lock.
    - A cache for each process would have to be merged by the form of Numba's index, which is private too.
    - One process could compile the common loops first. That is safe until someone adds a loop and forgets the list,
      and nothing would show it. Parts that share loops, in one process, leave cores idle.

    Only the processes of the pool are patched, and the patch ends with them.
    """
    os.nice(5)  # processes that start meanwhile go first
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
    """Yield the folders for the stamp, where Numba may keep its cache.

    They come in the order in which Numba looks for a place it may write.
    """
    yield from _own_folders()
    yield Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "numba"


def _own_folders() -> Iterator[Path]:
    """Yield the folders that hold nothing but this checkout's files."""
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
    """Return the features LLVM compiles for.

    Without /proc they are unknown, and all processors of a machine type count as one.
    """
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return " ".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}))
    return platform.processor()


def main() -> None:
    if is_warm():
        return
    began = time.monotonic()
    sys.stdout.write(
        f"Groundswell compiles its learning code, once per installation. This takes about {ABOUT_S} s on two cores.\n"
    )
    sys.stdout.flush()
    try:
        warm_up()
    except Exception as error:  # a process that needs a loop compiles it then
        sys.stdout.write(f"Not compiled ahead ({error!r}). The first step will take a minute or two.\n")
        return
    sys.stdout.write(f"Compiled in {time.monotonic() - began:.0f} s.\n")


if __name__ == "__main__":
    main()
