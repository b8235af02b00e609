"""Released versions: their states and rows, and a version still to come."""
