"""Processes whose time of day is wrong, while their monotonic clock is right.

A small library in front of the C library shifts the time of day. libfaketime does it for other programs. With it,
Python's sleep or its waiting for an event fails in either mode for the monotonic clock.
"""

import shutil
import subprocess
from pathlib import Path

import pytest

_SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

static long long shift_ns(void) {
    const char *by = getenv("SKEWED_BY_S");
    return by ? (long long)(atof(by) * 1e9) : 0;
}

static void shift(struct timespec *at) {
    long long ns = at->tv_sec * 1000000000LL + at->tv_nsec + shift_ns();
    at->tv_sec = ns / 1000000000LL;
    at->tv_nsec = ns % 1000000000LL;
}

int clock_gettime(clockid_t id, struct timespec *at) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int failed = real(id, at);
    if (!failed && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) shift(at);
    return failed;
}

int gettimeofday(struct timeval *at, void *zone) {
    struct timespec now;
    (void)zone;
    int failed = clock_gettime(CLOCK_REALTIME, &now);
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return failed;
}

time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}
"""


def build(folder: Path) -> Path:
    """Compile the library into a folder, or skip the test where there is no compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler here, which makes the library that shifts the time of day")
    source, library = folder / "skewed.c", folder / "skewed.so"
    source.write_text(_SOURCE)
    command = [compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl"]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return library


def skewed(env: dict[str, str], library: Path, by_s: float) -> dict[str, str]:
    """Return an environment whose processes see a time of day `by_s` seconds ahead."""
    return env | {"LD_PRELOAD": str(library), "SKEWED_BY_S": f"{by_s:g}"}
