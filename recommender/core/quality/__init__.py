"""Measure the lists: predict every act before learning it, raise alarms on drift."""

from recommender.core.quality.drift import Drift
from recommender.core.quality.evaluation import Evaluation

__all__ = ["Drift", "Evaluation"]
