"""Links between items that the same actors act on, capped and decayed like counts."""

from recommender.core.affinity.affinity import Affinity

__all__ = ["Affinity"]
