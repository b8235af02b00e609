"""The way from the log to the state: learners, checkpoints and recorded steps.

Each shard has one learner, which alone writes its state.
"""
