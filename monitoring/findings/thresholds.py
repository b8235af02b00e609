"""The limits of the screen's rules as sentences, for a reviewer of a verdict.

The limits belong to the model's configuration. Checkpoints contain it, and it does not change while the model learns.
The threshold of a forest is stored with each verdict.
"""

from recommender.core.screen import ScreenConfig


def in_force(reasons: list[str], config: ScreenConfig | None = None) -> list[tuple[str, str]]:
    """Return (reason, limit in words) for each of these reasons that has a limit."""
    limits = _sentences(config or ScreenConfig())
    return [(reason, limits[reason]) for reason in reasons if reason in limits]


def _sentences(of: ScreenConfig) -> dict[str, str]:
    def far_above(share: str, usual: str, way: float) -> str:
        above = f"at least {of.crowd_z:g} standard deviations above it"
        return f"{share} is at least {way:.0%} of the way from {usual} to 100%, and {above}"

    site, newcomers = "the site's share", f"at least {of.pure_n} new accounts. The share of them that"
    forest = f"fewer than {of.alpha:.2%} of cleared events are as strange"
    return {
        "repeat": f"at least {of.flood_n} clicks of one account on one item in a day",
        "burst": f"at least {of.burst_n} clickers in a minute, {of.burst_z:g} standard deviations above the past",
        "fresh_crowd": f"at least {of.crowd_n} clickers in a minute or an hour. "
        + far_above("The share of new accounts", site, of.crowd_share),
        "network": f"at least {of.crowd_n} clickers in an hour. "
        + far_above("The network's share of them", "its share on the site", of.crowd_share),
        "lockstep": f"at least {of.lockstep_n} clickers who met in one earlier burst. They are at least "
        f"{of.lockstep_share:.0%} of this burst and {of.lockstep_cover:.0%} of the earlier one",
        "cohort": f"caught with a group in the last {of.cohort_days} days",
        "no_return": f"fewer than {of.return_ratio:.0%} of the usual number opened another item within {of.hold_s} "
        f"s. At least {of.return_expected:g} of the crowd should have",
        "camouflage": f"at least {of.pure_n} clickers who came from another item. "
        + far_above("The share of new accounts", site, of.pure_share),
        "insistent": far_above(f"{newcomers} came back", site, of.crowd_share),
        "hasty": far_above(f"{newcomers} left within seconds", site, of.crowd_share),
        "taken_back": f"at least {of.pure_n} new accounts. "
        + far_above("The share of clickers that took back their acts", site, of.crowd_share),
        "forest_actor": forest,
        "forest_item": forest,
        "forest_network": forest,
    }
