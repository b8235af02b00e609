"""Test that PRIVACY changes no learned state, only what people can read."""

from dataclasses import replace

import numpy as np
import pytest

from recommender.core.pipeline import Pipeline
from recommender.intake import privacy
from recommender.learning import pipeline_settings
from recommender.log import event_log
from recommender.log.event_log import Position
from recommender.models import Event
from tests.help import emptied_tables
from tests.help.streams import T0

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("view_store", "empty_log", "fresh_process"),
]

AGENTS = (
    "Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0",
    "Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:142.0) Gecko/20100101 Firefox/142.0",
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    None,
)
N = 240


def sent(number):
    context = {
        "ip": f"192.0.{number % 7}.{number % 250}" if number % 5 else f"2001:db8:{number % 3}::{number}",
        "user_agent": AGENTS[number % 4],
        "referrer": f"https://site-{number % 6}.example/page/{number % 30}?visit={number}" if number % 3 else "",
        "country": "DE",
    }
    return {
        "actor": f"actor-{number % 60}",
        "item": f"item-{number % 11}",
        "session": f"visit-{number % 70}",
        "context": {name: value for name, value in context.items() if value is not None},
    }


def stored_with(level, api, settings):
    """Send the same events under a level, and return them as the learner reads them.

    Their times are replaced, so that they are the same each time.
    """
    settings.PRIVACY = level
    emptied_tables.empty_log()
    answer = api.post("/api/v1/events", {"events": [sent(number) for number in range(N)]}, key="ingest")
    assert answer.json["accepted"] == N
    batch = event_log.read(after=Position(), since_ms=0, limit=N).batch
    times = T0 + 1000 * np.arange(N, dtype=np.int64)
    return replace(batch, received_ms=times, occurred_ms=times)


def test_the_learned_state_is_the_same_with_each_level(api, settings):
    digests, texts = set(), {}
    for level in privacy.LEVELS:
        batch = stored_with(level, api, settings)
        pipeline = Pipeline(pipeline_settings.configured())
        for start in range(0, N, 40):
            pipeline.step(batch[start : start + 40])
        digests.add(pipeline.digest())
        assert len(set(batch.prefix.tolist())) == 10  # 7 of IPv4 and 3 of IPv6
        assert len(set(batch.agent.tolist())) == 4
        assert batch.is_automated.sum() == N // 4
        texts[level] = list(Event.objects.order_by("seq").values_list("ip", "user_agent", "referrer"))
    assert len(digests) == 1
    assert texts[privacy.RAW][1] == ("192.0.1.1", AGENTS[1], "https://site-1.example/page/1?visit=1")
    assert texts[privacy.TRUNCATED][1] == ("192.0.1.0/24", "Firefox", "site-1.example")
    assert texts[privacy.TRUNCATED][5] == ("2001:db8:2::/48", "Firefox", "site-5.example")
    assert set(texts[privacy.NONE]) == {(None, None, None)}


def test_another_origin_is_learned_as_another(api, settings):
    """Were the keys made of the shortened texts, these two browsers would be one."""
    batch = stored_with(privacy.TRUNCATED, api, settings)
    agents = dict(zip([AGENTS[number % 4] for number in range(N)], batch.agent.tolist(), strict=True))
    assert agents[AGENTS[0]] != agents[AGENTS[1]]
    assert agents[None] == 0
