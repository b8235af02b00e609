"""Features for the screen, of actors, items, networks and sessions."""

from recommender.core.features import features_migrations  # noqa: F401 - it registers a migration
from recommender.core.features.features import Features

__all__ = ["Features"]
