"""Compute how large a Pipeline can become, and shrink a Config to fit in memory.

    Config.max_* x bytes a row ──> worst_bytes      Config, bytes ──> narrowed: every bound cut by one share

A trial with little memory needs this. Bounds are cut to powers of two, down to the smallest that a Pipeline needs. A
Pipeline that forgets sooner hits a little less often. All candidates of a trial are cut alike.
"""

from dataclasses import replace
from typing import Any

from recommender.core.config import Config

# Bytes of a row in memory: its columns, key and slots (at most 10 bytes), an item's id as text, and its rows in other
# tables. A test compares them with the tables.
ROW_BYTES = {
    "max_items": 116 + 250 + 154 + 26 + 150,
    "max_regions": 100,
    "max_networks": 79,
    "max_pairs": 46,
    "max_actors": 42,
    "max_screened_actors": 106 + 90 + 74,
    "max_screened_pairs": 31,
    "max_links": 42,
}
AFFINITY_ROW_BYTES = {"max_histories": 63 + 126, "max_links": 76 + 24, "max_sources": 74 + 168}
LEAST_ROWS = 4096


def worst_bytes(config: Config) -> int:
    """Return the bytes of a Pipeline whose tables are full."""
    outer = sum(n_bytes * _capacity(getattr(config, name)) for name, n_bytes in ROW_BYTES.items())
    inner = sum(n_bytes * _capacity(getattr(config.affinity, name)) for name, n_bytes in AFFINITY_ROW_BYTES.items())
    return outer + inner


def narrowed(config: Config, n_bytes: int) -> Config:
    """Return the Config with bounds cut until a Pipeline stays below `n_bytes`.

    If that is impossible, the bounds are the smallest allowed.
    """
    while worst_bytes(config) > n_bytes:
        cut = _halved(config)
        if cut == config:
            break
        config = cut
    return config


def _halved(config: Config) -> Config:
    inner: dict[str, Any] = {name: _half(config.affinity, name) for name in AFFINITY_ROW_BYTES}
    outer: dict[str, Any] = {name: _half(config, name) for name in ROW_BYTES}
    return replace(config, affinity=replace(config.affinity, **inner), **outer)


def _half(bounded: Any, name: str) -> int:
    now: int = getattr(bounded, name)
    return min(now, max(LEAST_ROWS, _capacity(now) // 2))


def _capacity(n_rows: int) -> int:
    return 1 << (n_rows - 1).bit_length()
