"""A secret may be in a file, and an unclear one stops the start."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from config.addresses.secret_files import SecretUnreadable, is_set, read_secret

BASE_DIR = Path(__file__).resolve().parents[3]
SECRETS = {
    *("DATABASE_URL", "BROKER_URL", "VIEW_URL"),
    *("SECRET_KEY", "ALERT_WEBHOOK_SECRET", "EMAIL_URL"),
}


def test_every_secret_setting_may_be_a_file():
    settings = (BASE_DIR / "config/settings.py").read_text()
    assert set(re.findall(r'env\.secret\(\s*"(\w+)"', settings)) >= SECRETS
    page = (BASE_DIR / "docs/reference/settings.md").read_text()
    assert all(f"`{name}_FILE`" in page for name in SECRETS)


def test_the_line_end_of_a_file_is_no_part_of_the_secret(tmp_path):
    for text, secret in (("key\n", "key"), ("key\r\n", "key"), (" k\u00e9y ", " k\u00e9y ")):
        (tmp_path / "key").write_text(text, newline="")
        environ = {"SECRET_KEY": "", "SECRET_KEY_FILE": str(tmp_path / "key")}
        assert read_secret("SECRET_KEY", environ) == secret
        assert is_set("SECRET_KEY", environ)


def test_without_a_file_the_variable_itself_is_read():
    assert read_secret("SECRET_KEY", {"SECRET_KEY": "key", "SECRET_KEY_FILE": ""}) == "key"
    assert read_secret("SECRET_KEY", {}) == ""
    assert not is_set("SECRET_KEY", {"SECRET_KEY_FILE": ""})


def test_a_secret_that_is_unclear_is_refused(tmp_path):
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    for environ, said in (
        ({"SECRET_KEY": "key", "SECRET_KEY_FILE": "/key"}, "Both SECRET_KEY and SECRET_KEY_FILE"),
        ({"SECRET_KEY_FILE": str(tmp_path / "none")}, "cannot be read"),
        ({"SECRET_KEY_FILE": str(tmp_path)}, "cannot be read"),
        ({"SECRET_KEY_FILE": str(tmp_path / "binary")}, "cannot be read"),
        ({"SECRET_KEY_FILE": str(tmp_path / "empty")}, "an empty file"),
    ):
        with pytest.raises(SecretUnreadable, match=said):
            read_secret("SECRET_KEY", environ)


def start(**secrets):
    env = {name: value for name, value in os.environ.items() if name.removesuffix("_FILE") not in SECRETS} | secrets
    code = "from config import settings as s; print([getattr(s, name) for name in ('SECRET_KEY', 'VIEW_URL')])"
    code += "; print(s.DATABASES['default']['NAME'], s.EMAIL_HOST, s.IS_FIRST_RUN)"
    return subprocess.run(
        [sys.executable, "-c", code], cwd=BASE_DIR, env=env, capture_output=True, text=True, check=False
    )


def test_the_settings_are_read_from_files(tmp_path):
    values = {
        "DATABASE_URL": "postgres://nobody@127.0.0.1:1/none",
        "BROKER_URL": "redis://broker:6379/0",
        "VIEW_URL": "redis://store:6379/1",
        "SECRET_KEY": "x" * 40,
        "ALERT_WEBHOOK_SECRET": "y" * 40,
        "EMAIL_URL": "smtp://mail.example.com:25",
    }
    for name, value in values.items():
        (tmp_path / name).write_text(f"{value}\n")
    files = {f"{name}_FILE": str(tmp_path / name) for name in values}
    done = start(**files)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{['x' * 40, 'redis://store:6379/1']}\nnone mail.example.com False\n"
    refused = start(**files, SECRET_KEY="z" * 40)
    assert refused.returncode != 0
    assert "Both SECRET_KEY and SECRET_KEY_FILE are set" in refused.stderr
