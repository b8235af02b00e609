"""The parts of the fold: a Pipeline's state, and what a step does to it.

The other rooms of the core do the rest.
"""
