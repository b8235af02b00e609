"""A release is refused while something is missing or differs."""

import subprocess
import sys
import zipfile

import pytest

import config
from config import release


@pytest.fixture
def checkout(tmp_path):
    """Make a repository with one commit: a package, and a changelog of two versions."""
    folder = tmp_path / "checkout"
    for package in release.PACKAGES:
        (folder / package).mkdir(parents=True)
        (folder / package / "__init__.py").write_text("")
    (folder / "config" / "installer.txt").write_text("uv\n")
    (folder / "CHANGELOG.md").write_text(
        "# Changelog\n\n## 1.1.0.dev0 (in development)\n\n- one\n\n## 1.0.0\n\n- two\n"
    )
    git = ["git", "-C", folder, "-c", "user.name=t", "-c", "user.email=t@example.com"]
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "all: begin"]):
        subprocess.run([*git, *words], check=True)
    return folder


def test_a_clean_checkout_with_a_section_is_not_refused(checkout):
    release.refuse(checkout, "1.0.0", allow_dev=False)


def test_a_change_that_is_not_committed_is_named(checkout):
    (checkout / "new.py").write_text("")
    with pytest.raises(release.NotReady, match=r"Commit or remove your changes first: 1 files, the first is new\.py"):
        release.refuse(checkout, "1.0.0", allow_dev=False)


@pytest.mark.parametrize("version", ["1.0.1", "1.0", "1.0.0.1", "1.1.0"])
def test_a_version_without_a_section_is_refused(version, checkout):
    with pytest.raises(release.NotReady, match=rf"CHANGELOG.md has no section `## {version}`"):
        release.refuse(checkout, version, allow_dev=False)


def test_a_development_version_needs_the_flag(checkout):
    with pytest.raises(release.NotReady, match="is a development version"):
        release.refuse(checkout, "1.1.0.dev0", allow_dev=False)
    release.refuse(checkout, "1.1.0.dev0", allow_dev=True)


def test_a_wheel_that_lacks_a_file_is_found(checkout, tmp_path):
    wheel = tmp_path / "w.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for package in release.PACKAGES[:2]:
            archive.writestr(f"{package}/__init__.py", "")
        archive.writestr("w.dist-info/METADATA", "")
    with pytest.raises(release.NotReady, match=r"differ in 1 files: recommender/__init__\.py"):
        release.compare(checkout, wheel)


def test_a_command_that_fails_is_told_with_its_words(tmp_path):
    with pytest.raises(release.NotReady, match="no such package"):
        release._run(sys.executable, "-c", "raise SystemExit('no such package')", cwd=tmp_path)


def test_the_changelog_is_newest_first_with_one_line_for_each_change():
    text = (release.BASE_DIR / "CHANGELOG.md").read_text()
    sections = [line[3:].split()[0] for line in text.splitlines() if line.startswith("## ")]
    assert sections[0] == config.__version__
    assert sections[-1] == "0.1.0"
    body = text.split("## ", 1)[1].splitlines()
    assert [line for line in body if line and not line.startswith(("- ", "## "))] == [body[0]]
