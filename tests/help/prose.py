"""Measure how hard the prose of this repository is to read.

    file ──> units (a docstring, a comment, a message, a paragraph) ──> sentences ──> findings

    .py         docstrings, comments, string literals of three words or more
    .html .txt  templates: text, attributes that are shown, texts in template tags
    .md         paragraphs, list items, table cells
    .js .css    comments, strings of three words or more
    others      comments that begin with #

Code, drawings, formulas, doctests, regular expressions and SQL are left out. `python -m tests.help.prose [PATH ...]`
prints each finding with its place, then the counts.
"""

import ast
import html
import io
import re
import subprocess
import sys
import tokenize
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
LONG_WORDS = 30  # a longer sentence must be read twice
SUMMARY_CHARACTERS = 80  # at most, in the first line of a docstring
# Words that are not used here, each with the everyday word for the same thing.
STRUCK = {
    "stands": "is",
    "stand": "are",
    "nobody": "no one",
    "somebody": "someone",
    "whoever": "anyone who, or an attacker",
    "whatever": "name the thing, or any",
    "wherever": "everywhere",
    "beside": "next to, or compared with",
    "besides": "as well as, or except",
    "thereby": "split the sentence",
    "therein": "in it",
    "thereof": "of it",
    "whose like": "name the thing",
    "taken out": "removed",
    "takes out": "removes",
    "take out": "remove",
    "took out": "removed",
    "written down": "recorded",
    "write down": "record",
    "writes down": "records",
    "mislaid": "lost",
}
_STRUCK = re.compile(rf"\b({'|'.join(sorted(STRUCK, key=len, reverse=True))})\b", re.IGNORECASE)
_WEAK = re.compile(r"(What|Of|Whether|Who|Whose|Where|How|Which|When|As|From|That|Those|These)\b")
_WORD = re.compile(r"[A-Za-z][A-Za-z'\u2019-]*")
_PLAIN_WORD = re.compile(r"(?:^|(?<=[\s\"'(]))[A-Za-z][a-z'\u2019-]+(?=[\s.,;:!?)\"']|$)")
_MESSAGE_WORDS = 3
_END = re.compile(r"(?<=[.!?])[)\"'”]*\s+(?=[A-Z0-9\"'“`(*])")
_DRAWN = re.compile(r"[─│┌┐└┘├┤┬┴┼▼▲►◄═║]|--+>|<--+|->.*->|^-- ")
_SQL = re.compile(
    r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH|CREATE|ALTER|DROP|COPY|SET|LOCK|TRUNCATE|REVOKE|GRANT|FROM|WHERE|JOIN|AND"
    r"|ORDER|GROUP|VALUES|ON|BEGIN|DO|FOR|UNION|LEFT)\b"
)
_BREAK = "\f"  # ends a paragraph of a template, and adds no line
_REGEX = re.compile(r"\\[bdswBDSW]|\(\?")
_TOOL_COMMENT = re.compile(r"#\s*(noqa|type:|pragma|!|ruff:|fmt:|mypy:)")
_SHOWN = "title|alt|placeholder|aria-label|label|value|content|data-label|data-confirm|data-text"
_NO_PROSE = {".png", ".pem", ".json", ".gz", ".xz", ".parquet", ".lock", ".svg", ".ico", ".bin", ".zst", ".jsonl"}


@dataclass(frozen=True, slots=True)
class Unit:
    """One piece of prose and its place."""

    path: str
    line: int
    kind: str  # docstring, comment, message or text
    text: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One place that must be rewritten."""

    path: str
    line: int
    rule: str
    text: str


@dataclass(slots=True)
class Counts:
    """Totals over a set of units."""

    words: int = 0
    sentences: int = 0
    semicolons: int = 0
    docstrings: int = 0
    by_word: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)

    def per_10_000(self, *words: str) -> float:
        """Return the occurrences of these words in 10,000 words."""
        return 1e4 * sum(self.by_word[word] for word in words) / max(self.words, 1)

    def n_of(self, rule: str) -> int:
        """Return the number of findings of one rule."""
        return sum(finding.rule == rule for finding in self.findings)


def read_units(path: Path, name: str) -> Iterator[Unit]:
    """Yield the prose of one file."""
    yield from units_of(name, path.read_text(encoding="utf-8"))


def units_of(name: str, text: str) -> Iterator[Unit]:
    """Yield the prose of a text, read as the kind of file that its name shows."""
    path = Path(name)
    readers = {
        ".py": _python,
        ".html": _template,
        ".md": _markdown,
        ".js": _script,
        ".css": _script,
        ".txt": _template,
    }
    if path.suffix == ".txt" and "templates" not in path.parts:
        readers = {}
    yield from readers.get(path.suffix, _hash_comments)(name, text)


def measure(units: Iterator[Unit]) -> Counts:
    """Count words and findings over some units."""
    counts = Counts()
    for unit in units:
        _measure_one(unit, counts)
    return counts


def tracked_files(*paths: str) -> list[str]:
    """Return the tracked files that hold prose, as paths from the root."""
    listed = subprocess.run(["git", "ls-files", *paths], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    names = [name for name in listed.splitlines() if Path(name).suffix not in _NO_PROSE]
    return [name for name in names if name != "LICENSE" and not name.startswith("requirements")]


def measure_files(*paths: str) -> Counts:
    """Count over all tracked files under these paths, or over all of them."""
    return measure(unit for name in tracked_files(*paths) for unit in read_units(ROOT / name, name))


def find(pattern: str, *paths: str) -> list[Finding]:
    """Return the paragraphs under these paths that a regular expression matches."""
    return [
        Finding(name, line, pattern, plain)
        for name in tracked_files(*paths)
        for unit in read_units(ROOT / name, name)
        for line, plain in _paragraphs(unit)
        if re.search(pattern, plain, re.IGNORECASE)
    ]


def _measure_one(unit: Unit, counts: Counts) -> None:
    if unit.kind == "docstring":
        counts.docstrings += 1
        if _WEAK.match(unit.text):
            counts.findings.append(Finding(unit.path, unit.line, "opening", unit.text.split("\n")[0]))
        if len(unit.text.split("\n")[0]) > SUMMARY_CHARACTERS:
            counts.findings.append(Finding(unit.path, unit.line, "summary", unit.text.split("\n")[0]))
    for line, plain in _paragraphs(unit):
        words = _WORD.findall(plain)
        counts.words += len(words)
        counts.by_word.update(word.lower() for word in words)
        counts.semicolons += plain.count(";")
        for sentence in _END.split(plain):
            n_words = len(_WORD.findall(sentence))
            counts.sentences += n_words > 0
            if n_words > LONG_WORDS:
                counts.findings.append(Finding(unit.path, line, "long", f"{n_words} words: {sentence}"))
        for found in _STRUCK.findall(plain):
            counts.findings.append(Finding(unit.path, line, "struck", f"{found}: {plain}"))


def _paragraphs(unit: Unit) -> Iterator[tuple[int, str]]:
    """Yield the number of the first line, and the plain text, of each paragraph.

    Drawings, formulas and doctests are left out.
    """
    run: list[str] = []
    start, in_doctest = 0, False
    for number, line in enumerate([*unit.text.split("\n"), ""], unit.line):
        in_doctest = line.lstrip().startswith(">>>") or (in_doctest and bool(line.strip()))
        skipped = not line.strip() or line.startswith("    ") or in_doctest or bool(_DRAWN.search(line))
        begins = re.match(r"\s*([-*] |\d+\. |[\w*`, ]{1,40}: )", line)
        if run and (skipped or begins):
            yield start, _plain(" ".join(run))
            run = []
        if not skipped:
            start = start if run else number
            run.append(re.sub(r"^\s*([-*]|\d+\.) ", "", line).strip())


def _plain(text: str) -> str:
    text = re.sub(r"``[^`]+``|`[^`]+`", "X", text)
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    return re.sub(r"https?://\S+|[*_]{2}", "", text)


def _python(name: str, text: str) -> Iterator[Unit]:
    tree = ast.parse(text)
    docstrings = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            found = ast.get_docstring(node)
            if found:
                docstrings.add(id(node.body[0].value))
                yield Unit(name, node.body[0].lineno, "docstring", found)
    yield from _python_comments(name, text)
    yield from _messages(name, tree, docstrings)


def _python_comments(name: str, text: str) -> Iterator[Unit]:
    lines, block, start, last = text.split("\n"), [], 0, -1
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type != tokenize.COMMENT or _TOOL_COMMENT.search(token.string):
            continue
        row, column = token.start
        alone = not lines[row - 1][:column].strip()
        if block and not (alone and row == last + 1):
            yield Unit(name, start, "comment", "\n".join(block))
            block = []
        start = start if block else row
        block.append(token.string.lstrip("#")[1:])
        last = row if alone else -1
    if block:
        yield Unit(name, start, "comment", "\n".join(block))


def _messages(name: str, tree: ast.Module, docstrings: set[int]) -> Iterator[Unit]:
    """Yield the string literals that read as prose."""
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if id(node) in docstrings or (id(node) in parts and isinstance(node, ast.Constant)):
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            said = node.value
        elif isinstance(node, ast.JoinedStr):
            said = "".join(str(part.value) if isinstance(part, ast.Constant) else "X" for part in node.values)
        else:
            continue
        if _is_prose(said) and not _SQL.match(said) and not _is_python(said):
            yield Unit(name, node.lineno, "message", "\n".join(line.strip() for line in said.split("\n")))


def _is_prose(text: str) -> bool:
    return len(_PLAIN_WORD.findall(text)) >= _MESSAGE_WORDS and not _REGEX.search(text)


def _is_python(text: str) -> bool:
    if not re.search(r"[=(;]|\bimport\b", text):
        return False
    try:
        ast.parse(text)
    except SyntaxError:
        return False
    return True


def _template(name: str, text: str) -> Iterator[Unit]:
    text = re.sub(r"(?s)<(script|style)\b.*?</\1>", _keep_lines, text)
    for found in re.finditer(rf"""(?<![\w-])(?:{_SHOWN})=("[^"]*"|'[^']*')""", text):
        yield from _lines(name, text.count("\n", 0, found.start()), _without_tags(found.group(1)[1:-1]), "text")
    for tag in re.finditer(r"(?s)\{%.*?%\}", text):
        for said in re.findall(r'"([^"]*)"', tag.group()):
            if _is_prose(said):
                yield Unit(name, text.count("\n", 0, tag.start()) + 1, "text", said)
    text = re.sub(r"(?s)\{%\s*comment.*?%\}|\{%\s*endcomment\s*%\}|\{#|#\}", " ", text)
    inline = r"(?s)</?(?:a|b|i|em|strong|code|span|abbr|time|small|kbd|mark)\b(?:[^<>]|<[^<>]*>)*?>"
    text = re.sub(inline, _keep_lines, text)
    text = re.sub(r"(?s)<[^<>]*>", lambda found: _BREAK + _keep_lines(found), text)
    yield from _lines(name, 0, _without_tags(text), "text")


def _keep_lines(found: re.Match[str]) -> str:
    return "\n" * found.group().count("\n")


def _without_tags(text: str) -> str:
    text = re.sub(r"(?s)\{\{.*?\}\}", "X", text)
    text = re.sub(r"(?s)\{%\s*(?:blocktranslate|url|now|include)\b.*?%\}", "X", text)
    text = re.sub(r"(?s)\{%\s*(?:else|elif|empty|if|endif|for|endfor).*?%\}", _BREAK, text)
    return html.unescape(re.sub(r"(?s)\{%.*?%\}", "", text))


def _lines(name: str, start: int, text: str, kind: str) -> Iterator[Unit]:
    number = start + 1
    for paragraph in re.split(rf"({_BREAK}|\n\s*\n)", text):
        if _WORD.search(paragraph):
            before = paragraph[: len(paragraph) - len(paragraph.lstrip())].count("\n")
            yield Unit(name, number + before, kind, "\n".join(line.strip() for line in paragraph.strip().split("\n")))
        number += paragraph.count("\n")


def _markdown(name: str, text: str) -> Iterator[Unit]:
    text = re.sub(r"(?ms)^ *```.*?^ *```$", _keep_lines, text)
    text = re.sub(r"(?s)<!--.*?-->", _keep_lines, text)
    for number, line in enumerate(text.split("\n"), 1):
        if line.startswith("|"):
            for cell in _plain(line).strip("|").split("|"):
                yield Unit(name, number, "text", cell.strip())
    prose = [
        ("" if line.startswith("|") else re.sub(r"^(#+|\s{2,}(?=\S))\s*", "", line)) for line in text.split("\n")
    ]
    start, run = 0, []
    for number, line in enumerate([*prose, ""], 1):
        if line.strip():
            start = start if run else number
            run.append(line)
        elif run:
            yield Unit(name, start, "text", "\n".join(run))
            run = []


def _script(name: str, text: str) -> Iterator[Unit]:
    # Strings and comments are found in one pass, because each may hold the marks of the other.
    strings = r""""([^"\n]*)"|'([^'\n]*)'|`([^`]*)`"""
    for found in re.finditer(rf"(/\*[\s\S]*?\*/|(?<![:\w])//.*(?:\n *//.*)*)|{strings}", text):
        comment, *said = (group or "" for group in found.groups())
        number = text.count("\n", 0, found.start()) + 1
        if comment:
            yield Unit(name, number, "comment", "\n".join(line.strip(" */") for line in comment.split("\n")))
        elif _is_prose(message := re.sub(r"\$\{.*?\}", "X", "".join(said))):
            yield Unit(name, number, "message", message)


def _hash_comments(name: str, text: str) -> Iterator[Unit]:
    run: list[str] = []
    start = 0
    for number, line in enumerate([*text.split("\n"), ""], 1):
        found = re.search(r"(?:^|\s)#+ (.*)$", line)
        alone = line.lstrip().startswith("#")
        if run and not (found and alone):
            yield Unit(name, start, "comment", "\n".join(run))
            run = []
        if found:
            start = start if run else number
            run.append(found.group(1))
            if not alone:
                yield Unit(name, start, "comment", run.pop())


def main() -> None:
    """Print the findings under the given paths, then the counts."""
    counts = measure_files(*sys.argv[1:])
    for found in counts.findings:
        sys.stdout.write(f"{found.path}:{found.line}: {found.rule}: {found.text}\n")
    shown = {
        "words": counts.words,
        "sentences": counts.sentences,
        "sentences above 30 words": counts.n_of("long"),
        "words struck": counts.n_of("struck"),
        "docstrings": counts.docstrings,
        "weak openings": counts.n_of("opening"),
        "long first lines": counts.n_of("summary"),
        "semicolons in 1,000 words": round(counts.semicolons / max(counts.words, 1) * 1000, 1),
        **{f"'{word}' in 10,000": round(counts.per_10_000(word), 1) for word in ("what", "you", "says", "tells")},
    }
    sys.stdout.write("".join(f"{name:28}{value:>10,}\n" for name, value in shown.items()))


if __name__ == "__main__":
    main()
