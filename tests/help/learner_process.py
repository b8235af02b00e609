"""The learner's process, seen from inside."""

from recommender.core.pipeline import Pipeline
from recommender.learning import learner


def restart():
    """What is in memory is gone."""
    learner.forget()


def warm() -> Pipeline:
    return learner._warm[0].pipeline
