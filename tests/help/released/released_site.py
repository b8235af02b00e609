"""The installation whose rows are the fixture of a release.

    events of the stream ──ingest──> log ──learn, a step at a time──> states, verdicts
    people ──keep, decide, freeze, revert, erase──> the rows of what they did

Its database and its clock are those of `make_released_state`.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from math import inf
from typing import Any

import orjson

from recommender.core.config import Config
from tests.fixtures.state_b6685f3 import stream

Row = dict[str, Any]

# The log's columns ask for the time of the stream instead of now.
_CLOCK = """
ALTER TABLE recommender_event ALTER received_at SET DEFAULT to_timestamp(current_setting('fixture.now_s')::float8);
ALTER TABLE recommender_event_key ALTER received_on
    SET DEFAULT (to_timestamp(current_setting('fixture.now_s')::float8) AT TIME ZONE 'UTC')::date;
"""


class Site:
    """An installation whose services write the rows."""

    def __init__(self, small: Config) -> None:
        from django.conf import settings
        from django.db import connection

        from recommender import ids
        from recommender.learning import learner, pipeline_settings, quality_log
        from recommender.learning.checkpoints.retention_tiers import Tier
        from recommender.log.partitions import ensure_partitions

        config = replace(small, secret=ids.secret())
        pipeline_settings.configured = lambda: config
        learner.PUBLISH_SHARE, quality_log.WATCH_SHARE = inf, inf
        settings.AFTER_STEP, settings.PUBLISH_EVERY_S, settings.WATCH_EVERY_S = "", 0.0, 1.0
        settings.CHECKPOINT_EVERY_S, settings.CHECKPOINT_SCHEDULE = 1e9, (Tier(1, 3600),)
        self.days = [datetime.fromtimestamp(day_ms / 1000, UTC).date() for day_ms in stream.DAYS_MS]
        for day in self.days:
            ensure_partitions(today=day)
        with connection.cursor() as cursor:
            cursor.execute(_CLOCK)
        self.kept: dict[str, int] = {}

    def describe(self) -> None:
        """Describe items, hide one, and make a key."""
        from recommender.api import api_keys
        from recommender.intake import hidden_items, items
        from recommender.intake.item_rows import ItemRow

        items.put_items(
            rows=[
                ItemRow(id=f"item-{number}", title=f"Item {number}", categories=["river" if number % 2 else "town"])
                for number in range(40)
            ]
        )
        hidden_items.hide(item_id="item-39", by="shell:olga", note="hidden in the fixture")
        api_keys.make_key(name="the invented site", scopes=["ingest"], secret="gsw_a-made-up-key-of-the-fixture")

    def ingest(self, rows: list[Row]) -> None:
        """Store the events that a site sends at one moment. One of several is sent twice."""
        from django.db import connection

        from recommender.intake import event_rows
        from recommender.intake.ingest import ingest

        now_s = rows[0]["received_ms"] / 1000
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('fixture.now_s', %s, false)", [str(now_s)])
        sent = []
        for row in rows:
            context = {name: row[name] for name in ("ip", "user_agent", "referrer", "country") if row[name]}
            names = ("actor", "item", "kind", "session", "value", "event_id")
            event = {name: row[name] for name in names if row[name] is not None}
            sent.append(event | {"occurred_at": row["occurred_ms"] / 1000, "context": context})
        if len(sent) > 3 and "event_id" in sent[3]:
            sent.append(sent[3])
        body = orjson.dumps({"events": sent})
        parsed = event_rows.parse_events(body, now_s=now_s, oldest_s=now_s - 30 * 86_400)
        assert not parsed.rejected, parsed.rejected
        ingest(parsed=parsed)

    def learn(self) -> None:
        """Learn the waiting events as one step."""
        from recommender.learning import learner

        learner.learn(0, for_s=600)

    def keep(self, name: str) -> Callable[[], None]:
        """Return an act that writes a checkpoint and pins it."""

        def act() -> None:
            from recommender.control import learning_switch
            from recommender.learning import active_checkpoint, learner
            from recommender.models import Checkpoint, Learner

            warm = learner.in_memory(0)
            assert warm is not None
            if warm.step > warm.checkpoint_step:
                active_checkpoint.write(warm, Learner.objects.get())
            number = self.kept[name] = Learner.objects.values_list("checkpoint", flat=True).get()
            if not Checkpoint.objects.get(pk=number).is_pinned:
                learning_switch.pin(checkpoint_id=number, is_pinned=True)

        return act

    def erase(self) -> None:
        """Erase one actor who asked for it."""
        from recommender.control import erasures

        erasures.ask_for(actor_id=stream.FORGOTTEN)
        assert erasures.run_next()

    def freeze_scope(self) -> None:
        """Freeze the list of a category."""
        from recommender.control import learning_switch

        learning_switch.freeze_scope("category:town")

    def decide(self, ruling: str, item: str, *, is_bot: bool, most: int | None = None) -> Callable[[], None]:
        """Return an act that rules on clicks on an item, by the botnet or the others."""

        def act() -> None:
            from django.db import connection

            from recommender.control import learning_switch
            from recommender.core.vocabulary import Ruling
            from recommender.log.event_log import Position

            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT xid::text::bigint, seq FROM recommender_event"
                    " WHERE item = %s AND kind = 2 AND (actor = ANY(%s)) = %s ORDER BY xid, seq LIMIT %s",
                    [item, stream.BOTS, is_bot, most],
                )
                at = [Position(*each) for each in cursor.fetchall()]
            learning_switch.decide(ruling=Ruling[ruling], positions=at, since_ms=stream.DAYS_MS[0])

        return act

    def revert(self, name: str, mode: str) -> Callable[[], None]:
        """Return an act that reverts, after a preview if something is excluded."""

        def act() -> None:
            from recommender.control import learning_switch, reverts

            for is_preview in (True, False) if mode == "exclude" else (False,):
                excluded = None
                if mode == "exclude":
                    window = (stream.PUSHED[1], stream.PUSH_MS[1], stream.PUSH_MS[1] + 2 * stream.MINUTE)
                    networks = list(stream.BOT_NETWORKS[:1])
                    excluded = learning_switch.exclusion(
                        actors=stream.BOTS[1:40:2], networks=networks, windows=[window]
                    )
                asked = learning_switch.ask_for_revert(
                    checkpoint_id=self.kept[name], mode=mode, exclusion=excluded, is_preview=is_preview
                )
                assert reverts.run_next()
                asked.refresh_from_db()
                assert asked.state == "done", asked.error

        return act
