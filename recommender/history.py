"""Histories: the steps folded into a state, and their exclusions.

    recipe = [[first step, last step, exclusion], ...]      the last step of the last segment is null: it goes on

A learner begins with [[1, null, null]]: all steps, nothing excluded. After a revert to step c, made at step n, its
recipe is

    drop     [[1, c, null], [n + 1, null, null]]
    replay   [[1, c, null], [c + 1, n, null], [n + 1, null, null]], joined to one segment again
    exclude  [[1, c, null], [c + 1, n, 7], [n + 1, null, null]]

Every checkpoint carries the recipe it was made by, so it can always be folded again from nothing. It can also be
folded from any other checkpoint whose recipe is the beginning of its own. Later reverts of the learner change
neither.
"""

from typing import NamedTuple

Recipe = list[list[int | None]]


class Segment(NamedTuple):
    """Steps `first` to `last`, both included, less the events of an exclusion."""

    first: int
    last: int
    exclusion: int | None


def beginning() -> Recipe:
    """Return the history of a learner that was never reverted."""
    return [[1, None, None]]


def closed(recipe: Recipe, step: int) -> Recipe:
    """Return a history as it was after a step.

    >>> closed([[1, 5, None], [6, 9, 7], [10, None, None]], 8)
    [[1, 5, None], [6, 8, 7]]
    """
    return [
        [first, min(step, last) if last is not None else step, exclusion]
        for first, last, exclusion in recipe
        if first is not None and first <= step
    ]


def reverted(recipe: Recipe, mode: str, to_step: int, at_step: int, exclusion: int | None) -> Recipe:
    """Return the history after a revert, as the module's docstring shows.

    `recipe` and `to_step` are those of the checkpoint. The revert is made at `at_step`.
    """
    since: Recipe = [] if mode == "drop" or at_step == to_step else [[to_step + 1, at_step, exclusion]]
    segments = [*closed(recipe, to_step), *since, [at_step + 1, None, None]]
    joined: Recipe = []
    for first, last, excluded in segments:
        before = joined[-1] if joined else None
        if before and before[1] is not None and before[1] + 1 == first and before[2] == excluded is None:
            before[1] = last
        else:
            joined.append([first, last, excluded])
    return joined


def segments(recipe: Recipe, after_step: int, to_step: int) -> list[Segment]:
    """Return the part of a history after one step, up to and including another.

    >>> segments([[1, 5, None], [8, None, 7]], 3, 9)
    [Segment(first=4, last=5, exclusion=None), Segment(first=8, last=9, exclusion=7)]
    """
    found = []
    for first, last, exclusion in closed(recipe, to_step):
        assert first is not None and last is not None  # noqa: PT018 - closed
        if last > after_step:
            found.append(Segment(max(first, after_step + 1), last, exclusion))
    return found


def begins_with(recipe: Recipe, other: Recipe, step: int) -> bool:
    """Return whether a fold by `recipe` passes the other one's state at `step`."""
    return closed(recipe, step) == closed(other, step)
