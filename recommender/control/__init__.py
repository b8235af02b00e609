"""Stop learning, go back, erase an actor: decisions that change what the state is the fold of."""
