"""Find rows by words with PostgreSQL's own text search, for sites in any language.

    words column: GENERATED ALWAYS AS (Words("title", "item")) STORED, with a GIN index
    having_words(rows, text) ──> rows with every word of it, each as the beginning of one

There is no stemming and there are no stop words, because people search for ids as often as for titles. Characters
between words are removed first. Otherwise PostgreSQL's parser makes one word of `item-42`, `news/2024` or an address.
The words are stored and not only indexed. For a word that most rows have, the planner does not use the index. Then it
takes seconds to parse 100,000 texts, but only 0.1 s to compare stored words.
"""

import string
from typing import TypeVar

from django.contrib.postgres.search import SearchQuery, SearchVectorField
from django.db.models import Func, Model, QuerySet

M = TypeVar("M", bound=Model)

MAX_WORDS = 8
# No quotes and no per cent signs: the parser removes them itself, and SQL would have to escape them.
BETWEEN = "-/._@:~+&=?<>#;,()[]"
_TO_SPACES = str.maketrans(dict.fromkeys(string.punctuation + "\0", " "))


class Words(Func):
    """The words of columns, as PostgreSQL keeps them."""

    output_field = SearchVectorField()
    template = f"to_tsvector('simple'::regconfig, translate(%(expressions)s, '{BETWEEN}', '{' ' * len(BETWEEN)}'))"
    arg_joiner = " || ' ' || "


def having_words(rows: QuerySet[M], text: str) -> QuerySet[M]:
    """Return the rows that have, for each word of a text, a word beginning with it.

    All rows if the text has no words.
    """
    wanted = text.translate(_TO_SPACES).split()[:MAX_WORDS]
    if not wanted:
        return rows
    query = SearchQuery(" & ".join(f"{word}:*" for word in wanted), config="simple", search_type="raw")
    return rows.filter(words=query)
