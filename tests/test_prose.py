"""Tests that the prose is easy to read, and that its counter sees every text."""

from functools import cache

import pytest

from tests.help import prose
from tests.help.prose import Counts, Finding, measure, measure_files, units_of

SHOWN = 60  # places in a failure message
GUIDES = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "docs/tutorial", "docs/how-to")
WORD = next(iter(prose.STRUCK))
SAID = f"The list {WORD} on this page."


@cache
def everything() -> Counts:
    return measure_files()


def broken(rule: str) -> list[Finding]:
    return [found for found in everything().findings if found.rule == rule]


def listed(findings: list[Finding]) -> str:
    """Return a failure message that lists the places."""
    lines = [f"{found.path}:{found.line}: {found.text[:200]}" for found in findings[:SHOWN]]
    return "\n".join([f"{len(findings)} places must be rewritten:", *lines, *["..."][: len(findings) > SHOWN]])


# -- all tracked files ---------------------------------------------------------------------------------------------


def test_everyday_words_are_used():
    assert not broken("struck"), listed(broken("struck"))


def test_docstrings_begin_with_a_verb_or_a_noun():
    assert not broken("opening"), listed(broken("opening"))


def test_first_lines_of_docstrings_are_short():
    assert not broken("summary"), listed(broken("summary"))


def test_sentences_are_short():
    assert 1000 * everything().n_of("long") / everything().sentences <= 1, listed(broken("long"))


def test_semicolons_are_rare():
    assert 1000 * everything().semicolons / everything().words <= 2, listed(prose.find(";"))


def test_nouns_are_named():
    assert everything().per_10_000("what") <= 15, listed(prose.find(r"\bwhat\b"))


def test_guides_speak_to_the_reader():
    counts = {name: measure_files(name) for name in prose.tracked_files(*GUIDES)}
    shares = sorted((round(each.per_10_000("you")), name) for name, each in counts.items())
    assert measure_files(*GUIDES).per_10_000("you") >= 60, f"'you' in 10,000 words: {shares}"
    assert measure_files("docs").per_10_000("you") >= 20


# -- the counter ---------------------------------------------------------------------------------------------------


def found_in(name: str, text: str) -> list[tuple[str, int]]:
    """Return the rule and the line of each finding in a text."""
    return [(found.rule, found.line) for found in measure(units_of(name, text)).findings]


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        pytest.param("a.py", f'"""{SAID}"""', 1, id="docstring of a module"),
        pytest.param("a.py", f'def f():\n    """Do it.\n\n    {SAID}\n    """', 4, id="later line of a docstring"),
        pytest.param("a.py", f"\n# {SAID}\n", 2, id="comment"),
        pytest.param("a.py", f"x = 1  # {SAID}\n", 1, id="comment after code"),
        pytest.param("a.py", f'\nsay("{SAID}")', 2, id="message"),
        pytest.param("a.py", f'say("You {WORD} here.")', 1, id="short message"),
        pytest.param("a.py", f'say(f"{{n}}: {SAID}")', 1, id="f-string"),
        pytest.param("a.py", f"say(f\"{{'{SAID}' if n else ''}}\")", 1, id="string in an f-string"),
        pytest.param("a.py", f'say("The list "\n"{WORD} here")', 1, id="message in two parts"),
        pytest.param("a.html", f"<p>\n<b>a</b>\n\n{SAID}</p>", 4, id="template text"),
        pytest.param("a.html", f"<td>{{% if x %}}{SAID}{{% endif %}}", 1, id="template text in a condition"),
        pytest.param("a.html", f'<i>b</i>\n<a title="{SAID}">c</a>', 2, id="title attribute"),
        pytest.param("a.html", f'<td data-label="{WORD} at">', 1, id="label of a cell"),
        pytest.param("a.html", f'{{% chart "x" "{SAID}" %}}', 1, id="text in a template tag"),
        pytest.param("a.html", f"{{# {SAID} #}}", 1, id="template comment"),
        pytest.param("templates/a.txt", f"Hello\n\n{SAID}", 3, id="mail template"),
        pytest.param("a.md", f"# Title\n\n{SAID}\n", 3, id="Markdown paragraph"),
        pytest.param("a.md", f"- one\n- {SAID}\n", 2, id="Markdown list item"),
        pytest.param("a.md", f"| a | b |\n|---|---|\n| `x|y` | {SAID} |", 3, id="Markdown table cell"),
        pytest.param("a.js", f'let a = 1;\nsay("{SAID}");', 2, id="JavaScript text"),
        pytest.param("a.js", f"say('{SAID}');", 1, id="JavaScript text in single quotes"),
        pytest.param("a.js", f"say(`${{n}}:\n{SAID}`);", 1, id="JavaScript template text"),
        pytest.param("a.js", f"f(); // {SAID}\n", 1, id="JavaScript comment"),
        pytest.param("a.js", f"/* One.\n * {SAID} */", 1, id="JavaScript block comment"),
        pytest.param("a.css", f"/* {SAID} */", 1, id="CSS comment"),
        pytest.param("Makefile", f"run: setup  ## {SAID}\n\tx", 1, id="Makefile comment"),
        pytest.param("a.yml", f"a: 1\n# {SAID}\n", 2, id="YAML comment"),
    ],
)
def test_every_kind_of_text_is_seen(name, text, line):
    assert found_in(name, text) == [("struck", line)]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        pytest.param("a.py", f'"""Show `{WORD}` here."""', id="code in backticks"),
        pytest.param("a.py", f'"""Do it.\n\n    >>> {WORD} + 1\n    2\n"""', id="doctest"),
        pytest.param("a.py", f'"""Do it.\n\n    a ──> {WORD} ──> b\n"""', id="drawing"),
        pytest.param("a.py", f'SQL = "SELECT {WORD} FROM the log WHERE it is so"', id="SQL"),
        pytest.param(
            "a.py",
            f'CODE = "import {WORD}\\nfor each in the_list: say(each) or wait in line"',
            id="Python in a string",
        ),
        pytest.param("a.py", f'PATH = "the/path/of/{WORD}/in/folders"', id="path"),
        pytest.param("a.py", f'PATTERN = r"\\b(the|list|of) {WORD} and so\\s+on"', id="regular expression"),
        pytest.param("a.py", f"def {WORD}(): ...", id="name"),
        pytest.param("a.html", f"<script>the list {WORD} here</script>", id="script"),
        pytest.param("a.html", f'<p class="the list {WORD} here">a</p>', id="class"),
        pytest.param("a.md", f"- one\n\n  ```\n  the list {WORD} here\n  ```\n", id="fenced code in a list"),
        pytest.param("a.md", f"[a](https://{WORD}.example/the-{WORD})", id="address"),
        pytest.param("a.js", f'open("//{WORD}/a"); the.list.{WORD}();', id="code after two slashes in a string"),
    ],
)
def test_code_is_not_read_as_prose(name, text):
    assert found_in(name, text) == []


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ('"""What it does."""', "opening"),
        ('"""Whether it is so."""', "opening"),
        (f'"""Do {"this and " * 9}that."""', "summary"),
        (f"# It goes on {'and on ' * 14}.", "long"),
    ],
)
def test_every_rule_finds_its_breach(text, rule):
    assert found_in("a.py", text) == [(rule, 1)]


def test_sentences_that_keep_the_rules_are_not_found():
    text = f'"""Do {"this and " * 7}that.\n\nIt goes on {"and on " * 13}. It ends; you see.\n"""'
    counts = measure(units_of("a.py", text))
    assert counts.findings == []
    assert (counts.docstrings, counts.sentences, counts.semicolons, counts.by_word["you"]) == (1, 3, 1, 1)


def test_words_are_counted_in_ten_thousand():
    counts = measure(units_of("a.md", "You read what you want."))
    assert counts.words == 5
    assert counts.per_10_000("you") == 4000
    assert counts.per_10_000("what") == 2000
