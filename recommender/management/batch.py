"""Shared code of the batch commands: read files, show progress, write results."""

from argparse import ArgumentTypeError
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
from django.core.management.base import CommandError, CommandParser
from django.utils.dateparse import parse_date, parse_datetime
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from recommender.batch import config_variants
from recommender.core.parquet_log import LogFileError
from recommender.core.pipeline import Config
from recommender.learning.pipeline_settings import configured

WIDTH = 150


def add_file_arguments(parser: CommandParser) -> None:
    """Add the arguments for a log and its output folder."""
    parser.add_argument(
        "file", type=Path, nargs="+", help="Parquet or CSV files, or folders of them. Their rows may be in any order."
    )
    parser.add_argument("--limit", type=int, help="Largest number of rows to read of each file.")
    parser.add_argument("--out", type=Path, help="Folder for the table as JSON and for the pictures.")
    parser.add_argument("--no-screen", action="store_true", help="Admit every event.")


def config_of(options: dict[str, Any]) -> Config:
    """Return the Config for a batch command, made from the settings.

    Hashes use no secret, so that every machine finds the same. Every actor's own list is asked for.
    """
    config = configured()
    is_on = config.screen.is_on and not options["no_screen"]
    return replace(config, secret="", personal_share=1.0, screen=replace(config.screen, is_on=is_on))


def setting(text: str) -> tuple[str, list[str]]:
    """Parse an argument SETTING=VALUE,VALUE."""
    try:
        return config_variants.parse(text)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from None


def moment(text: str) -> datetime:
    """Parse an argument that is a day or a time, in UTC unless it has a zone."""
    try:
        day = parse_date(text)
        found = datetime(day.year, day.month, day.day) if day else parse_datetime(text)  # noqa: DTZ001 - below
    except ValueError:
        found = None
    if found is None:
        raise ArgumentTypeError(f"{text!r} is no time. Write it like 2026-01-31 or 2026-01-31T12:00Z.")
    return found if found.tzinfo else found.replace(tzinfo=UTC)


@contextmanager
def progress_told() -> Iterator[Callable[[str, int], None]]:
    """Show progress bars: call the result with a stage and its new rows."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bars: dict[str, Any] = {}

        def say(stage: str, n: int) -> None:
            if stage not in bars:
                bars[stage] = progress.add_task(stage, total=None)
            progress.advance(bars[stage], n)

        yield say


@contextmanager
def refusals_told() -> Iterator[None]:
    """End the command with a message if a file cannot be read or a value is wrong."""
    try:
        yield
    except (LogFileError, ValueError, OSError) as error:
        raise CommandError(str(error)) from error


def show(stdout: Any, table: Any) -> None:
    """Print a table at full width."""
    Console(file=stdout, highlight=False, width=WIDTH).print(table)


def write_json(folder: Path, name: str, found: dict[str, Any]) -> Path:
    """Write a result into a folder as JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_bytes(orjson.dumps(found, option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY))
    return path
