"""Histories: the steps folded into a state, their exclusions and versions.

    recipe = [[first step, last step, exclusion], ...]      the last step of the last segment is null: it goes on

A learner begins with [[1, null, null]]: all steps, nothing excluded. After a revert to step c, made at step n, its
recipe is

    drop     [[1, c, null], [n + 1, null, null]]
    replay   [[1, c, null], [c + 1, n, null], [n + 1, null, null]], joined to one segment again
    exclude  [[1, c, null], [c + 1, n, 7], [n + 1, null, null]]

A fourth number is the version of the fold (`core.state_versions`). Without it, the segment was folded by version 1.
If version 2 takes over from a checkpoint at step c, the recipe becomes [[1, c, null], [c + 1, null, null, 2]].

Every checkpoint carries the recipe it was made by, so it can always be folded again from nothing. It can also be
folded from any other checkpoint whose recipe is the beginning of its own. Later reverts of the learner change
neither. Digests can be compared only if the present version folded all steps in between.
"""

from typing import NamedTuple

Recipe = list[list[int | None]]


class Segment(NamedTuple):
    """Steps `first` to `last`, both included, less the events of an exclusion.

    fold_version: the version that folded them.
    """

    first: int
    last: int
    exclusion: int | None
    fold_version: int = 1


def beginning(fold_version: int = 1) -> Recipe:
    """Return the history of a learner that was never reverted.

    >>> beginning(2)
    [[1, None, None, 2]]
    """
    return [_row(1, None, None, fold_version)]


def closed(recipe: Recipe, step: int) -> Recipe:
    """Return a history as it was after a step.

    >>> closed([[1, 5, None], [6, 9, 7], [10, None, None]], 8)
    [[1, 5, None], [6, 8, 7]]
    """
    return [
        [first, min(step, last) if last is not None else step, *rest]
        for first, last, *rest in recipe
        if first is not None and first <= step
    ]


def reverted(
    recipe: Recipe, mode: str, to_step: int, at_step: int, exclusion: int | None, fold_version: int = 1
) -> Recipe:
    """Return the history after a revert, as the module's docstring shows.

    `recipe` and `to_step` are those of the checkpoint. The revert is made at `at_step`, by `fold_version`.
    """
    is_dropped = mode == "drop" or at_step == to_step
    since: Recipe = [] if is_dropped else [_row(to_step + 1, at_step, exclusion, fold_version)]
    return _joined([*closed(recipe, to_step), *since, _row(at_step + 1, None, None, fold_version)])


def relearned(recipe: Recipe, after_step: int, fold_version: int) -> Recipe:
    """Return a history whose steps after a step were folded again by a version.

    >>> relearned([[1, 5, None], [6, 9, 7], [10, None, None]], 8, 2)
    [[1, 5, None], [6, 8, 7], [9, 9, 7, 2], [10, None, None, 2]]
    """
    found: Recipe = []
    for row in recipe:
        first, last, exclusion, *version = row
        assert first is not None
        if (version or [1])[0] == fold_version or (last is not None and last <= after_step):
            found.append(row)
            continue
        if first <= after_step:
            found.append([first, after_step, exclusion, *version])
        found.append(_row(max(first, after_step + 1), last, exclusion, fold_version))
    return _joined(found) if found != recipe else recipe


def segments(recipe: Recipe, after_step: int, to_step: int) -> list[Segment]:
    """Return the part of a history after one step, up to and including another.

    >>> segments([[1, 5, None], [8, None, 7]], 3, 9)
    [Segment(first=4, last=5, exclusion=None, fold_version=1), Segment(first=8, last=9, exclusion=7, fold_version=1)]
    """
    found = []
    for first, last, exclusion, *version in closed(recipe, to_step):
        assert first is not None and last is not None  # noqa: PT018 - closed
        if last > after_step:
            found.append(Segment(max(first, after_step + 1), last, exclusion, (version or [1])[0] or 1))
    return found


def begins_with(recipe: Recipe, other: Recipe, step: int) -> bool:
    """Return whether a fold by `recipe` passes the other one's state at `step`."""
    return closed(recipe, step) == closed(other, step)


def last_of_other_version(recipe: Recipe, after_step: int, to_step: int, fold_version: int) -> int:
    """Return the last step of a part of a history that another version folded.

    It is 0 if there is none.

    >>> last_of_other_version([[1, 5, None], [6, None, None, 2]], 0, 9, 2)
    5
    """
    there = segments(recipe, after_step, to_step)
    return max((each.last for each in there if each.fold_version != fold_version), default=0)


def _row(first: int, last: int | None, exclusion: int | None, fold_version: int) -> list[int | None]:
    return [first, last, exclusion] if fold_version == 1 else [first, last, exclusion, fold_version]


def _joined(recipe: Recipe) -> Recipe:
    """Join segments that follow each other without an exclusion."""
    joined: Recipe = []
    for first, last, *rest in recipe:
        before = joined[-1] if joined else None
        if before and before[1] is not None and before[1] + 1 == first and rest[0] is None and before[2:] == rest:
            before[1] = last
        else:
            joined.append([first, last, *rest])
    return joined
