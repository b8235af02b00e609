"""Keep rows on disk in numbered parts, and read them back one part at a time.

A part is one file. It has frames one after the other, each as its length in 8 bytes and an Arrow stream. Memory: one
buffer per open file, and the present frame. Parts belong to this run only: they are useless once the process has
died.
"""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import polars as pl

LENGTH_BYTES = 8


class Spill:
    """Numbered parts of rows in a folder.

    n_rows: the number of rows in each part.
    """

    def __init__(self, folder: Path, n_parts: int) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self._files: dict[int, BinaryIO] = {}
        self.n_rows = [0] * n_parts

    def write(self, frame: pl.DataFrame, part: pl.Expr) -> None:
        """Append each row to the part whose number the expression gives."""
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
        """Close the files."""
        for file in self._files.values():
            file.close()

    def drain(self) -> Iterator[pl.DataFrame]:
        """Yield each part that has rows as one frame, in order, and delete its file."""
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
