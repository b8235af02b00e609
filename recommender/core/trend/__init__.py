"""Decayed, capped counts by item: the trend, the price of a place in it, and who stands behind an item."""

from recommender.core.trend.trend import Board, Trend

__all__ = ["Board", "Trend"]
