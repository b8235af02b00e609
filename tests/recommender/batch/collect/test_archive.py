"""A partition that leaves retention is in a file, complete, before it is dropped."""

import json
from contextlib import nullcontext
from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest
from django.core.management import call_command

from recommender import housekeeping, ids
from recommender.batch.collect import archive
from recommender.batch.collect.event_sources import FileRows, LogRows, identified
from recommender.batch.collect.open_logs import journal_of
from recommender.control import erasures
from recommender.core.events import Encoder
from recommender.core.parquet_log import KEYS, LogFile
from recommender.intake import privacy
from recommender.intake.event_rows import parse_events
from recommender.log import event_log
from recommender.log.partitions import ensure_partitions, partitions
from tests.help.log_rows import events

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("view_store", "empty_log", "fresh_process"),
]
OLD = datetime.now(UTC).date() - timedelta(days=40)
N = 50


@pytest.fixture
def folder(settings, tmp_path):
    """Set ARCHIVE_DIR, and fill a partition past retention with N events."""
    settings.ARCHIVE_DIR = str(tmp_path / "archive")
    ensure_partitions(today=OLD)
    append(OLD)
    return tmp_path / "archive"


def append(day: date, n=N):
    start = datetime(day.year, day.month, day.day, 12, tzinfo=UTC).timestamp()
    sent = events(
        ["ana" if row % 5 == 0 else f"reader-{row}" for row in range(n)],
        [f"item-{row % 7}" for row in range(n)],
        ip=["192.0.2.1"] * n,
        country=["DE"] * (n - 1) + [None],
    )
    event_log.append_at(sent, [start + row for row in range(n)])


def n_in_log(day=OLD):
    return LogRows.of_day(day).fingerprint()[0]


def path_of(folder, day=OLD):
    return folder / f"events-{day:%Y%m%d}.parquet"


def test_a_partition_past_retention_is_archived_and_then_dropped(folder):
    before = pl.concat(list(LogRows.of_day(OLD).frames(7)))
    housekeeping.keep_house()
    assert OLD not in partitions()
    kept = pl.read_parquet(path_of(folder))
    assert kept.equals(before)
    assert [each.name for each in folder.glob("*") if each.suffix != ".parquet"] == []
    assert datetime.now(UTC).date() in partitions()


def test_without_a_folder_it_is_dropped_as_before(folder, settings):
    settings.ARCHIVE_DIR = ""
    housekeeping.keep_house()
    assert OLD not in partitions()
    assert not path_of(folder).exists()


def test_an_archive_can_be_replayed(folder):
    archive.leave(OLD + timedelta(days=1))
    steps = list(LogFile(path_of(folder)).steps(Encoder(b""), bucket_ms=1000))
    assert sum(len(step.batch) for step in steps) == N


def test_killed_between_archive_and_drop_nothing_is_lost(folder, monkeypatch):
    with monkeypatch.context() as killed:
        killed.setattr(archive, "drop", lambda *args: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            archive.keep(OLD, is_drop=True)
    assert n_in_log() == N
    assert archive.fingerprint(path_of(folder))[0] == N
    (done, *_) = [each for each in archive.leave(OLD + timedelta(days=1)) if each.day == OLD]
    assert done.is_dropped
    assert len(pl.read_parquet(path_of(folder))) == N


def test_killed_while_writing_the_partition_stays_and_the_draft_is_no_archive(folder, monkeypatch):
    with monkeypatch.context() as killed:
        killed.setattr(archive.os, "fsync", lambda *args: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            archive.keep(OLD, is_drop=True)
    assert n_in_log() == N
    assert path_of(folder) not in archive.files()
    archive.leave(OLD + timedelta(days=1))
    assert len(pl.read_parquet(path_of(folder))) == N


def test_a_file_that_does_not_give_back_what_was_written_is_no_archive(folder, monkeypatch):
    sink = pl.LazyFrame.sink_parquet

    def lose_a_row(frame, path, **more):
        sink(frame.head(N - 1), path, **more)

    monkeypatch.setattr(pl.LazyFrame, "sink_parquet", lose_a_row)
    with pytest.raises(archive.ArchiveDiffers):
        archive.leave(OLD + timedelta(days=1))
    housekeeping.keep_house()  # housekeeping goes on
    assert n_in_log() == N


def test_rows_that_came_after_the_archive_was_written_keep_the_partition(folder, monkeypatch):
    write = archive.write

    def write_early(source, path):
        write(source, path)
        append(OLD, 3)

    with monkeypatch.context() as slow:
        slow.setattr(archive, "write", write_early)
        archive.keep(OLD, is_drop=True)
    assert n_in_log() == N + 3
    assert archive.keep(OLD, is_drop=True).is_dropped
    assert archive.fingerprint(path_of(folder))[0] == N + 3


def test_a_disk_that_refuses_loses_nothing(folder, settings):
    folder.write_text("a file where the folder should be")
    housekeeping.keep_house()
    assert n_in_log() == N
    folder.unlink()


def test_whoever_is_erased_is_in_no_archive(folder):
    archive.leave(OLD + timedelta(days=1))
    asked, _ = erasures.ask_for(actor_id="ana")
    assert erasures.run_next()
    asked.refresh_from_db()
    assert asked.outcome["archived"] == N // 5
    kept = pl.read_parquet(path_of(folder))
    assert len(kept) == N - N // 5
    assert "ana" not in kept["actor"].to_list()


def test_nothing_is_archived_while_somebody_is_erased(folder, monkeypatch):
    monkeypatch.setattr(archive.locks, "hold", lambda *args, **more: nullcontext(False))
    assert archive.leave(OLD + timedelta(days=1)) == []
    assert n_in_log() == N


def test_a_row_and_its_archived_copy_are_one_event(folder):
    archive.leave(OLD + timedelta(days=1), is_drop=False)
    of_log = pl.concat([identified(frame) for frame in LogRows.of_day(OLD).frames(1000)])
    of_file = pl.concat([identified(frame) for frame in FileRows(path_of(folder)).frames(1000)])
    assert of_log["id"].to_list() == of_file["id"].to_list()
    assert of_log["id"].n_unique() == N


def test_the_command_says_what_it_did(folder, capsys):
    call_command("archive", "--keep")
    assert "stays in the database" in capsys.readouterr().out
    call_command("archive")
    assert f"{N:,} events" in capsys.readouterr().out
    assert OLD not in partitions()


# -- what PRIVACY keeps --------------------------------------------------------------------------------------------

AGENTS = ["Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0", "Googlebot/2.1", None]


def send(n=60):
    rows = [
        {
            "actor": f"reader-{row % 20}",
            "item": f"item-{row % 7}",
            "event_id": f"e{row % 30}",
            "context": {
                "ip": f"192.0.{row % 3}.{row}",
                "user_agent": AGENTS[row % 3],
                "referrer": f"https://news.example/{row % 4}",
            },
        }
        for row in range(n)
    ]
    now_s = datetime.now(UTC).timestamp()
    parsed = parse_events(json.dumps({"events": rows}).encode(), now_s=now_s, oldest_s=0)
    assert event_log.store(parsed.events, parsed.keys).n_written == n


@pytest.mark.parametrize("level", privacy.LEVELS)
def test_what_is_learned_from_an_archive_is_what_the_learner_learned(tmp_path, settings, level):
    settings.PRIVACY = level
    send()
    path, today = tmp_path / "events-0.parquet", datetime.now(UTC).date()
    archive.write(LogRows.of_day(today), path)
    (read,) = LogFile(path).steps(ids.encoder(), bucket_ms=10**12)
    learned = event_log.read(after=event_log.Position(), since_ms=0, limit=100).batch
    for name in ("actor", "item", "kind", "prefix", "agent", "referrer", "is_automated"):
        assert getattr(read.batch, name).tolist() == getattr(learned, name).tolist(), name
    assert len(set(read.batch.prefix.tolist())) == 3
    assert read.batch.is_automated.sum() == 20
    assert ("192.0.2.2" in str(pl.read_parquet(path)["ip"].to_list())) == (level == privacy.RAW)


def test_actors_may_share_event_ids(tmp_path):
    send()
    today = datetime.now(UTC).date()
    with journal_of([LogRows.of_day(today), LogRows.of_day(today)], folder=tmp_path) as journal:
        assert (journal.n_rows, journal.n_read) == (60, 120)


def test_an_archive_of_an_earlier_version_is_read_and_erased_from(folder):
    housekeeping.keep_house()
    path = path_of(folder)
    fewer = pl.read_parquet(path).drop(*KEYS, "campaign", "list_validity")
    fewer.write_parquet(path)
    assert len(pl.concat(list(FileRows(path).frames(1000)))) == N
    assert archive.erase("ana") == 10
    assert pl.read_parquet(path).columns == fewer.columns
