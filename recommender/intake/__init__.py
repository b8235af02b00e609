"""The way of a request's body to committed events and items."""
