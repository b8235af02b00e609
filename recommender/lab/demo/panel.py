"""Panel of the demo on the console's first page, with a button to attack.

    stage.read_playing ──> PANEL.read: sentences, and the button while no attack is under way
    the button ──> ATTACK.carry_out ──> stage.cue_attack

The setting OVERVIEW_PANELS offers the panel to the console. `monitoring.console.panels` defines what a panel is. This
module does not know the console, and the console does not know the demo.
"""

from dataclasses import dataclass

from recommender.lab.demo import stage


@dataclass(frozen=True, slots=True)
class DemoLine:
    """A sentence: `before`, then an item or a moment (ms since 1970), then `after`."""

    before: str
    item: str = ""
    title: str = ""
    at_ms: int | None = None
    after: str = ""


@dataclass(frozen=True, slots=True)
class AttackButton:
    """Button that lets the demo's botnet attack."""

    name: str = "attack"
    label: str = "Start the attack now"
    permission: str = "monitoring.operate"

    def carry_out(self) -> str:
        """Cue the attack. Raises Conflict if no demo runs or an attack is under way."""
        stage.cue_attack()
        return "The demo's botnet attacks within seconds. Watch the shadow board."


@dataclass(frozen=True, slots=True)
class DemoContent:
    """Sentences about the demo. offered: the buttons that can be pressed now."""

    heading: str
    lines: list[DemoLine]
    offered: list[AttackButton]


ATTACK = AttackButton()


@dataclass(frozen=True, slots=True)
class DemoPanel:
    """Panel of the demo, as the module describes it."""

    name: str = "demo"
    actions: tuple[AttackButton, ...] = (ATTACK,)

    def read(self) -> DemoContent | None:
        """Describe the story and the attack under way, or the time of the next attack.

        It returns None if no demo runs.
        """
        playing = stage.read_playing()
        if playing is None:
            return None
        lines = []
        if story := playing.story:
            after = ". Its readers are many and new, but honest, so it rises in the list."
            lines.append(DemoLine("A story broke: ", item=story.item, title=story.title, after=after))
        if attack := playing.attack:
            after = ". Its accounts are as many and as new. Compare the live board with the shadow board."
            lines.append(DemoLine("A botnet attacks: ", item=attack.item, title=attack.title, after=after))
        else:
            lines.append(DemoLine("The next attack is due at ", at_ms=playing.next_attack_ms, after="."))
        return DemoContent("The demo is running", lines, [] if attack else [ATTACK])


PANEL = DemoPanel()
