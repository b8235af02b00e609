"""Owners of tables: monitoring asks the recommender for rows of the recommender."""

import re
from pathlib import Path

import monitoring

ROOT = Path(monitoring.__file__).parent
TABLE = re.compile(r"(?<!admin:)\brecommender_[a-z]\w*")  # the admin's addresses begin in the same way


def test_no_sql_of_monitoring_names_a_table_of_the_recommender():
    files = [path for path in ROOT.rglob("*.py") if path.parent.name != "migrations"]
    named = {path.relative_to(ROOT).as_posix(): TABLE.findall(path.read_text()) for path in files}
    assert len(named) > 60
    assert {path: names for path, names in named.items() if names} == {}
