"""Answer requests for lists from the published view, without a database."""
