"""The form by which a way back is asked for: what was typed, what it means, and what is offered to tick.

?checkpoint=&exclude_finding=&exclude_actor=&...   another page's link fills it in
POST                                               the same fields, read again; what cannot be read is told beside it
"""

from dataclasses import dataclass, field
from typing import Any

from django.http import QueryDict

from monitoring.console.data import revert_data, timeline_data
from monitoring.console.data.timeline_data import TimelinePoint
from monitoring.console.timeline import read_moment
from monitoring.models import Finding
from monitoring.operations.request_revert import MAX_EXCLUDED, MAX_NAMED, Exclude
from recommender.errors import Invalid
from recommender.ids import MAX_ID
from recommender.models import Revert

WINDOWS = 3  # rows of item, from, to


@dataclass(slots=True)
class Typed:
    """As typed, to be shown again as it is."""

    checkpoint: str = ""
    mode: str = "replay"
    findings: list[int] = field(default_factory=list)
    actors: str = ""
    networks: str = ""
    windows: list[dict[str, str]] = field(default_factory=list)

    @classmethod
    def of_link(cls, query: QueryDict) -> "Typed":
        """What a link fills in; where it names something to leave out, the mode follows."""
        typed = cls(
            checkpoint=query.get("checkpoint", "")[:20],
            findings=_numbers(query.getlist("exclude_finding")),
            actors="\n".join(query.getlist("exclude_actor")[:MAX_NAMED]),
            networks="\n".join(query.getlist("exclude_network")[:MAX_NAMED]),
            windows=[
                {"item": item[:MAX_ID], "from": query.get("from", "")[:40], "to": query.get("to", "")[:40]}
                for item in query.getlist("exclude_item")[:WINDOWS]
            ],
        )
        leaves_out = typed.findings or typed.actors or typed.networks or typed.windows
        asked_for = query.get("mode", "")
        if asked_for in Revert.Mode.values:
            typed.mode = asked_for
        elif leaves_out:
            typed.mode = "exclude"
        return typed

    @classmethod
    def of_form(cls, query: QueryDict) -> "Typed":
        rows = zip(query.getlist("item"), query.getlist("item_from"), query.getlist("item_to"), strict=False)
        return cls(
            checkpoint=query.get("checkpoint", "")[:20],
            mode=query.get("mode", "")[:20],
            findings=_numbers(query.getlist("finding")),
            actors=query.get("actors", ""),
            networks=query.get("networks", ""),
            windows=[{"item": item, "from": start, "to": end} for item, start, end in list(rows)[:WINDOWS]],
        )

    @property
    def checkpoint_id(self) -> int | None:
        text = self.checkpoint.strip()
        return int(text) if text.isascii() and text.isdecimal() and len(text) <= 18 else None

    @property
    def shown_windows(self) -> list[dict[str, str]]:
        empty = [{"item": "", "from": "", "to": ""} for _ in range(WINDOWS)]
        return (self.windows + empty)[:WINDOWS]

    def exclude(self) -> Exclude | None:
        """What is to be left out, None in a mode that leaves nothing out. Raises Invalid."""
        if self.mode != Revert.Mode.EXCLUDE:
            return None
        wrong: dict[str, str] = {}
        actors = [line.strip("\r") for line in self.actors.split("\n") if line.strip()]
        if len(actors) > MAX_EXCLUDED or any(len(actor) > MAX_ID for actor in actors):
            wrong["actors"] = f"At most {MAX_EXCLUDED:,} actors, each of at most {MAX_ID} characters, one a line."
        networks = [line.strip() for line in self.networks.split("\n") if line.strip()]
        windows = []
        for row in self.windows:
            if not any(row.values()):
                continue
            ends = QueryDict(mutable=True)
            ends.update({"from": row["from"], "to": row["to"]})
            from_ms, to_ms = read_moment(ends, "from"), read_moment(ends, "to")
            if not row["item"] or from_ms is None or to_ms is None:
                wrong["items"] = "An item's window needs the item, when it begins, and when it ends."
            else:
                windows.append((row["item"], from_ms, to_ms))
        exclude = Exclude(actors, networks, windows, self.findings)
        if not exclude and not wrong:
            wrong["exclude"] = "Tick or type what is to be left out, or choose to learn everything again."
        if wrong:
            raise Invalid("Not asked for yet.", fields=wrong)
        return exclude


@dataclass(frozen=True, slots=True)
class Form:
    """What the page shows around what was typed."""

    typed: Typed
    choices: list[TimelinePoint]
    point: TimelinePoint | None
    findings: list[Finding]
    has_more_findings: bool
    modes: list[dict[str, Any]]
    problem: str


def get_form(typed: Typed, *, problem: str = "") -> Form:
    """Where no point was chosen, the one before the first of the findings to be left out is."""
    if typed.checkpoint_id is None and typed.findings:
        typed.checkpoint = str(_point_before_findings(typed.findings) or "")
    choices = timeline_data.list_choices(chosen=typed.checkpoint_id)
    point = next((each for each in choices if each.id == typed.checkpoint_id), None)
    findings, has_more = revert_data.list_findings_since(
        since_ms=point.stream_ms if point else 0, also=typed.findings[:MAX_NAMED]
    )
    says = {
        "drop": "The lists are those of then, from now on. It stays in the log, and can be learned again later.",
        "replay": "From there, in the order it came: what a broken screen or state did is undone.",
        "exclude": "All of it is learned again but for what is ticked or typed below, as if that had never come.",
    }
    modes = [{"value": value, "label": label, "says": says[value]} for value, label in Revert.Mode.choices]
    return Form(typed, choices, point, findings, has_more, modes, problem)


def _point_before_findings(numbers: list[int]) -> int | None:
    first = Finding.objects.filter(pk__in=numbers[:MAX_NAMED]).order_by("first_ms").values_list("first_ms", flat=True)
    first_ms = first.first()
    return None if first_ms is None else revert_data.point_before(at_ms=first_ms)


def _numbers(texts: list[str]) -> list[int]:
    found = [int(text) for text in texts[: MAX_NAMED + 1] if text.isascii() and text.isdecimal() and len(text) <= 18]
    return list(dict.fromkeys(found))
