"""The learner's process, seen from inside."""

from recommender.core.pipeline import Pipeline
from recommender.learning import learner
from recommender.learning.warm_pipeline import WarmPipeline


def restart():
    """Forget the Pipeline in memory, as a restart does."""
    learner.forget()


def keep(warm_pipeline: WarmPipeline) -> None:
    """Put a Pipeline into memory, so that the learner goes on from a test's changes."""
    learner._in_memory[0] = warm_pipeline


def warm() -> Pipeline:
    return learner.in_memory(0).pipeline
