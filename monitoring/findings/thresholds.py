"""How far a rule goes before it speaks, for whoever reads its verdict: sentences with the figures in force.

The limits of the rules belong to the model's configuration, which travels in its checkpoints and does not change
while it learns; what a forest objected at stands with each verdict.
"""

from recommender.core.screen import ScreenConfig


def in_force(reasons: list[str], config: ScreenConfig | None = None) -> list[tuple[str, str]]:
    """Of these reasons, those that have a limit: (reason, what it takes)."""
    limits = _sentences(config or ScreenConfig())
    return [(reason, limits[reason]) for reason in reasons if reason in limits]


def _sentences(of: ScreenConfig) -> dict[str, str]:
    forest = f"fewer than {of.alpha:.2%} of cleared events are as strange"
    crowd = f"at least {of.crowd_n} clickers within a minute"
    pure = (
        f"at least {of.pure_n} newcomers, and {of.pure_share:.0%} of the way from the site's share to all of them, "
        f"by {of.crowd_z:g} standard deviations"
    )
    return {
        "repeat": f"{of.flood_n} clicks of one account on one item within a day",
        "burst": f"{of.burst_n} clickers within a minute, {of.burst_z:g} standard deviations above its past",
        "fresh_crowd": f"{crowd}; newcomers {of.crowd_share:.0%} of the way from the site's share to all of them, "
        f"by {of.crowd_z:g} standard deviations",
        "network": f"{crowd} whose newcomers come from one network, by {of.crowd_z:g} standard deviations beyond the "
        "site's share",
        "lockstep": f"{of.lockstep_n} clickers who met in one earlier burst: {of.lockstep_share:.0%} of this one and "
        f"{of.lockstep_cover:.0%} of that one",
        "cohort": f"was exposed with its group within the last {of.cohort_days} days",
        "no_return": f"fewer than {of.return_ratio:.0%} as many as usual went on to another item within "
        f"{of.hold_s} s, of a crowd of which at least {of.return_expected:g} should have",
        "camouflage": pure,
        "insistent": pure,
        "hasty": pure,
        "taken_back": pure,
        "forest_actor": forest,
        "forest_item": forest,
        "forest_network": forest,
    }
