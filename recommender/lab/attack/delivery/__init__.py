"""How an attack reaches the product: carried out step by step, merged into a log, or sent to a live server."""
