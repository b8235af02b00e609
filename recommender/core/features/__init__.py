"""Features for the screen, of actors, items, networks and sessions."""

from recommender.core.features.features import Features

__all__ = ["Features"]
