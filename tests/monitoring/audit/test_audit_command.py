"""`manage.py audit`: verify, head, list, export."""

import csv
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from monitoring.audit.csv_cells import cell
from monitoring.models import Review
from tests.monitoring.conftest import unguarded


def run(*arguments):
    out = StringIO()
    call_command("audit", *arguments, stdout=out)
    return out.getvalue()


def test_an_intact_chain_is_said_to_be_so(decide):
    assert run("verify").startswith("Intact: 0 decision(s)")
    review = decide()
    assert run("verify") == f"Intact: 1 decision(s), the last 1:{review.hash}\n"


def test_tampering_is_told_by_row_and_ends_with_an_error(decide):
    decide()
    decide()
    with unguarded() as cursor:
        cursor.execute("UPDATE monitoring_review SET note = 'other' WHERE id = 2")
    out = StringIO()
    with pytest.raises(CommandError, match="NOT INTACT: 1 problem"):
        call_command("audit", "verify", stdout=out)
    assert out.getvalue() == "2  changed: its hash does not match its contents\n"


def test_a_head_kept_elsewhere_is_compared(decide):
    decide()
    decide()
    head = run("head").strip()
    run("verify", "--head", head)
    run("verify", "--head", head.split(":")[1])
    with unguarded() as cursor:
        cursor.execute("DELETE FROM monitoring_review WHERE id = 2")
    run("verify")
    for kept in (head, head.split(":")[1]):
        with pytest.raises(CommandError, match="NOT INTACT"):
            run("verify", "--head", kept)
    for wrong in ("abc", "g" * 64, head[:-2]):
        with pytest.raises(CommandError, match="--head"):
            run("verify", "--head", wrong)


def test_decisions_are_listed(olga, decide):
    decide(by=olga, action="thaw", note="calm\nagain", scope="country:DE")
    decide(action="freeze")
    newest, oldest = run("list").splitlines()
    assert "freeze   policy: hit rate fell" in newest
    assert "thaw     olga [country:DE]: calm again" in oldest
    assert len(run("list", "--limit", "1").splitlines()) == 1
    assert "thaw" in run("list", "--action", "thaw")
    tomorrow = Review.objects.first().at + timedelta(days=1)
    assert run("list", "--since", f"{tomorrow:%Y-%m-%d}") == ""
    assert run("list", "--since", tomorrow.isoformat()) == ""
    assert len(run("list", "--since", "2026-01-01").splitlines()) == 2
    for wrong in ("yesterday", "2026-02-31"):
        with pytest.raises(CommandError):
            run("list", "--since", wrong)


def test_the_export_holds_every_decision_oldest_first(decide, tmp_path):
    rows = [decide(note=f'note "{i}",\nsecond line') for i in range(3)]
    path = tmp_path / "audit.csv"
    path.write_text("an older one")
    assert "3 decision(s)" in run("export", str(path))
    with path.open(newline="") as file:
        read = list(csv.DictReader(file))
    assert [row["hash"] for row in read] == [row.hash for row in rows]
    assert read[0]["note"] == 'note "0",\nsecond line'
    assert read[0]["subject"] == '{"finding":7}'
    assert [entry.name for entry in tmp_path.iterdir()] == ["audit.csv"]
    assert run("export", "-").splitlines()[0].startswith("id,at,by,")


@pytest.mark.parametrize(
    "note", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", " =cmd|' /C calc'!A0", "\r\n=1", '=HYPERLINK("http://x")']
)
def test_no_text_becomes_a_formula(decide, note, tmp_path):
    assert cell(note) == f"'{note}"
    decide(note=note)
    run("export", str(tmp_path / "a.csv"))
    with (tmp_path / "a.csv").open(newline="") as file:
        assert next(csv.DictReader(file))["note"] == f"'{note.strip()}"


def test_a_file_that_cannot_be_written_is_said_so(decide, tmp_path):
    with pytest.raises(CommandError, match="cannot be written"):
        run("export", str(tmp_path / "none" / "a.csv"))
