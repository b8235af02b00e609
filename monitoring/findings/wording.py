"""What the screen's reasons and features are called when people read them.

The order of the features is that of `FEATURES` in `recommender.core.features.feature_columns` (a test compares): that
module brings a compiler along, which no web process needs to tell a reviewer why.
"""

from recommender.core.vocabulary import Reason

_WORDS = {
    Reason.REPEAT: "the same item again and again",
    Reason.REGULAR: "gaps as even as a machine's",
    Reason.AUTOMATED: "declares itself a crawler, or was fetched ahead of a reader",
    Reason.BURST: "the item rose far above its own past",
    Reason.FRESH_CROWD: "its clickers are newcomers, far beyond the site's share",
    Reason.NETWORK: "newcomers from one network",
    Reason.LOCKSTEP: "most of them were together in an earlier burst",
    Reason.COHORT: "actors exposed before",
    Reason.NO_RETURN: "next to none of them went on to another item",
    Reason.FOREST_ACTOR: "an actor unlike cleared traffic",
    Reason.FOREST_ITEM: "a window of the item unlike cleared traffic",
    Reason.FOREST_NETWORK: "a network unlike cleared traffic",
    Reason.UNJUDGED: "too little was known yet, or the screen broke",
    Reason.UNDO: "takes back what is being held",
    Reason.CONFIRMED: "a reviewer said that it is manipulation",
    Reason.CAMOUFLAGE: "they looked elsewhere first, as nobody but newcomers did",
    Reason.INSISTENT: "nearly all of them came back to the same item",
    Reason.HASTY: "nearly all of them left within seconds",
    Reason.TAKEN_BACK: "they took back what they did",
    Reason.HELD_TOO: "another act of the actor on the item waits",
    Reason.SHUNNED: "the actor's first act on the item was condemned",
}
REASONS = {int(reason): (str(reason.name).lower(), words) for reason, words in _WORDS.items()}
BITS = {name: bit for bit, (name, _) in REASONS.items()}

NO_FINDING = BITS["automated"] | BITS["unjudged"]  # verdicts for these alone are counted and no more
ACCUSED = sum(
    BITS[name]
    for name in (
        *("network", "lockstep", "cohort", "no_return", "confirmed", "camouflage", "insistent", "hasty"),
        *("taken_back", "shunned"),
    )
)  # evidence against a group, not only for a crowd

FEATURES = (
    *("repeat", "concentration", "newness", "regular", "undo", "shallow"),
    *("burst", "rise", "novel", "fresh", "direct", "metronome", "overlap"),
    *("prefix", "new_prefix", "agent"),
    "duplicate",
)
FEATURE_WORDS = {
    "repeat": "clicks on the same item again",
    "concentration": "looks at one item only",
    "newness": "has been here on few days",
    "regular": "clicks at even intervals",
    "undo": "takes back what it did",
    "shallow": "leaves after little",
    "burst": "the item's last minute beside its last hour",
    "rise": "the item's last hour beside its last day",
    "novel": "the item's clickers were never seen before",
    "fresh": "the item's clickers are newcomers",
    "direct": "they came from nowhere: no page led here",
    "metronome": "the item's clicks come at even intervals",
    "overlap": "the item's clickers were together before",
    "prefix": "they share one network",
    "new_prefix": "their networks were never seen before",
    "agent": "they share one browser",
    "duplicate": "their visits are copies of one another",
}
UNKNOWN = 255  # of a percentile


def reasons_of(mask: int) -> list[str]:
    """
    >>> reasons_of(9)
    ['repeat', 'burst']
    """
    return [name for bit, (name, _) in REASONS.items() if mask & bit]


def in_words(mask: int) -> str:
    """
    >>> in_words(264)
    'the item rose far above its own past; next to none of them went on to another item'
    """
    return "; ".join(words for bit, (_, words) in REASONS.items() if mask & bit)


def exposure_in_words(exposure: float) -> str:
    """
    >>> exposure_in_words(2.345)
    '2.3 times what the tenth place needs'
    >>> exposure_in_words(0.25)
    '25 % of what the tenth place needs'
    """
    if exposure <= 0:
        return "unknown: there was no list to compare it with"
    if exposure >= 1:
        times = "over 100" if exposure > 100 else f"{exposure:.1f}"
        return f"{times} times what the tenth place needs"
    return f"{100 * exposure:.0f} % of what the tenth place needs" if exposure >= 0.01 else "next to nothing"
