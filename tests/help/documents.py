"""Read links, paths, commands and typed lines out of the documents.

    README.md, CONTRIBUTING.md, SECURITY.md, docs/**.md ──> pages
        page ──> blocks: `<!-- run -->` or `<!-- no-run: reason -->`, then a fenced block
        the `run` blocks of a page, in order ──> one bash script, against a server that a test started

`run` takes a way: none (type it in a shell), `python`, `background`, `file NAME`, or `make run` (tried from a clone).
"""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
SHELL = ("", "sh", "bash", "console")  # languages of blocks that a reader types into a shell
_BLOCK = re.compile(
    r"(?:^ *<!-- (?P<mark>(?:no-)?run)(?:: (?P<way>[^>]*?))? -->\n)?"
    r"^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^ *```$",
    re.MULTILINE | re.DOTALL,
)
_LINK = re.compile(r"(?<!\\)\]\(([^)\s]+)\)")
_PATH = re.compile(r"`((?:\.ci|\.github|config|docs|monitoring|recommender|tests)/[\w./-]*)`")
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block with its mark: "run", "no-run" or "" for none."""

    page: str
    line: int
    mark: str
    way: str
    language: str
    text: str

    @property
    def place(self) -> str:
        """Return where the block is, for messages."""
        return f"{self.page}:{self.line}"


def name_of(page: Path) -> str:
    """Return the page's path from the root."""
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page, in order, without their indentation."""
    text = page.read_text()
    found = []
    for match in _BLOCK.finditer(text):
        indent = len(match["indent"])
        body = "".join(line[indent:] if line.strip() else line for line in match["text"].splitlines(keepends=True))
        line = text.count("\n", 0, match.start()) + 1
        found.append(Block(name_of(page), line, match["mark"] or "", match["way"] or "", match["language"], body))
    return found


def shell_blocks(page: Path) -> list[Block]:
    """Return the blocks that a reader would type into a shell, and those with a mark."""
    return [
        block for block in blocks(page) if block.mark or (block.language in SHELL and not _is_drawing(block.text))
    ]


def dead_links(page: Path) -> list[str]:
    """Return links to pages, files or headings that do not exist.

    Links to other sites are not followed.
    """
    dead = []
    for link in _LINK.findall(_without_code(page.read_text())):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            dead.append(link)
    return dead


def missing_paths(page: Path) -> list[str]:
    """Return the paths named in a page, as `recommender/...`, that do not exist."""
    return [path for path in _PATH.findall(page.read_text()) if not (ROOT / path).exists()]


def anchors(page: Path) -> set[str]:
    """Return the anchors that a forge makes of a page's headings."""
    found = set()
    for heading in _HEADING.findall(_without_code(page.read_text())):
        plain = re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", lambda match: match[1] or "", heading).strip().lower()
        found.add(re.sub(r"[^\w -]", "", plain).replace(" ", "-"))
    return found


def named_commands() -> dict[str, set[str]]:
    """Return each command that a document names, and its pages.

    A command is named as `manage.py NAME` or `groundswell NAME`.
    """
    named: dict[str, set[str]] = {}
    for page in PAGES:
        for name in re.findall(r"(?:manage\.py|(?<![\w/-])groundswell) ([a-z][a-z_]+)", page.read_text()):
            named.setdefault(name, set()).add(name_of(page))
    return named


def _without_code(text: str) -> str:
    return re.sub(r"(?ms)^ *```.*?^ *```$", "", text)


def _is_drawing(text: str) -> bool:
    return bool(re.search(r"──|┐|└", text))
