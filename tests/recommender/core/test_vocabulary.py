"""Test that the core and the database use the same numbers."""

import subprocess
import sys

import pytest

from recommender.core import vocabulary
from recommender.core.vocabulary import DAY_MS, Kind, Ruling, Verdict
from recommender.models import Decision, Event, EventVerdict


@pytest.mark.parametrize(
    ("model", "field", "words"),
    [(Event, "kind", Kind), (EventVerdict, "verdict", Verdict), (Decision, "ruling", Ruling)],
)
def test_the_tables_offer_the_numbers_of_the_core(model, field, words):
    assert model._meta.get_field(field).choices == [(int(each), each.name.title()) for each in words]


def test_plain_numbers_are_those_of_the_enums():
    assert tuple(Verdict) == (vocabulary.ADMIT, vocabulary.HOLD, vocabulary.QUARANTINE)
    assert (vocabulary.EXPOSURE, vocabulary.UNDO) == (Kind.EXPOSURE, Kind.UNDO)
    assert type(vocabulary.UNDO) is type(vocabulary.HOLD) is int
    assert DAY_MS == 86_400_000


def test_a_web_process_needs_no_compiler_for_it():
    code = "import sys, recommender.core.vocabulary; print({'numpy', 'numba', 'django'} & set(sys.modules))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "set()"
