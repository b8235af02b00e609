"""What the screen looks at: features of actors, items, networks and sessions, kept event by event."""

from recommender.core.features.features import Features

__all__ = ["Features"]
