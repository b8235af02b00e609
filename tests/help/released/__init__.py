"""Released versions, as tests meet them: their states, their rows, and a version still to come."""
