"""Tests of the settings.

The settings and their page agree, and a value that cannot be right stops the start.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

BASE_DIR = Path(__file__).resolve().parents[2]
READ = re.compile(r'env\.\w+\(\s*"(\w+)"')


def test_every_setting_is_documented():
    settings = set(READ.findall((BASE_DIR / "config/settings.py").read_text()))
    documented = set(re.findall(r"^\| `(\w+)`", (BASE_DIR / "docs/reference/settings.md").read_text(), re.MULTILINE))
    of_first_run = {"PORT", "DEMO", "SPEED", "GROUNDSWELL_HOME", "PG_BIN_DIR", "VALKEY_BIN"}
    of_single_programs = {"PROMETHEUS_MULTIPROC_DIR", "NUMBA_CACHE_DIR", "GROUNDSWELL_KEY", "CHROMIUM"}
    assert len(settings) > 20
    assert documented - of_first_run - of_single_programs == settings


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"SECRET_KEY": "short"}, "at least 32"),
        ({"SECRET_KEY_FILE": "/no/such/file"}, "Both SECRET_KEY and SECRET_KEY_FILE"),
        ({"ALERT_WEBHOOK_SECRET_FILE": "/no/such/file"}, "ALERT_WEBHOOK_SECRET_FILE"),
        ({"DATABASE_URL": "postgres://nobody@127.0.0.1:1/none?sslmoode=require"}, "sslmoode"),
        ({"BROKER_URL": "redis+sentinel://a:26379"}, "BROKER_URL"),
        ({"VIEW_URL": "rediss://a/0?ssl_ca_certs=/no/such/file"}, "VIEW_URL"),
        ({"SHARDS": "many"}, "SHARDS"),
        ({"SHARDS": "65"}, "SHARDS"),
        ({"HALF_LIVES_S": "300,fast"}, "HALF_LIVES_S"),
        ({"HALF_LIVES_S": "0"}, "HALF_LIVES_S"),
        ({"HALF_LIVES_S": ""}, "HALF_LIVES_S"),
        ({"LINK_HALF_LIFE_S": "0"}, "LINK_HALF_LIFE_S"),
        ({"CHECKPOINT_SCHEDULE": "5"}, "CHECKPOINT_SCHEDULE"),
        ({"CHECKPOINT_SCHEDULE": "60:7200,5:300"}, "CHECKPOINT_SCHEDULE"),
        ({"CHECKPOINT_SCHEDULE": "0:300"}, "CHECKPOINT_SCHEDULE"),
        ({"CHECKPOINTS_MAX_BYTES": "-1"}, "CHECKPOINTS_MAX_BYTES"),
        ({"SYNCHRONOUS_COMMIT": "perhaps"}, "SYNCHRONOUS_COMMIT"),
        ({"RETENTION_DAYS": "-1"}, "RETENTION_DAYS"),
        ({"DEBUG": "maybe"}, "DEBUG"),
        ({"ALERT_WEBHOOK_URL": "ftp://example.com"}, "ALERT_WEBHOOK_URL"),
        ({"ALERT_WEBHOOK_URL": "https://example.com:port/"}, "ALERT_WEBHOOK_URL"),
        ({"ALERT_WEBHOOK_URL": "https://example.com"}, "ALERT_WEBHOOK_SECRET"),
        ({"ALERT_EMAILS": "olga@example.com,otto"}, "ALERT_EMAILS"),
        ({"DIGEST_EVERY_S": "0"}, "DIGEST_EVERY_S"),
        ({"EMAIL_URL": "https://example.com"}, "EMAIL_URL"),
    ],
)
def test_a_setting_that_cannot_be_stops_the_start_and_is_named(wrong, said):
    env = os.environ | {"DATABASE_URL": "postgres://nobody@127.0.0.1:1/none", "SECRET_KEY": "x" * 32} | wrong
    done = subprocess.run(
        [sys.executable, "-c", "import config.settings"],
        cwd=BASE_DIR,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert said in done.stderr


def test_what_is_asked_after_a_step_is_found_by_the_path_that_deployments_have():
    from django.conf import settings
    from django.utils.module_loading import import_string

    assert settings.AFTER_STEP in ("", "monitoring.policy.after_step")
    assert callable(import_string("monitoring.policy.after_step"))
