"""Links between items that the same actors act on, capped and decayed like counts."""

from recommender.core.affinity import affinity_migrations  # noqa: F401 - it registers a migration
from recommender.core.affinity.affinity import Affinity

__all__ = ["Affinity"]
