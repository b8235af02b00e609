"""Measure how hard the prose of this repository is to read.

    file ──> units (a docstring, a comment, a message, a paragraph) ──> sentences ──> findings

Docstrings, comments and longer texts come out of Python; text and titles out of templates; paragraphs, cells and list
items out of Markdown; comments and texts out of scripts; comments out of everything else. Code, drawings, formulas,
doctests and SQL are left out. `python -m tests.help.prose [PATH ...]` prints each finding with its place, and the
counts per 10,000 words.
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
LONG_WORDS = 30  # a sentence above this must be read twice
SUMMARY_CHARACTERS = 80  # of the first line of a docstring
# Words that this repository replaced with the everyday word for the same thing.
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
_WORD = re.compile(r"[A-Za-z][A-Za-z'’-]*")
_END = re.compile(r"(?<=[.!?])[)\"'”]*\s+(?=[A-Z0-9\"'“`(*])")
_DRAWN = re.compile(r"[─│┌┐└┘├┤┬┴┼▼▲►◄═║]|--+>|<--+|->.*->")
_SQL = re.compile(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH|CREATE|ALTER|DROP|COPY|SET|LOCK|TRUNCATE|REVOKE|GRANT|FROM|WHERE"
                  r"|JOIN|AND|ORDER|GROUP|VALUES|ON|BEGIN|DO|FOR|UNION|LEFT)\b")  # fmt: skip
_TOOL_COMMENT = re.compile(r"#\s*(noqa|type:|pragma|!|ruff:|fmt:|mypy:)")
_NO_PROSE = {".png", ".pem", ".npz", ".json", ".gz", ".parquet", ".lock", ".svg", ".ico", ".bin", ".zst", ".jsonl"}


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
    """Yield the prose of one file, by its kind of file."""
    text = path.read_text(encoding="utf-8", errors="replace")
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
    """Return the files under version control that hold prose, as paths from the root."""
    listed = subprocess.run(["git", "ls-files", *paths], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    names = [name for name in listed.splitlines() if Path(name).suffix not in _NO_PROSE]
    return [name for name in names if name != "LICENSE" and not name.startswith("requirements")]


def measure_files(*paths: str) -> Counts:
    """Count over all tracked files under these paths, or over all of them."""
    return measure(unit for name in tracked_files(*paths) for unit in read_units(ROOT / name, name))


def _measure_one(unit: Unit, counts: Counts) -> None:
    if unit.kind == "docstring":
        counts.docstrings += 1
        if _WEAK.match(unit.text):
            counts.findings.append(Finding(unit.path, unit.line, "opening", unit.text.split("\n")[0]))
        if len(unit.text.split("\n")[0]) > SUMMARY_CHARACTERS:
            counts.findings.append(Finding(unit.path, unit.line, "summary", unit.text.split("\n")[0]))
    for offset, paragraph in _paragraphs(unit.text):
        plain = _plain(paragraph)
        words = _WORD.findall(plain)
        counts.words += len(words)
        counts.by_word.update(word.lower() for word in words)
        counts.semicolons += plain.count(";")
        for sentence in _END.split(plain):
            n_words = len(_WORD.findall(sentence))
            counts.sentences += n_words > 0
            if n_words > LONG_WORDS:
                counts.findings.append(Finding(unit.path, unit.line + offset, "long", f"{n_words} words: {sentence}"))
        for found in _STRUCK.findall(plain):
            counts.findings.append(Finding(unit.path, unit.line + offset, "struck", f"{found}: {plain}"))


def _paragraphs(text: str) -> Iterator[tuple[int, str]]:
    """Yield runs of prose lines with the offset of their first line; leave drawings, formulas and doctests out."""
    run: list[str] = []
    start, in_doctest = 0, False
    for offset, line in enumerate([*text.split("\n"), ""]):
        in_doctest = line.lstrip().startswith(">>>") or (in_doctest and bool(line.strip()))
        skipped = not line.strip() or line.startswith("    ") or in_doctest or bool(_DRAWN.search(line))
        begins = re.match(r"\s*([-*] |\d+\. |[\w*`, ]{1,40}: )", line)
        if run and (skipped or begins):
            yield start, " ".join(run)
            run = []
        if not skipped:
            start = start if run else offset
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
                docstrings.add(id(node.body[0].value))  # type: ignore[attr-defined]
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
    """Yield the string literals that read as sentences."""
    inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)} - {
        id(node) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)
    }
    for node in ast.walk(tree):
        if id(node) in docstrings or id(node) in inside:
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            said = node.value
        elif isinstance(node, ast.JoinedStr):
            said = "".join(str(part.value) if isinstance(part, ast.Constant) else "X" for part in node.values)
        else:
            continue
        if len(re.findall(r"(?<![\w.{])[a-z][a-z'-]+(?![\w=(\[])", said)) >= 4 and not _SQL.match(said):  # noqa: PLR2004
            yield Unit(name, node.lineno, "message", "\n".join(line.strip() for line in said.split("\n")))


def _template(name: str, text: str) -> Iterator[Unit]:
    keep_lines = lambda found: "\n" * found.group().count("\n")  # noqa: E731
    text = re.sub(r"(?s)<(script|style)\b.*?</\1>", keep_lines, text)
    spoken = r"""\b(?:title|alt|placeholder|aria-label|data-confirm|data-text)=("[^"]*"|'[^']*')"""
    for found in re.finditer(spoken, text):
        yield from _lines(name, text.count("\n", 0, found.start()), _without_tags(found.group(1)[1:-1]), "text")
    text = re.sub(r"(?s)\{%\s*comment.*?%\}|\{%\s*endcomment\s*%\}|\{#|#\}", " ", text)
    text = re.sub(r"(?s)</?(?:a|b|i|em|strong|code|span|abbr|time|small|kbd|mark)\b(?:[^<>]|<[^<>]*>)*?>", "", text)
    text = re.sub(r"(?s)<[^<>]*>", lambda found: "\n\n" + keep_lines(found), text)
    yield from _lines(name, 0, _without_tags(text), "text")


def _without_tags(text: str) -> str:
    text = re.sub(r"(?s)\{\{.*?\}\}", "X", text)
    text = re.sub(r"(?s)\{%\s*(?:blocktranslate|url|now|include)\b.*?%\}", "X", text)
    text = re.sub(r"(?s)\{%\s*(?:else|elif|empty|if|endif|for|endfor).*?%\}", "\n\n", text)
    return html.unescape(re.sub(r"(?s)\{%.*?%\}", "", text))


def _lines(name: str, start: int, text: str, kind: str) -> Iterator[Unit]:
    for paragraph in re.split(r"\n\s*\n", text):
        if _WORD.search(paragraph):
            yield Unit(name, start + 1, kind, "\n".join(line.strip() for line in paragraph.split("\n")))


def _markdown(name: str, text: str) -> Iterator[Unit]:
    keep_lines = lambda found: "\n" * found.group().count("\n")  # noqa: E731
    text = re.sub(r"(?ms)^```.*?^```$", keep_lines, text)
    text = re.sub(r"(?s)<!--.*?-->", keep_lines, text)
    for number, line in enumerate(text.split("\n"), 1):
        if line.startswith("|"):
            for cell in line.strip("|").split("|"):
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
    for found in re.finditer(r"(?s)/\*(.*?)\*/|(?m:(?<![:\w])//(.*)$)", text):
        body = found.group(1) or found.group(2) or ""
        lines = "\n".join(line.strip(" *") for line in body.split("\n"))
        yield Unit(name, text.count("\n", 0, found.start()) + 1, "comment", lines)
    for found in re.finditer(r'"([^"\n]*)"|`([^`\n]*)`', text):
        said = found.group(1) or found.group(2) or ""
        if len(re.findall(r"(?<![\w.$-])[a-z]{2,}(?![\w=(\[-])", said)) >= 4:  # noqa: PLR2004
            yield Unit(name, text.count("\n", 0, found.start()) + 1, "message", re.sub(r"\$\{.*?\}", "X", said))


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
