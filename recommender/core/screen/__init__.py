"""Verdicts on events by rules and forests, their reasons, and the held events."""

from recommender.core.screen.screen import Screen, ScreenConfig

__all__ = ["Screen", "ScreenConfig"]
