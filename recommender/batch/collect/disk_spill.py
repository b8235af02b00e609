"""Rows put aside on disk in numbered parts, to be read back a part at a time.

A part is one file: frames one after the other, each as its length in 8 bytes and an Arrow stream. Memory: a buffer an
open file, and the frame in hand. Parts are of this run only: nothing is kept if the process dies.
"""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import polars as pl

LENGTH_BYTES = 8


class Spill:
    """`n_rows`: by part."""

    def __init__(self, folder: Path, n_parts: int) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self._files: dict[int, BinaryIO] = {}
        self.n_rows = [0] * n_parts

    def write(self, frame: pl.DataFrame, part: pl.Expr) -> None:
        """Append each row to the part of the number the expression gives."""
        numbered = frame.with_columns(part.alias("_part"))
        for (number,), rows in numbered.partition_by("_part", as_dict=True, include_key=False).items():
            self._append(int(number), rows)

    def _append(self, number: int, rows: pl.DataFrame) -> None:
        if number not in self._files:
            self._files[number] = self._path(number).open("wb")
        packed = BytesIO()
        rows.write_ipc_stream(packed, compression="lz4")
        file = self._files[number]
        file.write(packed.tell().to_bytes(LENGTH_BYTES, "little"))
        file.write(packed.getbuffer())
        self.n_rows[number] += len(rows)

    def close(self) -> None:
        """Let go of the files."""
        for file in self._files.values():
            file.close()

    def drain(self) -> Iterator[pl.DataFrame]:
        """Every part that has rows, as one frame, in order of their numbers; its file is gone afterwards."""
        self.close()
        for number in sorted(self._files):
            path = self._path(number)
            with path.open("rb") as file:
                frames = []
                while length := file.read(LENGTH_BYTES):
                    packed = BytesIO(file.read(int.from_bytes(length, "little")))
                    frames.append(pl.read_ipc_stream(packed))
            path.unlink()
            yield pl.concat(frames)
        self._files = {}

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:05d}"
