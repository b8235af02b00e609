"""Publish the state as boards and excerpts in Valkey, with the item catalogue."""
