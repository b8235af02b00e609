"""The learner's process, seen from inside."""

from recommender import learner
from recommender.core.pipeline import Pipeline


def restart():
    """What is in memory is gone."""
    learner._warm.clear()


def warm() -> Pipeline:
    return learner._warm[0].pipeline
