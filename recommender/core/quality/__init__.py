"""How good the lists are: every act is predicted before it is learned, and drift raises an alarm."""

from recommender.core.quality.drift import Drift
from recommender.core.quality.evaluation import Evaluation

__all__ = ["Drift", "Evaluation"]
