"""Ways to bring an attack to the product: in a trial, in a log, to a live server."""
