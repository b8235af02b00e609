"""Read the addresses of the servers, and secrets, from the environment."""
