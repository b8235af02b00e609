"""What people, policy and machines do to the model and to findings: done and written down in one transaction.

    with transaction.atomic():
        recommender.control   the mechanism; Conflict where somebody was first, and then nothing is written
        reviews.record        who, when, what about, why, the state's digest before
        outbox.notify         whoever is to be told

Reviews name findings, checkpoints, exclusions and numbers, never the actors behind them. Who may is the caller's to
see to: keys by scope (monitoring.api.views), accounts by role (monitoring.roles).
"""
