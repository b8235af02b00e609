"""Figures of a run compared with its clean twin. Every function is pure.

A false place is a place of the served list that the target holds only because of the attack.

    success     60 s or more of false places; for a demotion, the target is missing that long; for a disturbance, two
                or more items of the clean list are
    detect_s    from the first act on a target to the first such act that is not admitted
    lift        the most places by which a target is above its place in the clean run at the same second
    exposure    share of all attention to the served list that false places took
    contain_s   from the first act on a target to the last second of a false place; 0 if there is none
    violations  seconds in which a target holds a false place, although the accounts that had acted on it by then did
                not reach the gap of the clean run; a new account counts at its own weight, a stolen one at full
                weight
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recommender.core.vocabulary import ADMIT
from recommender.lab.attack.catalogue.attack_base import Goal
from recommender.lab.attack.trials.event_fates import AUTOMATA, INJECTED
from recommender.lab.attack.trials.single_run import SERVED, WATCHED_DEPTH, Trace

SUCCESS_S = 60
DISTURBED = 2
TOLERANCE = 0.01  # The stream time of a step is that of its last event, which differs between the two runs.


def compare(
    attacked: Trace, clean: Trace, *, targets: Sequence[str], goal: Goal, account_weight: float | None
) -> dict[str, Any]:
    """Compare one run with its clean twin.

    account_weight: the most that one account can add, None if nothing bounds it.
    """
    n = len(attacked.tops)
    false = _false_places(attacked, clean, targets, goal)
    seconds = int(false.sum(axis=1).max(initial=0))
    last = int(np.flatnonzero(false.any(axis=0)).max(initial=-1))
    start_s = next((second for second, n_accounts in enumerate(attacked.n_accounts) if n_accounts), 0)
    ledger = attacked.ledger
    found: dict[str, Any] = {
        "success": seconds >= SUCCESS_S,
        "false_s": seconds,
        "best_rank": min(int(attacked.rank(target)[:n].min(initial=21)) for target in targets),
        "clean_rank": min(int(clean.rank(target)[:n].min(initial=21)) for target in targets),
        "detect_s": _seconds(ledger.first_alarm_ms, ledger.first_ms),
        "contain_s": max(0.0, float(last + 1 - start_s)) if last >= 0 else 0.0,
        "lift": _lift(attacked, clean, targets) if goal == "promote" else None,
        "is_contained": last < n - 1,
        "exposure": _exposure(attacked, false, targets, goal),
        "churn": _churn(attacked, clean, targets),
        "accounts_used": attacked.n_accounts[-1] if n else 0,
        "verdicts": ledger.summary(),
        "lost_before": ledger.n_revised_before,
    }
    found |= _classified(attacked)
    if goal == "promote" and account_weight is not None:
        found["violations"] = max(_violations(attacked, clean, target, account_weight) for target in targets)
    return found


def price(last: float, score: float, weight: float) -> int:
    """Return the accounts of a weight needed to pass the last served place: m*."""
    return int(max(0.0, last - score) / weight) + 1


def average_precision(is_attack: NDArray[np.bool_], score: NDArray[np.float32]) -> float | None:
    """Return the mean precision over the attack's events, most suspicious first.

    Events with equal scores count as if each had their mean place.

    >>> round(average_precision(np.array([True, False, True]), np.array([0.9, 0.5, 0.1], np.float32)), 3)
    0.833
    """
    n = int(is_attack.sum())
    if not n or n == len(is_attack):
        return None
    values, group = np.unique(-score, return_inverse=True)
    caught = np.cumsum(np.bincount(group, weights=is_attack, minlength=len(values)))
    taken = np.cumsum(np.bincount(group, minlength=len(values)))
    return float(((caught - np.concatenate([[0], caught[:-1]])) * caught / taken).sum() / n)


def auc(is_positive: NDArray[np.bool_], score: NDArray[np.float64]) -> float:
    """Return the chance that a positive scores above a negative. A tie counts as half.

    >>> auc(np.array([True, False, False]), np.array([1.0, 1.0, 0.0]))
    0.75
    """
    order = np.argsort(score, kind="stable")
    ranks = np.empty(len(score))
    ranks[order] = np.arange(1, len(score) + 1)
    values, group, counts = np.unique(score, return_inverse=True, return_counts=True)
    ranks = (np.bincount(group, weights=ranks, minlength=len(values)) / counts)[group]
    n = int(is_positive.sum())
    return float((ranks[is_positive].sum() - n * (n + 1) / 2) / (n * (len(score) - n)))


def interval(
    values: Sequence[float], *, of: Any = np.median, seed: int = 0, n: int = 1000
) -> tuple[float, float, float]:
    """Return a statistic with its 95 % bootstrap interval: (value, low, high).

    >>> interval([3.0, 3.0, 3.0])
    (3.0, 3.0, 3.0)
    """
    sample = np.asarray(values, np.float64)
    drawn = sample[np.random.default_rng(seed).integers(len(sample), size=(n, len(sample)))]
    low, high = np.quantile(of(drawn, axis=1), [0.025, 0.975])
    return float(of(sample)), float(low), float(high)


def proportion(n_hits: int, n: int) -> tuple[float, float, float]:
    """Return a share with Wilson's 95 % interval.

    A bootstrap gives no interval if no run succeeded, and this does.

    >>> [round(x, 3) for x in proportion(0, 100)]
    [0.0, 0.0, 0.037]
    """
    if not n:
        return 0.0, 0.0, 1.0
    z, share = 1.96, n_hits / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * float(np.sqrt(share * (1 - share) / n + z * z / (4 * n * n)))
    return share, max(0.0, middle - half) if n_hits else 0.0, min(1.0, middle + half)


def best_held(rank: NDArray[np.int64], n_steps: int) -> int:
    """Return the best place that an item kept or bettered for n_steps in a row.

    It is WATCHED_DEPTH + 1 if there is none.

    >>> best_held(np.array([21, 3, 2, 3, 1, 21]), 3)
    3
    """
    if len(rank) < n_steps:
        return WATCHED_DEPTH + 1
    return int(np.lib.stride_tricks.sliding_window_view(rank, n_steps).max(axis=1).min())


def delays(now: Trace, then: Trace, item: str) -> dict[str, float | None]:
    """Return by how many seconds one list shows an item later than another list does.

    "same" is at the best place that the item holds in the other list for a minute. "20" and "10" are at the entry
    into the top 20 and the top 10. None means never. A key is missing if the other list never shows the item there
    either.
    """
    ranks, due = now.rank(item), then.rank(item)
    found: dict[str, float | None] = {}
    for name, place in (("same", best_held(due, SUCCESS_S)), ("20", WATCHED_DEPTH), ("10", SERVED)):
        was, came = np.flatnonzero(due <= place), np.flatnonzero(ranks <= place)
        if place <= WATCHED_DEPTH and len(was):
            found[name] = float(came[0] - was[0]) if len(came) else None
    return found


def _false_places(attacked: Trace, clean: Trace, targets: Sequence[str], goal: Goal) -> NDArray[np.bool_]:
    """Mark the false places by target and second. A disturbance has one row."""
    n = min(len(attacked.tops), len(clean.tops))
    if goal == "disturb":
        pairs = zip(attacked.tops[:n], clean.tops[:n], strict=True)
        missing = [len(set(is_clean[:SERVED]) - set(is_now[:SERVED])) for is_now, is_clean in pairs]
        return (np.array(missing, np.int64) >= DISTURBED)[None, :]
    is_in: NDArray[np.bool_] = np.array([attacked.rank(target)[:n] <= SERVED for target in targets])
    was_in: NDArray[np.bool_] = np.array([clean.rank(target)[:n] <= SERVED for target in targets])
    return was_in & ~is_in if goal == "demote" else is_in & ~was_in


def _exposure(attacked: Trace, false: NDArray[np.bool_], targets: Sequence[str], goal: Goal) -> float | None:
    """Return the share of all attention to the served list that false places took.

    A place draws 1 / log2(1 + place).
    """
    if goal != "promote" or not false.size:
        return None
    draw = 1 / np.log2(np.arange(2, SERVED + 2))
    rank = np.array([attacked.rank(target)[: false.shape[1]] for target in targets])
    return float((draw[np.minimum(rank, SERVED) - 1] * false).sum() / (draw.sum() * false.shape[1]))


def _lift(attacked: Trace, clean: Trace, targets: Sequence[str]) -> int:
    """Return the most places that a target gained, within the first WATCHED_DEPTH + 1."""
    n = min(len(attacked.tops), len(clean.tops))
    return max(int((clean.rank(target)[:n] - attacked.rank(target)[:n]).max(initial=0)) for target in targets)


def _churn(attacked: Trace, clean: Trace, targets: Sequence[str]) -> float:
    """Return the mean share of the clean list that is missing.

    Targets do not count, nor do as many items as the targets displace.
    """
    missing = []
    for now, before in zip(attacked.tops, clean.tops, strict=False):
        kept = [item for item in before[:SERVED] if item not in targets]
        n_pushed = len(set(targets) & set(now[:SERVED]) - set(before[:SERVED]))
        missing.append(max(0, len(set(kept) - set(now[:SERVED])) - n_pushed) / SERVED)
    return float(np.mean(missing)) if missing else 0.0


def _violations(attacked: Trace, clean: Trace, target: str, weight: float) -> int:
    n = min(len(attacked.tops), len(clean.tops))
    is_false = _false_places(attacked, clean, [target], "promote")[0]
    gap = np.array(clean.last[:n]) - np.array(clean.scores[target][:n])
    reach = np.array(attacked.n_accounts[:n]) * weight
    return int((is_false & (reach < gap * (1 - TOLERANCE))).sum())


def _classified(trace: Trace) -> dict[str, float | None]:
    """Return precision and recall of the verdicts, and average precision of the score.

    A positive is an event that is not admitted in the end. Only readers' events and injected events count.
    """
    group, verdict, _, _ = trace.ledger.columns()
    is_judged, is_injected, is_stopped = group != AUTOMATA, group == INJECTED, verdict != ADMIT
    n_injected, n_stopped = int(is_injected.sum()), int((is_stopped & is_judged).sum())
    caught = int((is_injected & is_stopped).sum())
    scores = trace.ledger.scores()[1]
    return {
        "precision": caught / n_stopped if n_stopped else None,
        "recall": caught / n_injected if n_injected else None,
        "average_precision": average_precision(is_injected[is_judged], scores[is_judged]),
    }


def _seconds(at_ms: int | None, since_ms: int | None) -> float | None:
    return None if at_ms is None or since_ms is None else (at_ms - since_ms) / 1000
