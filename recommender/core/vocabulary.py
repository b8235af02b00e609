"""Shared vocabulary: kinds of acts, verdicts, rulings, reasons and units of time.

Every other module takes these numbers from here. Logs, checkpoints and rows store them, so the meaning of a number
never changes. The module needs the standard library alone, so a web process can name a verdict without the learner.

Compiled loops take plain integers, because each look-up of an enum's member costs 1 us.
"""

from enum import IntEnum, IntFlag

SECOND_MS = 1000
MINUTE_MS = 60 * SECOND_MS
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS


class Kind(IntEnum):
    """Kinds of acts: the ways an actor can act on an item. Never reuse a number."""

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
    """Verdicts of the screen on an event. Never reuse a number."""

    ADMIT = 0
    HOLD = 1
    QUARANTINE = 2


class Ruling(IntEnum):
    """Rulings of a reviewer on events. Never reuse a number."""

    RELEASE = 1  # honest: counts at its own time, as if it had never been held
    CONFIRM = 2  # manipulation: no longer counts, and its actors are known as a cohort
    WITHHOLD = 3  # undecided: does not count until someone rules on it, and its actors are not known by it


class ListValidity(IntEnum):
    """Validities of a served list's id that an event names.

    Never reuse a number. Only VALID counts for the list: the first act of its kind, by this actor, on this item, at
    this place.
    """

    VALID = 1
    SPENT = 2  # an act of this kind at this place was paid before
    NOT_OURS = 3  # forged, changed, made by an earlier version, or no id at all
    OTHER_ACTOR = 4  # the list was served to another actor
    OTHER_ITEM = 5  # another item has this place
    NO_PLACE = 6  # the position is missing, or the list has fewer places
    EXPIRED = 7  # served more than an hour ago


class Reason(IntFlag):
    """Reasons of a verdict, one bit each. Never reuse a number."""

    NONE = 0
    REPEAT = 1  # the same item again and again, fast or like a metronome
    REGULAR = 2  # an actor whose gaps between acts are all alike
    AUTOMATED = 4  # declares itself a crawler, or was fetched before a reader asked for it
    BURST = 8  # clicks in the item's window rise far above its own past
    FRESH_CROWD = 16  # its clickers are newcomers, far beyond the site's share
    NETWORK = 32  # newcomers from one network crowd the item
    LOCKSTEP = 64  # most clickers of this burst were together in an earlier one
    COHORT = 128  # an actor of a group that LOCKSTEP exposed before
    NO_RETURN = 256  # a crowd of newcomers of whom almost none went on to another item
    FOREST_ACTOR = 512
    FOREST_ITEM = 1024
    FOREST_NETWORK = 2048
    UNJUDGED = 4096  # too little is known yet, or the screen failed
    UNDO = 8192  # undoes an act that is being held
    CONFIRMED = 16_384  # a reviewer ruled that it is manipulation
    # a crowd that looked elsewhere first: almost everyone who came to the item from another one was new here
    CAMOUFLAGE = 32_768
    INSISTENT = 65_536  # a crowd of newcomers of whom almost all came back to the same item
    HASTY = 131_072  # a crowd of newcomers of whom almost all left within seconds
    TAKEN_BACK = 262_144  # a crowd that undid its own acts
    HELD_TOO = 524_288  # the actor has a held act on the same item: this one is held too, or adds nothing to it
    SHUNNED = 1_048_576  # another act of an actor on an item where its first act was condemned


EXPOSURE, UNDO = int(Kind.EXPOSURE), int(Kind.UNDO)
ADMIT, HOLD, QUARANTINE = int(Verdict.ADMIT), int(Verdict.HOLD), int(Verdict.QUARANTINE)


def reason_names(mask: int) -> str:
    """Name the reasons of a mask, in the order of their bits.

    >>> reason_names(9)
    'repeat,burst'
    """
    return ",".join(str(reason.name).lower() for reason in Reason if reason and mask & reason)
