"""The learner's process, seen from inside."""

from recommender.core.pipeline import Pipeline
from recommender.learning import learner
from recommender.learning.learner import WarmPipeline


def restart():
    """What is in memory is gone."""
    learner.forget()


def keep(warm_pipeline: WarmPipeline) -> None:
    """It is in memory: what a test did to it by itself, the learner goes on from."""
    learner._in_memory[0] = warm_pipeline


def warm() -> Pipeline:
    return learner.in_memory(0).pipeline
