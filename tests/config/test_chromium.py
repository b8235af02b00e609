"""Tests of the browser choice, and of the advice if there is no browser."""

import os
import subprocess
import sys

import pytest

from config import chromium
from tests.help.supervised import BASE_DIR


@pytest.fixture
def nothing_installed(monkeypatch, tmp_path):
    monkeypatch.delenv("CHROMIUM", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def program(path):
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return str(path)


def test_the_one_named_wins_and_one_that_is_none_is_told(nothing_installed, monkeypatch):
    program(nothing_installed / "chromium")
    named = program(nothing_installed / "other")
    monkeypatch.setenv("CHROMIUM", named)
    assert chromium.find() == named
    monkeypatch.setenv("CHROMIUM", "/no/such/browser")
    assert chromium.find() is None
    assert "/no/such/browser is not a program" in chromium.why_not_installed()


def test_the_first_known_one_on_the_path_is_used(nothing_installed):
    assert chromium.find() is None
    second = program(nothing_installed / chromium.NAMES[1])
    assert chromium.find() == second
    assert chromium.find() != program(nothing_installed / chromium.NAMES[0])


def test_only_root_installs_and_only_by_apt(nothing_installed, monkeypatch):
    assert "no apt-get" in chromium.why_not_installed()
    program(nothing_installed / "apt-get")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "only root" in chromium.why_not_installed()
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert chromium.why_not_installed() == ""


def test_without_a_browser_it_says_what_to_do_and_does_not_stop_the_tests(tmp_path):
    env = {"PATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, BASE_DIR / "config/chromium.py"], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert "will be skipped" in done.stdout
    assert "CHROMIUM=" in done.stdout
