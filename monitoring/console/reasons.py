"""The reasons that are picked rather than typed, so that a note is a second's work and still says something."""

RELEASE, CONFIRM = "release", "confirm"
QUICK = {
    RELEASE: [
        "They behave like honest readers.",
        "A story broke, and people came for it.",
        "A partner, a newsletter or an advertisement sent them.",
        "The alarm had a harmless cause.",
    ],
    CONFIRM: [
        "The accounts act as one.",
        "The traffic is a machine's.",
        "Somebody promotes this item.",
        "The alarm was right.",
    ],
}


def note_of(ruling: str, picked: str, more: str) -> str:
    """What is written down: a picked reason, what was typed, or both.

    >>> note_of("confirm", "The accounts act as one.", "Same as on Monday.")
    'The accounts act as one. Same as on Monday.'
    """
    known = picked if picked in QUICK.get(ruling, ()) else ""
    return " ".join(part for part in (known, more.strip()) if part)
