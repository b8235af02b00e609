"""Configuration of a Pipeline.

Every checkpoint contains it. The Pipeline reads no setting from anywhere else.
"""

from dataclasses import dataclass, field
from typing import Any, Self

from recommender.core.affinity.affinity import AffinityConfig
from recommender.core.quality.drift import DriftConfig
from recommender.core.ranking.bypass import ContestConfig
from recommender.core.ranking.candidates import RankingConfig
from recommender.core.ranking.ranker import RankerConfig
from recommender.core.screen import ScreenConfig
from recommender.core.state_versions import StateNewer, config_from
from recommender.core.trust import TrustConfig
from recommender.core.vocabulary import Kind

# A click has the full weight, and no kind weighs more, because a unit is the most an actor can add. A view is
# weak evidence of interest. An exposure is no act. An undo needs a weight only to be processed at all.
KIND_WEIGHTS = {kind.name.lower(): 1.0 for kind in Kind} | {"view": 0.25, "exposure": 0.0}


@dataclass(frozen=True, slots=True)
class Config:
    """All settings of a Pipeline.

    Its state depends on these and on its events only. Times in seconds, weights in [0, 1], bounds in rows.
    """

    half_lives_s: tuple[int, ...] = (300, 3600, 21_600)
    horizon_s: int = 86_400
    actor_budget: int = 200
    lateness_s: int = 86_400
    kind_weights: dict[str, float] = field(default_factory=lambda: dict(KIND_WEIGHTS))
    trust: TrustConfig = field(default_factory=TrustConfig)
    screen: ScreenConfig = field(default_factory=ScreenConfig)
    drift: DriftConfig = field(default_factory=DriftConfig)
    affinity: AffinityConfig = field(default_factory=AffinityConfig)
    ranking: RankingConfig = field(default_factory=RankingConfig)
    ranker: RankerConfig = field(default_factory=RankerConfig)
    contest: ContestConfig = field(default_factory=ContestConfig)
    # A network counts in full up to this many units. That is a hundred fresh actors or five known readers behind one
    # /24 at a time. A group counts in full up to eight such networks of one operator. Homes and offices stay below
    # the knee. Beyond it each further act counts less, as on a campus, but never zero.
    network_knee: float = 5.0
    group_knee: float = 40.0
    secret: str = ""  # hex, the key of the hashes of ids
    # The share of actors on the canary panel. Their acts are predicted but train nothing (core.quality.evaluation).
    canary_share: float = 0.01
    # The share of actors whose next acts are predicted from their own lists (core.ranking.candidates.predict).
    personal_share: float = 1.0
    max_items: int = 200_000
    max_regions: int = 400_000
    max_networks: int = 500_000
    max_pairs: int = 4_000_000
    max_actors: int = 2_000_000
    max_screened_actors: int = 500_000
    max_screened_pairs: int = 1_000_000
    max_links: int = 500_000
    max_recent: int = 32_768

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        """Rebuild a Config from the dict that `asdict` returned.

        An earlier version may have written it. A field that the state lacks gets the value from before it existed
        (`state_versions.config_from`). Raises StateNewer for a field that this version lacks.
        """
        kinds = state.get("kind_weights", {})
        if unknown := sorted(kinds.keys() - KIND_WEIGHTS.keys()):
            raise StateNewer(f"kind_weights names kinds of acts that this version lacks: {', '.join(unknown)}")
        # Under an earlier version no event had a kind that it lacked, so the weight of a newer kind changes nothing.
        return config_from(cls, {**state, "kind_weights": KIND_WEIGHTS | kinds})


def small_config(**changes: Any) -> Config:
    """Return a Config for a device, with room for 20,000 actors and 5,000 items.

    All other settings keep their defaults. docs/explanation/recommendations.md gives the memory this needs.

    >>> small_config().max_actors
    20000
    """
    bounds: dict[str, Any] = {
        "max_items": 5_000,
        "max_regions": 10_000,
        "max_networks": 20_000,
        "max_pairs": 40_000,
        "max_actors": 20_000,
        "max_screened_actors": 4_000,
        "max_screened_pairs": 8_000,
        "max_links": 10_000,
        "max_recent": 2_048,
        "affinity": AffinityConfig(max_histories=5_000, max_links=10_000, max_sources=5_000),
    }
    return Config(**(bounds | changes))
