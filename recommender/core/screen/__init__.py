"""Verdicts on events: rules and forests, why, and the queue of what is on hold."""

from recommender.core.screen.screen import Screen, ScreenConfig

__all__ = ["Screen", "ScreenConfig"]
