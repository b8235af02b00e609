"""Choose the checkpoints to keep: many of the last minutes, few of the last weeks.

    schedule: 5 s apart for 5 minutes, 60 s for 2 hours, ...  ──> of each aligned interval of a tier the first in it
    cap in bytes ──> the finest tier gives way first, its oldest first

The choice is stable: every checkpoint that a later choice keeps was kept by all earlier ones. So it does not matter
how often the choice is made. Suppose checkpoints are written at least as often as a tier's interval. Then every
moment within the tier's age has a kept checkpoint less than an interval away.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple


class Tier(NamedTuple):
    """One checkpoint per `interval_s`, kept for `age_s`, both in seconds."""

    interval_s: int
    age_s: int


class Kept(NamedTuple):
    """The facts about a checkpoint that the choice needs.

    at_s: unix time at which it was made.
    pieces: the bytes of each of its pieces, by hash. None: its bytes are its own.
    """

    id: int
    at_s: float
    n_bytes: int
    pieces: Mapping[bytes, int] | None = None


def parse(text: str) -> tuple[Tier, ...]:
    """Parse a schedule written as interval:age, in seconds, finest first.

    Raises ValueError.

    >>> parse("5:300,60:7200")
    (Tier(interval_s=5, age_s=300), Tier(interval_s=60, age_s=7200))
    """
    tiers = []
    for part in text.split(","):
        interval, colon, age = part.strip().partition(":")
        if not (colon and all(each.isascii() and each.isdecimal() and len(each) <= 9 for each in (interval, age))):
            raise ValueError(f"{part.strip()!r} is not interval:age in whole seconds: write it like 60:7200")
        tiers.append(Tier(int(interval), int(age)))
    for tier in tiers:
        if not 1 <= tier.interval_s <= tier.age_s:
            raise ValueError(
                f"the interval in {tier.interval_s}:{tier.age_s} must be at least 1 s and at most the age"
            )
    for finer, coarser in pairwise(tiers):
        if not (finer.interval_s < coarser.interval_s and finer.age_s < coarser.age_s):
            raise ValueError("each tier must have a longer interval and a greater age than the tier before it")
    return tuple(tiers)


def choose(
    checkpoints: Sequence[Kept],
    *,
    schedule: Sequence[Tier],
    now_s: float,
    max_bytes: int | None = None,
    protected: Collection[int] = (),
) -> set[int]:
    """Return the ids of the checkpoints to keep.

    These are the newest, the protected, and the first of every interval of the schedule. If they exceed `max_bytes`,
    those that only finer tiers want are dropped first, the oldest first. The newest and the protected are never
    dropped. A piece that several kept checkpoints share counts once. O(checkpoints x tiers + pieces).
    """
    by_age = sorted(checkpoints, key=lambda each: (each.at_s, each.id))
    wanted_by: dict[int, int] = {}  # the coarsest tier that wants each checkpoint
    for number, tier in enumerate(schedule):
        seen: set[int] = set()
        for each in by_age:
            interval = int(each.at_s // tier.interval_s)
            if interval not in seen:
                seen.add(interval)
                if (interval + 1) * tier.interval_s > now_s - tier.age_s:
                    wanted_by[each.id] = number
    unconditional = {each.id for each in by_age if each.id in protected} | {each.id for each in by_age[-1:]}
    kept = unconditional | wanted_by.keys()
    if max_bytes is not None:
        n_naming = Counter(hash for each in by_age if each.id in kept for hash in each.pieces or ())
        sizes = {hash: size for each in by_age if each.id in kept for hash, size in (each.pieces or {}).items()}
        n_bytes = sum(sizes.values()) + sum(each.n_bytes for each in by_age if each.id in kept and not each.pieces)
        dear = [each for each in by_age if each.id in kept and each.id not in unconditional]
        for each in sorted(dear, key=lambda each: wanted_by[each.id]):
            if n_bytes <= max_bytes:
                break
            kept.discard(each.id)
            n_naming.subtract(each.pieces or ())
            n_bytes -= (
                sum(size for hash, size in each.pieces.items() if not n_naming[hash]) if each.pieces else each.n_bytes
            )
    return kept
