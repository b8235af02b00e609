"""Tests for the judged promises and for the documents of the benchmark."""

import pytest
from django.core.management import call_command

from recommender.lab.attack.report import documents, kept_promises, summary
from recommender.lab.attack.report.documents import CLOSE, OPEN
from recommender.lab.attack.trials import whole_suite
from recommender.lab.attack.trials.whole_suite import LogResult

ACCOUNTS = {"raw": 50, "ratio": 9, "capped": 40, "trusted": 800}
PRICES = [[{"rule": rule, "top10": n, "top1": 3 * n} for rule, n in ACCOUNTS.items()]]
ON_TIME = {"due": 50, "late": 0, "early": 0}
LATE = {"due": 50, "late": 1, "early": 0}
HONEST = {
    "caps": {"hr20": 0.700, "held": 0.0, "quarantined": 0.0},
    "trust": {"hr20": 0.699, "held": 0.0, "quarantined": 0.0},
    "full": {
        "hr20": 0.698, "held": 0.002, "quarantined": 0.0001,
        "lateness": {"exact": ON_TIME, "top20": ON_TIME},
        "lateness_by_screen": {"exact": ON_TIME, "top20": ON_TIME},
    },
}  # fmt: skip


def run(defence="full", attack="A2", **changes):
    """Make the record of a run that failed below the margin."""
    readers = {"events": 1000, "held": 0, "quarantined": 0}
    return {
        "defence": defence, "attack": attack, "variant": "plain", "goal": "promote", "unit": "price", "multiple": 2.0,
        "start": 0, "accounts": 80, "price": 40, "success": False, "false_s": 0, "contain_s": 0.0,
        "is_contained": True, "is_below_margin": True, "violations": 0, "lost_before": 0, "accounts_used": 80,
        "verdicts": {"readers": readers, "injected": {"events": 80, "held": 80, "quarantined": 80}},
        "lift": 0, "exposure": 0.0, "detect_s": 1.0, "precision": 1.0, "recall": 1.0, "margin": 800,
    } | changes  # fmt: skip


def above(**changes):
    return run(is_below_margin=False, **changes)


def found(*records, honest=HONEST):
    return [LogResult("town", 1000, [0.0], list(records), honest, PRICES)]


def verdicts(*records, honest=HONEST):
    return {line.what: line.is_met for line in kept_promises.evaluate(found(*records, honest=honest))}


def line(start, *records, honest=HONEST):
    return next(
        each for each in kept_promises.evaluate(found(*records, honest=honest)) if each.what.startswith(start)
    )


def test_all_promises_are_met_where_nothing_went_wrong():
    assert set(verdicts(run(), above(accounts=900, unit="margin")).values()) == {True}


def test_what_was_not_run_is_neither_met_nor_missed():
    assert set(verdicts(honest={}).values()) == {None}
    assert kept_promises.evaluate(found(honest={}))[0].verdict == "not measured"


@pytest.mark.parametrize(("n_won", "is_met"), [(1, True), (2, False)])
def test_one_run_in_a_hundred_may_succeed_and_no_more(n_won, is_met):
    records = [run(success=number < n_won) for number in range(100)]
    assert line("success of A1-A8", *records).is_met is is_met


def test_a_dear_attack_or_one_not_promised_against_does_not_count_among_the_cheap():
    assert line("success of A1-A8", run(), run(accounts=81, success=True), run(attack="A9", success=True)).is_met
    assert not line("success of all attacks", run(), run(attack="A9", success=True)).is_met


def test_one_second_below_the_price_is_a_violation_whatever_the_defence():
    assert not line("seconds in which a place was taken", run(), run("caps", violations=1)).is_met
    assert line("seconds in which a place was taken", run(), run("none", violations=None)).is_met


def test_containment_is_judged_by_quantiles_of_runs_above_the_margin():
    quick = [above(contain_s=9.0, false_s=5), *[above()] * 19]
    assert line("time until an attack", *quick).is_met
    assert not line("the same, only runs", *quick).is_met  # the only such run took nine seconds
    assert not line("time until an attack", *quick, *[above(contain_s=11.0)] * 2).is_met
    assert not line("time until an attack", *quick, above(is_contained=False)).is_met


@pytest.mark.parametrize(
    ("start", "figures"),
    [
        ("honest events lost for good without", {"quarantined": 0.0011}),
        ("honest events held", {"held": 0.0101}),
        ("hit rate (HR@20) compared with the list without screen", {"hr20": 0.690}),
        ("hit rate (HR@20) compared with the list without trust", {"hr20": 0.690}),
        (
            "genuine spikes more than 60 s late because of trust and screen",
            {"lateness": {"exact": LATE, "top20": ON_TIME}},
        ),
    ],
)
def test_an_honest_price_that_is_too_high_is_missed_and_said(start, figures):
    missed = HONEST | {"full": HONEST["full"] | figures}
    assert line(start).is_met
    assert not line(start, honest=missed).is_met
    assert line(start, honest=missed).verdict == "**missed**"


def test_honest_events_lost_in_an_attack_count_with_those_from_before_it():
    assert line("honest events lost for good during", run(lost_before=1)).is_met
    assert not line("honest events lost for good during", run(lost_before=2)).is_met


def test_the_readme_has_five_rows_and_one_line_of_honest_cost():
    records = [run(name, attack, success=name == "none") for attack in ("A1", "A3", "A4", "A5", "A9", "A2")
               for name in ("none", "caps", "full")]  # fmt: skip
    records += [run(attack="A9", success=True), run(attack="A1", multiple=4.0, success=True)]
    table, cost = documents.readme(found(*records)).split("\n\n")
    head, _, *rows = table.splitlines()
    assert head == "| attack | without defence | with Groundswell |"
    assert [row.split(":")[0] for row in rows] == [
        "| Flood", "| Botnet", "| Sybil", "| Co-visitation", "| Aged accounts",
    ]  # fmt: skip
    assert rows[0].endswith("| 1 of 1 runs | 0 of 1 runs |")  # the run at four times the price does not count
    assert rows[4].endswith("| 1 of 1 runs | 1 of 2 runs |")
    assert len(cost.splitlines()) == 1
    assert "town: 0.20 % of events held, 0.010 % lost, 99.7 % of the hit rate kept." in cost


def test_the_readme_shows_that_an_attack_or_the_honest_cost_was_not_measured():
    text = documents.readme(found(run(), honest={}))
    assert "that act like people | - | - |" in text
    assert "without an attack:** not measured in this run." in text


def test_the_tables_of_all_logs_count_runs_at_twice_the_price_and_the_others():
    records = [
        run("none", success=True), run("none", multiple=4.0, success=True), run("caps"), run(),
        run(unit="margin", multiple=2.0, success=True, is_below_margin=False), run(variant="white-box"),
    ]  # fmt: skip
    text = documents.together(found(*records), how="`a command`.")
    assert "| A2 one host, a new id for every click | 1 of 1 / 1 of 1 | 0 of 1 / - | 0 of 1 / 1 of 2 |" in text
    assert "| Mastodon's trending tags: compared with yesterday | 9 | 27 |" in text
    assert "1, with 50 clicks" in text
    assert text.startswith("Made by `a command`.")


def test_the_tables_of_all_logs_say_how_late_honest_crowds_are_and_list_open_attacks():
    crowd = run(attack="B1", goal="benign", delay_s={"same": None}, delay_by_screen_s={"same": 60.0})
    stolen = run(attack="A9", success=True, is_below_margin=False, accounts_used=41)
    framed = run(attack="A10", goal="demote", false_s=12)
    text = summary.rest(found(crowd, stolen, framed))
    assert "| B1 flash crowd | 1 of 1 | 0 of 1 | 100.0 % |" in text
    assert "(A9): 1 of 1 runs succeed, the cheapest with 41 accounts" in text
    assert "in 0 of 1 runs the victim is off the list for 60 s or more. The longest absence is 12 s." in text


def test_the_full_tables_have_a_section_a_log_and_say_by_what_they_were_made():
    text = documents.benchmark(found(run(), run("none", success=True)), how="`a command`.")
    assert text.startswith("Made by `a command`.")
    assert text.index("## All logs together") < text.index("### Promises") < text.index("## town")
    assert "## town\n\n1,000 events, 2 runs." in text
    assert "| no defence | 100 % [21, 100] |" in text


def test_the_command_writes_between_the_markers_of_both_documents(tmp_path, settings, monkeypatch, capsys):
    results = found(run("none", "A3", success=True), run("full", "A3"))
    monkeypatch.setattr(whole_suite, "measure", lambda *args, **options: results)
    settings.BASE_DIR = tmp_path
    readme, page = tmp_path / "README.md", tmp_path / "docs" / "benchmark.md"
    page.parent.mkdir()
    for document in (readme, page):
        document.write_text(f"# By hand\n{OPEN}\nold\n{CLOSE}\nby hand, too\n")
    call_command("attack", "run", "--quick", "--readme", "--out", str(tmp_path / "out"))
    for document in (readme, page):
        before, rest = document.read_text().split(OPEN)
        written, after = rest.split(CLOSE)
        assert (before, after) == ("# By hand\n", "\nby hand, too\n")
        kept = (tmp_path / "out" / document.name.lower()).read_text()
        assert written.strip() == kept.strip()
    assert "several clicks per account | 1 of 1 runs | 0 of 1 runs |" in readme.read_text()
    assert "## All logs together" not in readme.read_text()
    assert "| A3 small botnet | 1 of 1 / - | 0 of 1 / - |" in page.read_text()
    assert "## town" in page.read_text()
    assert "## All logs together" in capsys.readouterr().out


def test_text_goes_between_the_markers_and_an_absent_marker_is_named(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{OPEN}\nold\n{CLOSE}\nafter\n")
    documents.write_between(readme, "new\n")
    assert readme.read_text() == f"before\n{OPEN}\nnew\n{CLOSE}\nafter\n"
    readme.write_text("none")
    with pytest.raises(ValueError, match="attack table"):
        documents.write_between(readme, "new")
