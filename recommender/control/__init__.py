"""Freeze learning, revert it, erase an actor: changes to a learner's history."""
