"""Finding rows by words, with PostgreSQL's own text search, whichever language the site is in.

    words column: GENERATED ALWAYS AS (Words("title", "item")) STORED, with a GIN index
    having_words(rows, text) ──> rows with every word of it, each as the beginning of one

No stemming and no stop words: ids are searched as often as titles. What stands between words is taken out first:
PostgreSQL's parser makes one word of `item-42`, `news/2024` or an address otherwise. The words are stored and not
only indexed, because for a word that most rows have the planner passes the index by, and taking 100,000 texts to
pieces takes seconds where comparing them takes 0.1 s.
"""

import string
from typing import TypeVar

from django.contrib.postgres.search import SearchQuery, SearchVectorField
from django.db.models import Func, Model, QuerySet

M = TypeVar("M", bound=Model)

MAX_WORDS = 8
# Neither quotes nor per cent signs, which the parser takes out itself and SQL would have to escape.
BETWEEN = "-/._@:~+&=?<>#;,()[]"
_TO_SPACES = str.maketrans(dict.fromkeys(string.punctuation + "\0", " "))


class Words(Func):
    """The words of columns, as PostgreSQL keeps them."""

    output_field = SearchVectorField()
    template = f"to_tsvector('simple'::regconfig, translate(%(expressions)s, '{BETWEEN}', '{' ' * len(BETWEEN)}'))"
    arg_joiner = " || ' ' || "


def having_words(rows: QuerySet[M], text: str) -> QuerySet[M]:
    """Those of the rows whose `words` begin with each word of a text; all where it has none."""
    wanted = text.translate(_TO_SPACES).split()[:MAX_WORDS]
    if not wanted:
        return rows
    query = SearchQuery(" & ".join(f"{word}:*" for word in wanted), config="simple", search_type="raw")
    return rows.filter(words=query)
