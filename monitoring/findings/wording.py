"""Words for the screen's reasons, the features and the exposure of a finding.

`FEATURES` repeats the order of `FEATURES` in `recommender.core.features.feature_columns`, and a test compares the
two. It is not imported from there, because that module imports a compiler that no web process needs.
"""

from recommender.core.vocabulary import Reason

_WORDS = {
    Reason.REPEAT: "one account clicked the same item again and again",
    Reason.REGULAR: "one account clicked at intervals as even as a machine's",
    Reason.AUTOMATED: "the client declares itself a crawler, or loaded the page ahead of a reader",
    Reason.BURST: "clicks rose far above this item's normal",
    Reason.FRESH_CROWD: "far more clickers than usual are new accounts",
    Reason.NETWORK: "far more new accounts than usual come from one network",
    Reason.LOCKSTEP: "most of the accounts clicked together in an earlier burst",
    Reason.COHORT: "the accounts were caught together before",
    Reason.NO_RETURN: "almost none opened a second item",
    Reason.FOREST_ACTOR: "the account behaves unlike cleared traffic",
    Reason.FOREST_ITEM: "the clicks on the item look unlike cleared traffic",
    Reason.FOREST_NETWORK: "the network behaves unlike cleared traffic",
    Reason.UNJUDGED: "too little was known yet, or the screen failed",
    Reason.UNDO: "it takes back an act that is on hold",
    Reason.CONFIRMED: "a reviewer confirmed that it is manipulation",
    Reason.CAMOUFLAGE: "almost all clickers who came from another item were new accounts",
    Reason.INSISTENT: "far more new accounts than usual came back to the same item",
    Reason.HASTY: "far more new accounts than usual left within seconds",
    Reason.TAKEN_BACK: "far more clickers than usual took back their acts",
    Reason.HELD_TOO: "another act of the same account on this item is on hold",
    Reason.SHUNNED: "accounts acted again after their first act on this item was removed",
}
REASONS = {int(reason): (str(reason.name).lower(), words) for reason, words in _WORDS.items()}
BITS = {name: bit for bit, (name, _) in REASONS.items()}

NO_FINDING = BITS["automated"] | BITS["unjudged"]  # verdicts for these reasons alone are only counted
ACCUSED = sum(
    BITS[name]
    for name in (
        *("network", "lockstep", "cohort", "no_return", "confirmed", "camouflage", "insistent", "hasty"),
        *("taken_back", "shunned"),
    )
)  # evidence that a group acts together; other reasons only show that there is a crowd

FEATURES = (
    *("repeat", "concentration", "newness", "regular", "undo", "shallow"),
    *("burst", "rise", "novel", "fresh", "direct", "metronome", "overlap"),
    *("prefix", "new_prefix", "agent"),
    "duplicate",
)
FEATURE_WORDS = {
    "repeat": "the account clicks the same item again",
    "concentration": "the account looks at one item only",
    "newness": "the account was active on few days",
    "regular": "the account clicks at even intervals",
    "undo": "the account takes back its acts",
    "shallow": "the account does little in a visit",
    "burst": "the item got many clicks in the last minute, compared with its last hour",
    "rise": "the item got many clicks in the last hour, compared with its last day",
    "novel": "the item's clickers were never seen before",
    "fresh": "the item's clickers are new accounts",
    "direct": "the item's clickers came directly, not from a page that links to it",
    "metronome": "the item's clicks come at even intervals",
    "overlap": "the item's clickers were together before",
    "prefix": "the item's clickers share one network",
    "new_prefix": "the networks of the item's clickers were never seen before",
    "agent": "the item's clickers share one browser",
    "duplicate": "the item's clickers opened the same other items, one for one",
}
UNKNOWN = 255  # a percentile that is not known


def reasons_of(mask: int) -> list[str]:
    """Return the codes of the reasons in a mask.

    >>> reasons_of(9)
    ['repeat', 'burst']
    """
    return [name for bit, (name, _) in REASONS.items() if mask & bit]


def in_words(mask: int) -> str:
    """Return the reasons in a mask as words for people.

    >>> in_words(264)
    "clicks rose far above this item's normal; almost none opened a second item"
    """
    return "; ".join(words for bit, (_, words) in REASONS.items() if mask & bit)


def exposure_in_words(exposure: float) -> str:
    """Return an exposure as words for people.

    >>> exposure_in_words(2.345)
    '2.3 times the score of place 10'
    >>> exposure_in_words(0.25)
    '25 % of the score of place 10'
    """
    if exposure <= 0:
        return "unknown, because there was no list to compare it with"
    if exposure >= 1:
        times = "over 100" if exposure > 100 else f"{exposure:.1f}"
        return f"{times} times the score of place 10"
    share = f"{100 * exposure:.0f} %" if exposure >= 0.01 else "less than 1 %"
    return f"{share} of the score of place 10"
