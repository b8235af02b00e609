"""The form that requests a revert: the typed values and the findings on offer.

?checkpoint=&exclude_finding=&exclude_actor=&...   a link from another page fills the form in
POST                                               the same fields, read again; errors are shown next to the form
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
    """The values as typed, so that the form can show them again."""

    checkpoint: str = ""
    mode: str = "replay"
    findings: list[int] = field(default_factory=list)
    actors: str = ""
    networks: str = ""
    windows: list[dict[str, str]] = field(default_factory=list)

    @classmethod
    def of_link(cls, query: QueryDict) -> "Typed":
        """Read the values from a link.

        If the link names something to leave out, the mode is "exclude".
        """
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
        """Return the events to leave out, or None in a mode that keeps all.

        Raises Invalid.
        """
        if self.mode != Revert.Mode.EXCLUDE:
            return None
        wrong: dict[str, str] = {}
        actors = [line.strip("\r") for line in self.actors.split("\n") if line.strip()]
        if len(actors) > MAX_EXCLUDED or any(len(actor) > MAX_ID for actor in actors):
            wrong["actors"] = (
                f"Type at most {MAX_EXCLUDED:,} accounts, one per line, each of at most {MAX_ID} characters."
            )
        networks = [line.strip() for line in self.networks.split("\n") if line.strip()]
        windows = []
        for row in self.windows:
            if not any(row.values()):
                continue
            ends = QueryDict(mutable=True)
            ends.update({"from": row["from"], "to": row["to"]})
            from_ms, to_ms = read_moment(ends, "from"), read_moment(ends, "to")
            if not row["item"] or from_ms is None or to_ms is None:
                wrong["items"] = "For a time span of an item, type the item, the start and the end."
            else:
                windows.append((row["item"], from_ms, to_ms))
        exclude = Exclude(actors, networks, windows, self.findings)
        if not exclude and not wrong:
            wrong["exclude"] = "Tick or type the events to leave out, or choose to learn all events again."
        if wrong:
            raise Invalid("No preview was started.", fields=wrong)
        return exclude


@dataclass(frozen=True, slots=True)
class Form:
    """The form as the page shows it: the typed values and the choices."""

    typed: Typed
    choices: list[TimelinePoint]
    point: TimelinePoint | None
    findings: list[Finding]
    has_more_findings: bool
    modes: list[dict[str, Any]]
    problem: str


def get_form(typed: Typed, *, problem: str = "") -> Form:
    """Return the form.

    Without a chosen checkpoint it is the one before the first finding to leave out.
    """
    if typed.checkpoint_id is None and typed.findings:
        typed.checkpoint = str(_point_before_findings(typed.findings) or "")
    choices = timeline_data.list_choices(chosen=typed.checkpoint_id)
    point = next((each for each in choices if each.id == typed.checkpoint_id), None)
    findings, has_more = revert_data.list_findings_since(
        since_ms=point.stream_ms if point else 0, also=typed.findings[:MAX_NAMED]
    )
    says = {
        "drop": "The lists go back to the checkpoint. Later events stay in the log, and you can learn them again.",
        "replay": "Groundswell learns later events again in order. This repairs damage by a broken screen or state.",
        "exclude": "Groundswell learns later events again, except those that you tick or type below.",
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
