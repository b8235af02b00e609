"""HTTP: addresses, views, keys, rate limits, the schema, health and metrics."""
