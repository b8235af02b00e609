"""Lists for one actor: candidates, the learned order, and the simple orders that it must beat."""

from recommender.core.ranking.candidates import Ranking
from recommender.core.ranking.ranker import Ranker

__all__ = ["Ranker", "Ranking"]
