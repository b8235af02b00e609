"""What the demo shows on the console's first page, and the button there that starts its attack.

    stage.read_playing ──> PANEL.read: sentences, and the button while no attack is under way
    the button ──> ATTACK.carry_out ──> stage.cue_attack

The setting OVERVIEW_PANELS offers it to the console (`monitoring.console.panels` says what a panel has). Nothing here
knows the console, and the console knows no demo.
"""

from dataclasses import dataclass

from recommender.lab.demo import stage


@dataclass(frozen=True, slots=True)
class DemoLine:
    """A sentence: `before`, an item by its title or a moment (ms since 1970), `after`."""

    before: str
    item: str = ""
    title: str = ""
    at_ms: int | None = None
    after: str = ""


@dataclass(frozen=True, slots=True)
class AttackButton:
    """Have the demo's botnet attack."""

    name: str = "attack"
    label: str = "Start the attack now"
    permission: str = "monitoring.operate"

    def carry_out(self) -> str:
        """Cue the attack. Raises Conflict where no demo runs, or it is under way."""
        stage.cue_attack()
        return "The demo's botnet attacks within seconds: watch the shadow board."


@dataclass(frozen=True, slots=True)
class DemoContent:
    """What is played now; `offered`: the buttons that can be pressed now."""

    heading: str
    lines: list[DemoLine]
    offered: list[AttackButton]


ATTACK = AttackButton()


@dataclass(frozen=True, slots=True)
class DemoPanel:
    """See the module."""

    name: str = "demo"
    actions: tuple[AttackButton, ...] = (ATTACK,)

    def read(self) -> DemoContent | None:
        """The story and the attack that are under way, or when the next one is due; None where no demo runs."""
        playing = stage.read_playing()
        if playing is None:
            return None
        lines = []
        if story := playing.story:
            after = ". Its readers are new and many, and honest: it rises."
            lines.append(DemoLine("A story broke: ", item=story.item, title=story.title, after=after))
        if attack := playing.attack:
            after = ". Its accounts are as new and as many: look for it on the two boards."
            lines.append(DemoLine("A botnet attacks: ", item=attack.item, title=attack.title, after=after))
        else:
            lines.append(DemoLine("The next attack is due at ", at_ms=playing.next_attack_ms, after="."))
        return DemoContent("The demo plays", lines, [] if attack else [ATTACK])


PANEL = DemoPanel()
