"""From the log to the state: one writer a shard, its checkpoints, and what is stored of each step."""
