"""Order one actor's candidates, by the learned order or by a simple one."""

from recommender.core.ranking.candidates import Ranking
from recommender.core.ranking.ranker import Ranker

__all__ = ["Ranker", "Ranking"]
