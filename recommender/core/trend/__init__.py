"""Decayed, capped counts by item: the trend, its prices of places, its clickers."""

from recommender.core.trend import trend_migrations  # noqa: F401 - it registers a migration
from recommender.core.trend.board import Board
from recommender.core.trend.trend import Trend

__all__ = ["Board", "Trend"]
