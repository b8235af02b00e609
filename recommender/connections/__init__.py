"""Connect to the database through poolers, and to the stores."""
