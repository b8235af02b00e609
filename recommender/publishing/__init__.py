"""From the state to what web processes read: boards and excerpts in Valkey, and the catalogue they are made with."""
