"""The HTTP API: URLs, views, keys, rate limits, the schema, health and metrics."""
