"""Journeys of people in the console, in a real browser, and a look at every page.

They find an attack, decide, freeze and revert. The first tests only look. Each later test acts on an item of its own,
so that none depends on another. No test asserts a duration. The tests wait, and their output shows how long it took.
"""

import re
import time

import pytest
from playwright.sync_api import expect

from recommender.lab.client import Client
from tests.browser import world
from tests.test_journey import call

CONSOLE = ["", "findings/", "items/", "actors/", "timeline/", "audit/"]
TABLES = ["recommender/item/", "recommender/apikey/", "recommender/apikey/add/", "monitoring/notification/",
          "auth/user/", "auth/user/add/", "password_change/"]  # fmt: skip
N_LIVE, NEWCOMER = 150, 0.05  # accounts of an attack, and the most that an act of each may weigh
# two runs are enough: colours do not depend on the width, nor the layout on the colours
LOOKS = [(1280, "light"), (390, "dark")]


def pages(running):
    """Return the address of every page, with one example of each kind of thing."""
    number = finding_of(running, "target")
    things = [f"findings/{number}/", "items/target/", "items/item-0/", "actors/reader-1/", "timeline/revert"]
    return ["/", *(f"/admin/console/{each}" for each in CONSOLE + things), *(f"/admin/{each}" for each in TABLES)]


@pytest.fixture(scope="module")
def client(running):
    client = Client(running.url, key=running.keys["ingest"])
    yield client
    client.close()


# -- every page ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("width", "scheme"), LOOKS)
def test_no_page_has_errors_or_grave_barriers_or_runs_out_of_the_window(visit, running, width, scheme):
    visitor = visit(world.ROOT, width=width, color_scheme=scheme)
    found = []
    for path in pages(running):
        visitor.go(path)
        found += [f"{path}: {line}" for line in visitor.grave_barriers() + visitor.overflow()]
    assert not found, "\n".join(found)
    visitor.check()


def test_the_login_page_has_no_grave_barriers(visit):
    for width, scheme in LOOKS:
        visitor = visit(width=width, color_scheme=scheme)
        visitor.go("/admin/login/")
        assert not visitor.grave_barriers()


def test_the_api_s_docs_are_drawn_under_the_policy(visit):
    """Show the API's docs. Their contrasts and nested buttons are Swagger UI's own."""
    page = visit().go("/api/docs/")
    expect(page.get_by_text("/api/v1/trending", exact=True)).to_be_visible()


def test_a_key_is_made_shown_once_and_revoked(visit, running):
    visitor = visit("otto")
    page = visitor.go("/admin/recommender/apikey/add/")
    page.get_by_label("Name").fill("a site")
    page.get_by_label("read").check()
    page.get_by_role("button", name="Save", exact=True).click()
    secret = page.locator("#secret").inner_text()
    assert secret.startswith("gs")
    page.get_by_role("link", name="back to the keys").click()
    assert secret not in page.content()
    row = page.get_by_role("row").filter(has_text="a site")
    row.get_by_role("checkbox").check()
    page.get_by_role("combobox").select_option("revoke")
    page.get_by_role("button", name="Run").click()
    expect(page.get_by_text("1 revoked.")).to_be_visible()


# -- journeys --------------------------------------------------------------------------------------------------------


def test_a_viewer_has_no_buttons_and_forged_forms_are_refused(visit, running):
    number = finding_of(running, "target")
    visitor = visit("vera")
    for path in ("findings/", f"findings/{number}/", "timeline/", "items/target/"):
        page = visitor.go(f"/admin/console/{path}")
        for name in ("Release", "Confirm", "Freeze", "Thaw", "Preview", "Hide", "Undo"):
            expect(page.get_by_role("main").get_by_role("button", name=name)).to_have_count(0)
    token = next(each["value"] for each in visitor.context.cookies() if each["name"] == "csrftoken")
    for path in ("findings/decide", "findings/undo", "timeline/freeze", "timeline/thaw", "timeline/revert"):
        form = {"csrfmiddlewaretoken": token, "note": "because", "finding": str(number), "ruling": "release"}
        for headers in ({"Referer": running.url}, {}):
            answer = visitor.context.request.post(f"/admin/console/{path}", form=form, headers=headers)
            assert answer.status == 403, path
    assert state_of(running, "target") == "open"


def test_a_reviewer_finds_a_running_attack_reads_why_and_confirms_it(visit, running, client, record_property):
    for number in range(12):  # a lunch hour: the morning's readers open other items
        client.post_events([{"actor": f"reader-{n}", "item": f"lunch-{number}"} for n in range(number, 400, 13)])
    visitor = visit("rita")
    page = visitor.go("/admin/console/")
    began = time.monotonic()
    for start in range(0, N_LIVE, 15):  # ten seconds of the attack
        client.post_events([{"actor": f"live-{start + n}", "item": "running-attack"} for n in range(15)])
        page.wait_for_timeout(1000)
    page.get_by_role("link", name="Findings").first.click()
    row = page.get_by_role("listitem").filter(has_text="running-attack")
    visitor.until(row.count)
    record_property("from the first event of an attack to the queue, s", time.monotonic() - began)

    row.get_by_role("link", name=re.compile("accounts (pushed|acted on)")).click()
    expect(page.get_by_role("heading", name="Why it was stopped")).to_be_visible()
    expect(page.get_by_role("heading", name="How they move together")).to_be_visible()
    number = int(re.search(r"findings/(\d+)/", page.url).group(1))

    still_open = open_in(running) - {number}
    board = trending(running)
    assert score_of(running, "running-attack") < 0.5 * N_LIVE * NEWCOMER  # half of its score without a defence
    page.get_by_label("Why").first.fill("one crowd, nowhere else")
    page.get_by_role("button", name="Confirm").click()
    expect(page.get_by_text("1 finding confirmed")).to_be_visible()
    assert running.execute(f"SELECT state FROM monitoring_finding WHERE id = {number}") == [("confirmed",)]
    now_open = open_in(running)  # without the confirmed one, and perhaps with new ones
    assert number not in now_open
    assert still_open <= now_open
    visitor.until(lambda: not undecided(running), reload=False)
    assert trending(running)[:10] == board[:10]
    visitor.go("/admin/console/audit/")
    expect(page.get_by_text("one crowd, nowhere else")).to_be_visible()


def test_a_crowd_held_wrongly_is_released_and_its_item_rises(visit, running, record_property):
    before = score_of(running, "school-trip")
    visitor = visit("rita")
    page = visitor.go(f"/admin/console/findings/{finding_of(running, 'school-trip')}/")
    page.get_by_label("Why").first.fill("a school writes about its trip")
    page.get_by_role("button", name="Release").click()
    began = time.monotonic()
    visitor.until(lambda: score_of(running, "school-trip") > before, reload=False)
    record_property("from a release to the item's rise in the list, s", time.monotonic() - began)
    assert state_of(running, "school-trip") == "released"


def test_a_decision_needs_no_mouse_and_is_undone_by_a_key(visit, running):
    visitor = visit("rita")
    page = visitor.go("/admin/console/findings/?item=by-keys")
    number = finding_of(running, "by-keys")
    page.keyboard.press("j")
    expect(page.locator(":focus")).to_have_attribute("aria-label", re.compile(f"Finding {number},"))
    page.keyboard.press("c")
    visitor.until(lambda: state_of(running, "by-keys") == "confirmed", reload=False)
    # not one of rita's earlier decisions
    expect(page.locator(".gs-undo")).to_contain_text(f"confirm finding {number}")
    page.keyboard.press("u")
    visitor.until(lambda: state_of(running, "by-keys") == "open", reload=False)


def test_without_javascript_pages_are_whole_and_a_decision_is_a_form(visit, running):
    visitor = visit(java_script_enabled=False)
    visitor.sign_in("rita", world.PASSWORD)
    page = visitor.page
    expect(page.get_by_role("heading", name="Overview", level=1).last).to_be_visible()
    page = visitor.go("/admin/console/findings/?item=by-hand")
    row = page.get_by_role("listitem").filter(has_text="by-hand")
    expect(row).to_be_visible()
    row.get_by_role("button", name="Confirm").click()
    expect(page.get_by_text("1 finding confirmed")).to_be_visible()
    assert state_of(running, "by-hand") == "confirmed"


def test_an_operator_freezes_events_wait_and_he_thaws(visit, running, client):
    visitor = visit("otto")
    page = visitor.go("/admin/console/timeline/")
    page.locator("#freeze").get_by_label("Why").fill("a look at the lists")
    page.get_by_role("button", name="Freeze", exact=True).click()
    expect(page.get_by_text("Learning is frozen. New events wait.")).to_be_visible()
    expect(page.get_by_text("Learning: ■ frozen")).to_be_visible()
    client.post_events([{"actor": f"reader-{n}", "item": "while-frozen"} for n in range(20)])
    visitor.until(lambda: page.get_by_text("about 20 wait").count())
    assert "while-frozen" not in trending(running, 200)
    page.locator("#thaw").get_by_label("Why").fill("the lists are fine")
    page.get_by_role("button", name="Thaw", exact=True).click()
    expect(page.get_by_text("Learning goes on, with the waiting events first.")).to_be_visible()
    visitor.until(lambda: n_waiting(running) == 0, reload=False)


def test_an_operator_goes_back_without_the_attackers_after_a_preview(visit, running):
    number = finding_of(running, "target")
    ((checkpoint,),) = running.execute("SELECT min(id) FROM recommender_checkpoint")
    visitor = visit("otto")
    page = visitor.go(f"/admin/console/timeline/revert?checkpoint={checkpoint}&mode=exclude&exclude_finding={number}")
    expect(page.get_by_role("checkbox", name=re.compile(f"Finding {number}"))).to_be_checked()
    page.get_by_role("button", name="Preview", exact=True).click()
    expect(page.get_by_role("heading", name=re.compile("Preview: "))).to_be_visible()
    visitor.until(lambda: page.get_by_role("heading", name="Carry out this revert").count())
    n_reverts = running.execute("SELECT n_reverts FROM recommender_learner")
    expect(page.get_by_role("heading", name="The list of all items")).to_be_visible()

    page.get_by_label("Why").fill("without the crowd of that finding")
    page.get_by_role("button", name=re.compile("Go back to checkpoint")).click()
    visitor.until(lambda: page.get_by_text("The revert is done.").count())
    assert running.execute("SELECT n_reverts FROM recommender_learner") != n_reverts
    left_out = page.get_by_text("Of these, left out").locator("xpath=following-sibling::dd")
    assert int(left_out.inner_text().replace(",", "")) >= world.N_BOTS // 2


# -- questions to the servers ----------------------------------------------------------------------------------------


def trending(running, limit=50):
    return [place["item"] for place in call(running, f"/api/v1/trending?limit={limit}", key="read")[1]["items"]]


def score_of(running, item):
    places = call(running, "/api/v1/trending?limit=200", key="read")[1]["items"]
    return next((place["score"] for place in places if place["item"] == item), 0.0)


def finding_of(running, item):
    ((number,),) = running.execute(f"SELECT max(id) FROM monitoring_finding WHERE item = '{item}'")
    return number


def state_of(running, item):
    return running.execute(f"SELECT state FROM monitoring_finding WHERE id = {finding_of(running, item)}")[0][0]


def open_in(running):
    return {number for (number,) in running.execute("SELECT id FROM monitoring_finding WHERE state = 'open'")}


def undecided(running):
    return running.execute("SELECT count(*) FROM recommender_decision WHERE taken_in IS NULL")[0][0]


def n_waiting(running):
    return running.execute(
        "SELECT (SELECT count(*) FROM recommender_event) - (SELECT sum(n_events) FROM recommender_learner)"
    )[0][0]
