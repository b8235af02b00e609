"""Ready-made reasons for a decision.

A reviewer picks one in a second, and the note still explains the decision.
"""

RELEASE, CONFIRM = "release", "confirm"
QUICK = {
    RELEASE: [
        "They behave like honest readers.",
        "A news story brought many readers at once.",
        "A partner, a newsletter or an ad sent them.",
        "The alarm was a false alarm.",
    ],
    CONFIRM: [
        "The accounts act as one.",
        "The traffic comes from a machine.",
        "Someone promotes this item.",
        "The alarm was right.",
    ],
}


def note_of(ruling: str, picked: str, more: str) -> str:
    """Return the note to record: a picked reason, typed words, or both.

    >>> note_of("confirm", "The accounts act as one.", "Same as on Monday.")
    'The accounts act as one. Same as on Monday.'
    """
    known = picked if picked in QUICK.get(ruling, ()) else ""
    return " ".join(part for part in (known, more.strip()) if part)
