"""Tests that the screen leaves the demo's honest town alone.

The town is small, and everyone reads the same stories at once.
"""

import numpy as np

from recommender.core.pipeline import Config, Pipeline
from recommender.core.vocabulary import Kind, Verdict
from recommender.lab.demo.newsroom import Newsroom

T0 = 1_767_600_000


def test_nobody_in_an_honest_town_is_quarantined_or_taken_back_out():
    newsroom, pipeline = Newsroom(seed=5, started_at=float(T0)), Pipeline(Config())
    n_events = n_held = n_quarantined = n_retracted = n_condemned = 0
    for second in range(360):  # the story breaks at two minutes
        sent = newsroom.events(1.0)
        if not sent:
            continue
        context = [event.get("context", {}) for event in sent]
        batch = pipeline.encode(
            received_ms=np.full(len(sent), 1000 * (T0 + second)),
            actors=[event["actor"] for event in sent],
            items=[event["item"] for event in sent],
            kind=[Kind[event.get("kind", "click").upper()] for event in sent],
            sessions=[event.get("session") for event in sent],
            ips=[each.get("ip") for each in context],
            user_agents=[each.get("user_agent") for each in context],
            referrers=[each.get("referrer") for each in context],
        )
        result = pipeline.step(batch)
        n_events += len(sent)
        n_held += int((result.verdicts.verdict == Verdict.HOLD).sum())
        n_quarantined += int((result.verdicts.verdict == Verdict.QUARANTINE).sum())
        n_retracted += result.n_retracted
        n_condemned += result.n_condemned
    assert n_events > 10_000
    assert n_quarantined + n_retracted + n_condemned <= 0.001 * n_events
    assert n_held <= 0.01 * n_events
