"""Panels of other packages: named by a setting, checked at the start, optional."""

import logging

import pytest
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.urls import reverse

from monitoring import roles
from monitoring.console import panels
from recommender.lab.demo import panel as demo_panel
from recommender.lab.demo.timetable import Happening, Playing
from tests.monitoring.console.test_pages import signed_in

HERE = "tests.monitoring.console.test_panels"
STORY = Happening("story-1", "A <b>dam</b> breaks", 1_800_000_000.0)
ATTACK = Happening("bait-1", "Win a house", 1_800_000_100.0)

no_panel = object()


@pytest.fixture
def look(accounts, view_store):
    """Return a function that shows the overview as a role sees it."""

    def look(role):
        answer = signed_in(accounts[role]).get(reverse("console:overview"))
        assert answer.status_code == 200
        return answer.content.decode()

    return look


@pytest.fixture
def play(monkeypatch):
    """Set what the demo plays: play(story, attack)."""

    def play(story, attack):
        playing = Playing(story=story, attack=attack, next_attack_at=1_800_000_200.0)
        monkeypatch.setattr(demo_panel.stage, "read_playing", lambda: playing)

    return play


def test_the_demos_panel_is_one_and_asks_for_a_permission_that_a_role_has():
    (panel,) = panels.get_panels()
    assert panel is demo_panel.PANEL
    assert [action.permission for action in panel.actions] == [roles.OPERATE]
    assert reverse("console:attack").endswith("/demo/attack")


@pytest.mark.django_db
def test_before_an_attack_the_panel_tells_the_story_when_it_is_due_and_how_to_start_it(look, play):
    play(STORY, None)
    page = look("operator")
    assert (
        '<li>A story broke: <a href="/admin/console/items/story-1/">A &lt;b&gt;dam&lt;/b&gt; breaks</a>. Its readers'
        in page
    )
    assert '<li>The next attack is due at <time datetime="2027-01-15T08:03:20+00:00"' in page
    assert '<form method="post" action="/admin/console/demo/attack">' in page
    assert "Start the attack now" not in look("reviewer")


@pytest.mark.django_db
def test_during_an_attack_the_panel_names_the_bait_and_has_no_button(look, play):
    play(None, ATTACK)
    page = look("operator")
    assert '<li>A botnet attacks: <a href="/admin/console/items/bait-1/">Win a house</a>. Its accounts' in page
    assert "A story broke" not in page
    assert "is due at" not in page
    assert "Start the attack now" not in page


@pytest.mark.django_db
def test_without_a_panel_there_is_none(look, play, settings):
    settings.OVERVIEW_PANELS = []
    play(STORY, None)
    assert "The demo is running" not in look("operator")


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["recommender.lab.gone.PANEL", f"{HERE}.gone", f"{HERE}.no_panel", "PANEL"])
def test_a_path_that_leads_to_no_panel_stops_the_start_and_no_page(path, look, play, settings, caplog):
    settings.OVERVIEW_PANELS = [path, "recommender.lab.demo.panel.PANEL"]
    play(STORY, None)
    with caplog.at_level(logging.ERROR, "monitoring.console.panels"):
        assert "The demo is running" in look("operator")
    assert path in caplog.text
    with pytest.raises(SystemCheckError, match=rf"(?s)OVERVIEW_PANELS names '{path}', which is no panel") as stopped:
        call_command("check")
    assert str(stopped.value).count("console.E001") == 1


@pytest.mark.django_db
def test_a_panel_that_fails_is_missed_by_no_page(look, monkeypatch, caplog):
    def fail():
        raise ZeroDivisionError

    monkeypatch.setattr(demo_panel.stage, "read_playing", fail)
    assert "Live board" in look("operator")
    assert "the panel demo failed" in caplog.text
