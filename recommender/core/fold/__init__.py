"""The parts of the fold: a Pipeline's state, and what a step does to it outside the other rooms."""
