"""What a run was worth, as numbers. Every function is pure.

success      a target stands in the served list for 60 s or more in which it does not stand there in the clean run
             (demotion: is missing from it; disturbance: two or more of the clean list are missing)
detect_s     from the first act on a target to the first of them that is not admitted
lift         places a target stood higher than at the same second of the clean run, at its best
exposure     share of all attention to the served list that false places took (DRAW: what a place draws)
contain_s    from the first act on a target to the last second of a false place; 0 where there is none
violations   seconds in which a target holds a false place although the accounts that had acted on it by then, at the
             weight of a new account (of a full one, where accounts are stolen), did not reach the clean run's gap
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
TOLERANCE = 0.01  # a step's stream time is that of its last event, which differs between the two runs


def compare(
    attacked: Trace, clean: Trace, *, targets: Sequence[str], goal: Goal, account_weight: float | None
) -> dict[str, Any]:
    """One run beside its clean twin. `account_weight`: what one account can add, None where nothing bounds it."""
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
    """Accounts of a weight needed to pass the last served place: m*."""
    return int(max(0.0, last - score) / weight) + 1


def average_precision(is_attack: NDArray[np.bool_], score: NDArray[np.float32]) -> float | None:
    """Mean precision over the attack's events, most suspicious first; ties count as their mean place would.

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
    """Chance that a positive scores above a negative, ties as half.

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
    """A statistic with its 95 % bootstrap interval: (value, low, high).

    >>> interval([3.0, 3.0, 3.0])
    (3.0, 3.0, 3.0)
    """
    sample = np.asarray(values, np.float64)
    drawn = sample[np.random.default_rng(seed).integers(len(sample), size=(n, len(sample)))]
    low, high = np.quantile(of(drawn, axis=1), [0.025, 0.975])
    return float(of(sample)), float(low), float(high)


def proportion(n_hits: int, n: int) -> tuple[float, float, float]:
    """A share with Wilson's 95 % interval: what a bootstrap cannot give where no run succeeded.

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
    """The best place an item kept, or bettered, for n_steps in a row; WATCHED_DEPTH + 1 where there is none.

    >>> best_held(np.array([21, 3, 2, 3, 1, 21]), 3)
    3
    """
    if len(rank) < n_steps:
        return WATCHED_DEPTH + 1
    return int(np.lib.stride_tricks.sliding_window_view(rank, n_steps).max(axis=1).min())


def delays(now: Trace, then: Trace, item: str) -> dict[str, float | None]:
    """By how many seconds a list shows an item later than another does: at the best place it holds there for a minute
    ("same"), and in the first 20 and 10. None: never; nothing where the other never shows it there either."""
    ranks, due = now.rank(item), then.rank(item)
    found: dict[str, float | None] = {}
    for name, place in (("same", best_held(due, SUCCESS_S)), ("20", WATCHED_DEPTH), ("10", SERVED)):
        was, came = np.flatnonzero(due <= place), np.flatnonzero(ranks <= place)
        if place <= WATCHED_DEPTH and len(was):
            found[name] = float(came[0] - was[0]) if len(came) else None
    return found


def _false_places(attacked: Trace, clean: Trace, targets: Sequence[str], goal: Goal) -> NDArray[np.bool_]:
    """By target (for a disturbance: in one row) and second."""
    n = min(len(attacked.tops), len(clean.tops))
    if goal == "disturb":
        pairs = zip(attacked.tops[:n], clean.tops[:n], strict=True)
        missing = [len(set(is_clean[:SERVED]) - set(is_now[:SERVED])) for is_now, is_clean in pairs]
        return (np.array(missing, np.int64) >= DISTURBED)[None, :]
    is_in: NDArray[np.bool_] = np.array([attacked.rank(target)[:n] <= SERVED for target in targets])
    was_in: NDArray[np.bool_] = np.array([clean.rank(target)[:n] <= SERVED for target in targets])
    return was_in & ~is_in if goal == "demote" else is_in & ~was_in


def _exposure(attacked: Trace, false: NDArray[np.bool_], targets: Sequence[str], goal: Goal) -> float | None:
    """Share of all attention to the served list that false places took; a place draws 1 / log2(1 + place)."""
    if goal != "promote" or not false.size:
        return None
    draw = 1 / np.log2(np.arange(2, SERVED + 2))
    rank = np.array([attacked.rank(target)[: false.shape[1]] for target in targets])
    return float((draw[np.minimum(rank, SERVED) - 1] * false).sum() / (draw.sum() * false.shape[1]))


def _lift(attacked: Trace, clean: Trace, targets: Sequence[str]) -> int:
    """Places by which a target stood higher at its best, within the first WATCHED_DEPTH + 1."""
    n = min(len(attacked.tops), len(clean.tops))
    return max(int((clean.rank(target)[:n] - attacked.rank(target)[:n]).max(initial=0)) for target in targets)


def _churn(attacked: Trace, clean: Trace, targets: Sequence[str]) -> float:
    """Share of the clean list, targets aside, that is missing; mean over the run, beyond what targets displace."""
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
    """Over readers' and injected events: precision and recall of "not admitted in the end", and average precision of
    the score."""
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
