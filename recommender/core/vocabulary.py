"""What everybody calls the same: kinds of acts, verdicts, rulings, reasons, units of time.

The numbers are stored in logs, checkpoints and rows: a number stands for one thing for ever. Every other module takes
them from here. The standard library alone is needed, so a web process may know a verdict without the learner.

Compiled loops take plain integers: a member of an enum costs 1 us each time it is looked up.
"""

from enum import IntEnum, IntFlag

SECOND_MS = 1000
MINUTE_MS = 60 * SECOND_MS
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS


class Kind(IntEnum):
    """Say what an actor did with an item. Never reuse a number."""

    VIEW = 1
    CLICK = 2
    LIKE = 3
    SHARE = 4
    CART = 5
    PURCHASE = 6
    RATING = 7
    EXPOSURE = 8
    UNDO = 9


class Verdict(IntEnum):
    """Say what becomes of an event. Never reuse a number."""

    ADMIT = 0
    HOLD = 1
    QUARANTINE = 2


class Ruling(IntEnum):
    """Say what a reviewer decided about events. Never reuse a number."""

    RELEASE = 1  # honest: counts at its own time, as if it had never been held
    CONFIRM = 2  # manipulation: counts no more, and those who did it are known
    WITHHOLD = 3  # nothing: counts no more until somebody rules on it, and nobody is known by it


class Reason(IntFlag):
    """Say why, a bit a reason. Never reuse a number."""

    NONE = 0
    REPEAT = 1  # the same item again and again, fast or like a metronome
    REGULAR = 2  # an actor whose gaps are all alike
    AUTOMATED = 4  # declares itself a crawler, or was fetched ahead of a reader
    BURST = 8  # the item's window rises far above its own past
    FRESH_CROWD = 16  # its clickers are newcomers, far beyond the site's share
    NETWORK = 32  # newcomers from one network crowd the item
    LOCKSTEP = 64  # most clickers of this burst were together in an earlier one
    COHORT = 128  # an actor exposed by that before
    NO_RETURN = 256  # a crowd of newcomers of whom nearly nobody went on to another item
    FOREST_ACTOR = 512
    FOREST_ITEM = 1024
    FOREST_NETWORK = 2048
    UNJUDGED = 4096  # too little is known yet, or the screen broke
    UNDO = 8192  # takes back what is being held
    CONFIRMED = 16_384  # a reviewer says that it is manipulation
    CAMOUFLAGE = 32_768  # a crowd that looked elsewhere first: whoever came to the item from another was new here
    INSISTENT = 65_536  # a crowd of newcomers of whom nearly all came back to the same item
    HASTY = 131_072  # a crowd of newcomers of whom nearly all left within seconds
    TAKEN_BACK = 262_144  # a crowd that took back what it did
    HELD_TOO = 524_288  # where the same actor's act on the same item is being held: adds nothing to it, or waits too
    SHUNNED = 1_048_576  # another act of an actor on an item where its first was condemned


EXPOSURE, UNDO = int(Kind.EXPOSURE), int(Kind.UNDO)
ADMIT, HOLD, QUARANTINE = int(Verdict.ADMIT), int(Verdict.HOLD), int(Verdict.QUARANTINE)


def reason_names(mask: int) -> str:
    """Name the reasons of a mask, in the order of their bits.

    >>> reason_names(9)
    'repeat,burst'
    """
    return ",".join(str(reason.name).lower() for reason in Reason if reason and mask & reason)
