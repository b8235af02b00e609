"""Tools that try the product: attacks, benches, a demo, clients.

Only batch, rehearsals and commands import it.
"""
