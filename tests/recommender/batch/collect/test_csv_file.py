"""CSV files are read with quotes, line breaks in values, and gaps.

A file that is no CSV is refused.
"""

import pytest

from recommender.batch.collect import csv_file
from recommender.core.parquet_log import LogFileError


def frames(path, *names, n=2, limit=None):
    return [frame.rows() for frame in csv_file.frames(path, names, n, limit)]


def test_columns_are_read_by_name_in_pieces(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text('ts,item,actor\n1,"a, ""b""\nc",ana\n\n2,d,\n3,e\n', encoding="utf-8-sig")
    assert csv_file.header(path) == ["ts", "item", "actor"]
    assert frames(path, "actor", "item") == [[("ana", 'a, "b"\nc'), (None, "d")], [(None, "e")]]
    assert frames(path, "ts", limit=2, n=1) == [[("1",)], [("2",)]]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"ts,item\n1,a,b\n", "a row has 3 fields, but the first line names 2"),
        (b"ts,item\n1,\xff\n", "cannot be read"),
        (b"ts,item\n1," + b"a" * (csv_file.MAX_FIELD + 1) + b"\n", "cannot be read: field larger"),
    ],
)
def test_what_is_no_csv_says_so(tmp_path, content, says):
    path = tmp_path / "log.csv"
    path.write_bytes(content)
    with pytest.raises(LogFileError, match=says):
        frames(path, "ts", "item")


def test_an_empty_or_absent_file_has_no_columns_or_is_an_error(tmp_path):
    (tmp_path / "empty.csv").touch()
    assert csv_file.header(tmp_path / "empty.csv") == []
    with pytest.raises(LogFileError, match="cannot be read"):
        csv_file.header(tmp_path / "none.csv")
