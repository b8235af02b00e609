"""Operations of people, policy and programs on the model and on findings.

Each is carried out and recorded in one transaction.

    with transaction.atomic():
        recommender.control   the mechanism; Conflict if someone else was faster, and then nothing is recorded
        reviews.record        who, when, what about, why, and the digest of the state before
        outbox.notify         people who must know

Reviews name findings, checkpoints, exclusions and numbers, never the actors behind them. The caller checks
permissions: keys by scope (monitoring.api.views), accounts by role (monitoring.roles).
"""
