"""Texts of the invented news site: headlines by category, and stories that break."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

T = TypeVar("T")

CATEGORIES = ("politics", "world", "business", "science", "sport", "culture", "health", "local")

_WORDS = {
    "place": (
        "Marlow", "Easthaven", "Port Ellery", "Greyford", "Tarn Valley", "Ashby", "Kingsmere", "Dunmore", "Lowick",
        "Westray", "Saltmarsh", "Holm", "Ferrow", "Brackley", "Inverlay", "Cold Spring",
    ),
    "firm": ("Northgate Rail", "Halden Bank", "Orrery", "Lumen Foods", "Pelham Motors", "Vantis", "Greenwharf"),
    "team": ("Rovers", "Athletic", "Harbour", "Wanderers", "Albion", "United", "Rangers", "City"),
    "person": ("Okafor", "Lindqvist", "Moreau", "Tanaka", "Haddad", "Novak", "Ferreira", "Byrne", "Kowalska", "Iyer"),
    "number": ("3", "5", "7", "12", "18", "40", "60", "200"),
    "thing": ("water", "housing", "rail", "school meals", "parking", "harbour", "library", "broadband", "flood wall"),
    "body": ("comet", "glacier", "reef", "volcano", "moon of Saturn", "forest floor", "river delta", "deep-sea vent"),
    "food": ("oats", "olive oil", "coffee", "rye bread", "seaweed", "green tea", "salt", "sourdough"),
    "work": ("novel", "opera", "documentary", "sculpture", "stage play", "album", "retrospective", "mural"),
}  # fmt: skip

_PATTERNS = {
    "politics": (
        "Minister {person} defends the {thing} plan", "{place} council splits over {thing}",
        "{person} to run again, party says", "Poll: {number} points between the two parties",
        "The {thing} bill passes by {number} votes", "What {person} promised on {thing}, and what came of it",
    ),
    "world": (
        "Border at {place} opens after {number} years", "Talks on {thing} enter day {number}",
        "{place} votes in its closest election yet", "Envoy {person} meets both sides in {place}",
        "Harvest fails in {number} provinces", "Ferry route to {place} reopens",
    ),
    "business": (
        "{firm} cuts {number} jobs in {place}", "{firm} and {firm2} in talks to merge",
        "Why {firm} shares fell {number} per cent", "{person} takes over at {firm}",
        "{firm} to build a factory in {place}", "Rents in {place} rise for month {number}",
    ),
    "science": (
        "New images of a {body} surprise researchers", "{number} species found near a {body}",
        "A {body} older than anyone thought", "{person} wins prize for work on a {body}",
        "How to read a {body}", "Probe sends back first data from a {body}",
    ),
    "sport": (
        "{team} beat {team2} with {number} minutes to go", "{person} signs for {team}",
        "{team} part with coach {person}", "{place} {team} go {number} without defeat",
        "{person} out for {number} weeks", "Five things from {team} against {team2}",
    ),
    "culture": (
        "{person}'s {work} divides the critics", "A {work} made of {number} letters",
        "{place} festival names its {work} of the year", "The {work} no one wanted to print",
        "Review: the {work} of the autumn", "{person} on the {work} that changed everything",
    ),
    "health": (
        "What {number} years of {food} do to a heart", "Is {food} as good as they say?",
        "Clinic in {place} to close at night", "{number} questions about sleep",
        "Waiting times fall in {place}", "Doctors warn of a {food} fad",
    ),
    "local": (
        "{place} loses its last {thing} office", "Missing cat found in {place} after {number} months",
        "Road through {place} closed for {number} days", "{place} market moves to Saturday",
        "Volunteers mend the {place} {thing}", "{number} trees for {place}",
    ),
}  # fmt: skip

_STORIES = (
    ("local", "Dam gives way above {place}"),
    ("politics", "Prime minister {person} resigns"),
    ("business", "{firm} files for bankruptcy"),
    ("world", "Earthquake shakes {place}"),
    ("sport", "{place} {team} win the cup"),
    ("science", "Meteor lights up the sky over {place}"),
    ("local", "Explosion at {place} refinery"),
    ("health", "{place} hospital evacuated after fire"),
)
_FOLLOW_UPS = (
    "{title}: what we know",
    "Pictures: {title}",
    "{title}: how it came to this",
    "Live: {title}",
    "Witnesses: '{quote}'",
)
_BAIT = (
    ("health", "Doctors hate it: {food} that melts {number} kilos in a week"),
    ("business", "{person} made a fortune with one trick, and {firm} wants it gone"),
    ("business", "Why everyone in {place} buys this coin before Friday"),
    ("politics", "What they will not tell you about {person} and the {thing} money"),
    ("health", "{number} pills a day, and {person} needs no glasses any more"),
    ("culture", "You will not believe what {person} wore in {place}"),
)
_QUOTES = ("There was no warning", "I have never seen anything like it", "We just ran", "No one told us")


@dataclass(frozen=True, slots=True)
class Headline:
    """A headline and its category.

    follow_ups: further headlines of a story that breaks.
    """

    title: str
    category: str
    follow_ups: tuple[str, ...] = ()


def write(rng: np.random.Generator, category: str) -> Headline:
    """Write an ordinary headline."""
    return Headline(_fill(rng, _pick(rng, _PATTERNS[category])), category)


def write_story(rng: np.random.Generator) -> Headline:
    """Write a story that breaks, with three follow-ups."""
    category, pattern = _pick(rng, _STORIES)
    title = _fill(rng, pattern)
    chosen = rng.choice(len(_FOLLOW_UPS), size=3, replace=False)
    follow_ups = [_FOLLOW_UPS[int(i)].format(title=title, quote=_pick(rng, _QUOTES)) for i in chosen]
    return Headline(title, category, tuple(follow_ups))


def write_bait(rng: np.random.Generator) -> Headline:
    """Write an article that someone paid for."""
    category, pattern = _pick(rng, _BAIT)
    return Headline(_fill(rng, pattern), category)


def slug(title: str) -> str:
    """Turn a title into a part of an address.

    >>> slug("Poll: 5 points between the two parties")
    'poll-5-points-between-the-two-parties'
    """
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:48].rstrip("-")


def _fill(rng: np.random.Generator, pattern: str) -> str:
    words = {name: _pick(rng, values) for name, values in _WORDS.items()}
    words |= {
        f"{name}2": _pick(rng, [each for each in _WORDS[name] if each != words[name]]) for name in ("firm", "team")
    }
    return pattern.format(**words)


def _pick(rng: np.random.Generator, values: Sequence[T]) -> T:
    return values[int(rng.integers(len(values)))]
