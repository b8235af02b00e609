"""Every setting of Groundswell, read once from the environment.

A value that cannot be right stops the start. The first run needs no setting. Without `DATABASE_URL`, Groundswell uses
the private PostgreSQL and Valkey of `config.embedded` and makes the secret key there. With `DATABASE_URL`, it uses
your server, and you must set `SECRET_KEY` too. docs/reference/settings.md lists every setting. A test compares the
two.
"""

import logging
import re
import sys
from collections.abc import Callable
from typing import TypeVar
from urllib.parse import urlsplit

import dj_email_url
from django.core.exceptions import ImproperlyConfigured
from django.templatetags.static import static
from environs import Env
from marshmallow import ValidationError
from marshmallow.validate import Email, Length, OneOf, Range

from config import __version__, embedded, places
from config.addresses import broker_address, database_address
from config.addresses.secret_files import SecretUnreadable, is_set, read_secret
from config.places import BASE_DIR, IS_CHECKOUT, WORK_DIR
from recommender.connections import store_address
from recommender.learning.checkpoints import retention_tiers

T = TypeVar("T")


def _all_positive(values: list[int]) -> None:
    if min(values, default=1) < 1:
        raise ValidationError("each must be at least 1")


def _is_web_address(value: str) -> None:
    try:
        parts = urlsplit(value)
        is_one = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        is_one = False
    if value and (not is_one or parts.fragment or parts.username or not value.isprintable() or " " in value):
        raise ValidationError("must be http:// or https:// with a host, and without user and fragment")


def _is_id_secret(value: str) -> None:
    if value and len(value) < 32:
        raise ValidationError("must be 32 hex digits, or a text of at least 32 characters")


def _is_schedule(value: str) -> None:
    try:
        retention_tiers.parse(value)
    except ValueError as error:
        raise ValidationError(str(error)) from None


def _is_store(value: str) -> None:
    if value and not re.fullmatch(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[\w!.*'()-]+)*/?", value):
        raise ValidationError(f"{value} is not a bucket and a prefix: write it like s3://bucket/checkpoints")


def _checked(name: str, url: str, check: Callable[[str], T]) -> T:
    try:
        return check(url)
    except ValueError as error:
        raise ImproperlyConfigured(f"{name} cannot be used: {error}.") from None


class _Environment(Env):
    def secret(self, name: str, *, default: str, validate: Callable[[str], None] | None = None) -> str:
        """Return a secret, which may be in a file."""
        try:
            value = read_secret(name) or default
            if validate:
                validate(value)
        except SecretUnreadable as error:
            raise ImproperlyConfigured(str(error)) from None
        except ValidationError as error:
            raise ImproperlyConfigured(f"{name} cannot be used: {'; '.join(map(str, error.messages))}.") from None
        return value


env = _Environment()
home = embedded.Home.of_project(WORK_DIR)
places.choose_numba_cache(home.path)
# How a person types a command here, for messages.
COMMAND, RUN = places.COMMAND, places.RUN

# -- servers -----------------------------------------------------------------------------------------------------
# Each of these, and the other secrets below, may be in a file that NAME_FILE names.
# PostgreSQL, as postgres://user:password@host:port/name and libpq's options. Default: the private one of a first run.
DATABASE_URL = env.secret("DATABASE_URL", default=home.database_url)
IS_FIRST_RUN = not is_set("DATABASE_URL")
# The broker that wakes the learner: redis://, redis+sentinel://, redis+socket:// or amqp://. Default: the private
# Valkey.
BROKER_URL = env.secret("BROKER_URL", default=home.broker_url)
BROKER = _checked("BROKER_URL", BROKER_URL, broker_address.parse)  # Celery's settings of it
# The store of the published boards: redis://, redis+sentinel:// or unix://. Default: the private Valkey.
VIEW_URL = env.secret("VIEW_URL", default=home.view_url)
_checked("VIEW_URL", VIEW_URL, store_address.check)
# Signs sessions, ids of lists and heads of the audit chain. At least 32 characters. Default in a first run: made once
# and kept.
SECRET_KEY = env.secret("SECRET_KEY", default=home.secret_key() if IS_FIRST_RUN else "")
if len(SECRET_KEY) < 32:
    raise ImproperlyConfigured("SECRET_KEY must be set to at least 32 random characters when DATABASE_URL is set.")
# Former secret keys, separated by commas. What they signed stays valid, and nothing new is signed with them.
SECRET_KEY_FALLBACKS: list[str] = env.list("SECRET_KEY_FALLBACKS", default=[])
# Keys the hashes of ids, for as long as the database lives. 32 hex digits, as `ids secret` prints them, or a text of
# at least 32 characters. Default: made from SECRET_KEY.
ID_SECRET = env.secret("ID_SECRET", default="", validate=_is_id_secret)
# Show tracebacks in the browser. Never set this on a machine that others can reach.
DEBUG = env.bool("DEBUG", default=False)
# Host names of this site, separated by commas.
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"])
# Origins (https://host) whose forms the console accepts. Set this behind a proxy.
CSRF_TRUSTED_ORIGINS: list[str] = env.list("CSRF_TRUSTED_ORIGINS", default=[])
# Set this if people come by https only. Cookies are then sent over https only, and X-Forwarded-Proto of the proxy is
# trusted.
HTTPS = env.bool("HTTPS", default=False)

# -- intake ------------------------------------------------------------------------------------------------------
# Largest body of a request in bytes: as sent, and after unpacking gzip.
MAX_BODY_BYTES = env.int("MAX_BODY_BYTES", default=16 * 2**20, validate=Range(min=2**10))
MAX_INFLATED_BYTES = env.int("MAX_INFLATED_BYTES", default=64 * 2**20, validate=Range(min=2**10))
# Days the log is kept. An event that claims to be older is rejected.
RETENTION_DAYS = env.int("RETENTION_DAYS", default=30, validate=Range(min=1))
# Folder for partitions that leave retention, archived as Parquet. If it is empty, they are dropped.
ARCHIVE_DIR = env.str("ARCHIVE_DIR", default="")
# Parts of an event's address, user agent and referrer that people may read: "raw" (all), "truncated" (network, family
# and host) or "none". The model is the same with each.
PRIVACY = env.str("PRIVACY", default="truncated", validate=OneOf(["raw", "truncated", "none"]))
# Most events that may wait to be learned. Above this, ingest answers 429.
BACKLOG_LIMIT = env.int("BACKLOG_LIMIT", default=2_000_000, validate=Range(min=1))
# Seconds after which a process opens its connection to PostgreSQL anew.
CONNECTION_MAX_AGE_S = env.int("CONNECTION_MAX_AGE_S", default=600, validate=Range(min=0))
# Most bytes that the database may have on its disk. Warnings begin before. 0: unknown.
DATABASE_MAX_BYTES = env.int("DATABASE_MAX_BYTES", default=0, validate=Range(min=0))
# "on": an accepted event survives a power cut. "off": it only survives a crash of the process.
SYNCHRONOUS_COMMIT = env.str("SYNCHRONOUS_COMMIT", default="on", validate=OneOf(["on", "off"]))

# -- the model (a new value takes effect with `manage.py model rebuild`) -----------------------------------------
# Half-lives that are all kept, in seconds: the learning rates of the counts. The first one is served.
HALF_LIVES_S = env.list(
    "HALF_LIVES_S", subcast=int, default=[300, 3600, 21600], validate=[Length(min=1, max=8), _all_positive]
)
# Half-life of the links between items, in seconds.
LINK_HALF_LIFE_S = env.int("LINK_HALF_LIFE_S", default=1800, validate=Range(min=1))
# Within this many seconds, all acts of one actor on one item count as one unit.
HORIZON_S = env.int("HORIZON_S", default=86_400, validate=Range(min=60))
# Most units that one actor may have in all counts together, in unit weights.
ACTOR_BUDGET = env.int("ACTOR_BUDGET", default=200, validate=Range(min=1))
# Share of actors whose acts are predicted and never counted.
CANARY_SHARE = env.float("CANARY_SHARE", default=0.01, validate=Range(min=0.0, max=0.2))
# Share of actors whose own list is computed before each of their acts. It measures the quality of personalised lists.
PERSONAL_SHARE = env.float("PERSONAL_SHARE", default=0.05, validate=Range(min=0.0, max=1.0))
# Weight of an act by a newcomer. Actors earn trust from there. 1 switches trust off.
TRUST_FLOOR = env.float("TRUST_FLOOR", default=0.05, validate=Range(min=0.001, max=1.0))
# Screen events before they are learned.
SCREEN = env.bool("SCREEN", default=True)
# Greatest age, in seconds, at which an event still counts at the time it claims.
LATENESS_S = env.int("LATENESS_S", default=86_400, validate=Range(min=0))

# -- lists -------------------------------------------------------------------------------------------------------
# Share of the places of a recommendation that go to newly published items, to learn how readers like them.
EXPLORE_SHARE = env.float("EXPLORE_SHARE", default=0.05, validate=Range(min=0.0, max=0.5))

# -- the learner -------------------------------------------------------------------------------------------------
# Number of learners that run in parallel. The actors are divided among them.
SHARDS = env.int("SHARDS", default=1, validate=Range(min=1, max=64))
# Most events in one step.
STEP_EVENTS = env.int("STEP_EVENTS", default=8192, validate=Range(min=1, max=65_536))
# Seconds between two wakes of a learner by beat.
WAKE_EVERY_S = env.float("WAKE_EVERY_S", default=0.25, validate=Range(min=0.05))
# Least seconds between two publications of the boards.
PUBLISH_EVERY_S = env.float("PUBLISH_EVERY_S", default=0.2, validate=Range(min=0.0))
# Least seconds between two checkpoints. Checkpoints never take more than a twentieth of the time.
CHECKPOINT_EVERY_S = env.float("CHECKPOINT_EVERY_S", default=5.0, validate=Range(min=0.0))
# Checkpoints kept of every shard, as interval:age in seconds, finest first. Pinned ones are kept at any age.
CHECKPOINT_SCHEDULE = retention_tiers.parse(
    env.str("CHECKPOINT_SCHEDULE", default="5:300,60:7200,3600:172800,86400:2419200", validate=_is_schedule)
)
# Most bytes of checkpoints kept of every shard. Above this, the finest tiers of the schedule are thinned first.
CHECKPOINTS_MAX_BYTES = env.int("CHECKPOINTS_MAX_BYTES", default=4 * 2**30, validate=Range(min=2**20))

# Where the pieces of checkpoints are kept: s3://bucket/prefix. Empty: in PostgreSQL.
CHECKPOINT_STORE = env.str("CHECKPOINT_STORE", default="", validate=_is_store)
# Days that a piece without a checkpoint stays in the object store, because a dump may still name it.
BACKUP_KEEP_DAYS = env.int("BACKUP_KEEP_DAYS", default=7, validate=Range(min=0))
# Write checkpoints in a forked process, so that learning goes on meanwhile. Default: on Linux.
CHECKPOINT_FORK = env.bool("CHECKPOINT_FORK", default=sys.platform == "linux")

# Learn an undefended list too. The console then shows how the defence changed the list.
SHADOW = env.bool("SHADOW", default=False)

# -- when quality falls ------------------------------------------------------------------------------------------
# Dotted path of the function that is called after every step. Empty: no call.
AFTER_STEP = env.str("AFTER_STEP", default="monitoring.policy.after_step")
# Least seconds between two rows of quality figures. Computing them never takes more than a fiftieth of the time.
WATCH_EVERY_S = env.float("WATCH_EVERY_S", default=5.0, validate=Range(min=0.0))
# Freeze learning automatically when two independent signals agree.
AUTO_FREEZE = env.bool("AUTO_FREEZE", default=True)
# End such a freeze automatically.
AUTO_THAW = env.bool("AUTO_THAW", default=True)
# Remove suspected events automatically, starting from the last checkpoint before the change.
AUTO_REVERT = env.bool("AUTO_REVERT", default=False)
# Most seconds per hour that learning may be frozen automatically.
FREEZE_BUDGET_S = env.float("FREEZE_BUDGET_S", default=30.0, validate=Range(min=0.0))
# Most automatic freezes in 24 hours.
FREEZES_A_DAY = env.int("FREEZES_A_DAY", default=4, validate=Range(min=0))
# Seconds before the same alarm may be raised again.
ALARM_EVERY_S = env.float("ALARM_EVERY_S", default=900.0, validate=Range(min=0.0))
# Seconds the learner may be behind before an alarm is raised.
LAG_ALARM_S = env.float("LAG_ALARM_S", default=60.0, validate=Range(min=1.0))

# -- the batch cycle ---------------------------------------------------------------------------------------------
# Hours between two trials of challengers against the model in use (`manage.py retrain`). 0: no automatic trials.
RETRAIN_EVERY_H = env.int("RETRAIN_EVERY_H", default=0, validate=Range(min=0, max=24 * 365))
# After a challenger won: promote it at once ("auto"), wait for a person ("ask"), or only report it ("never").
RETRAIN_PROMOTE = env.str("RETRAIN_PROMOTE", default="ask", validate=OneOf(["auto", "ask", "never"]))
# Least lead in hit rate that a challenger needs to win.
RETRAIN_MARGIN = env.float("RETRAIN_MARGIN", default=0.005, validate=Range(min=0.0, max=1.0))
# MiB of memory that a trial may take. It always takes at least one Pipeline and its copy.
RETRAIN_MEMORY_MB = env.int("RETRAIN_MEMORY_MB", default=4096, validate=Range(min=512))

# -- alerts ------------------------------------------------------------------------------------------------------
# The URL that alerts are POSTed to, and the secret that signs them (at least 16 characters). Default: no webhook.
ALERT_WEBHOOK_URL = env.str("ALERT_WEBHOOK_URL", default="", validate=_is_web_address)
ALERT_WEBHOOK_SECRET = env.secret("ALERT_WEBHOOK_SECRET", default="")
if ALERT_WEBHOOK_URL and len(ALERT_WEBHOOK_SECRET) < 16:
    raise ImproperlyConfigured("ALERT_WEBHOOK_SECRET must have at least 16 characters when ALERT_WEBHOOK_URL is set.")
# Addresses that get alerts by mail, separated by commas. Default: none.
ALERT_EMAILS: list[str] = env.list("ALERT_EMAILS", default=[], validate=lambda emails: [*map(Email(), emails)])
# Seconds of alerts that are collected into one mail. A freeze is mailed at once.
DIGEST_EVERY_S = env.int("DIGEST_EVERY_S", default=600, validate=Range(min=1))
# The mail server: smtp://user:password@host:port, submission:// for STARTTLS, console:// to print.
_mail = dj_email_url.parse(env.secret("EMAIL_URL", default="smtp://localhost:25"))
# The sender of the mails.
EMAIL_FROM = env.str("EMAIL_FROM", default="groundswell@localhost")

# -- the console -------------------------------------------------------------------------------------------------
# Panels that other packages add to the overview, as dotted paths separated by commas. Empty: none.
OVERVIEW_PANELS: list[str] = env.list("OVERVIEW_PANELS", default=["recommender.lab.demo.panel.PANEL"])

# -- Django ------------------------------------------------------------------------------------------------------
_SESSION = {
    # The reader of the log relies on this timeout: no statement of a writer lasts longer
    # (recommender/log/event_log.py).
    "statement_timeout": "60000",
    "synchronous_commit": SYNCHRONOUS_COMMIT,
    "timezone": "UTC",
}
DATABASES = {"default": database_address.parse(DATABASE_URL, _SESSION)}
# A connection kept for ever lets the memory of the server's process grow, and outlives a change of the server.
DATABASES["default"] |= {"CONN_MAX_AGE": CONNECTION_MAX_AGE_S, "CONN_HEALTH_CHECKS": True}
if "EMAIL_BACKEND" not in _mail:
    raise ImproperlyConfigured("EMAIL_URL must begin with smtp://, submission:// or console://.")
EMAIL_BACKEND = _mail["EMAIL_BACKEND"]
EMAIL_HOST, EMAIL_PORT = _mail["EMAIL_HOST"] or "localhost", _mail["EMAIL_PORT"] or 25
EMAIL_HOST_USER, EMAIL_HOST_PASSWORD = _mail["EMAIL_HOST_USER"] or "", _mail["EMAIL_HOST_PASSWORD"] or ""
EMAIL_USE_TLS, EMAIL_USE_SSL = _mail["EMAIL_USE_TLS"], _mail["EMAIL_USE_SSL"]
EMAIL_TIMEOUT = 5
DEFAULT_FROM_EMAIL = SERVER_EMAIL = EMAIL_FROM
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = [
    "unfold",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.postgres",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "recommender",
    "monitoring",
]
# Middleware of the pages. /api/, /health/ and /metrics run without any (config/wsgi.py).
MIDDLEWARE = [
    "config.csp.ContentSecurityPolicy",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator")
]
LOGIN_REDIRECT_URL = "console:overview"  # the page after a sign-in that no other page asked for
SESSION_COOKIE_HTTPONLY = CSRF_COOKIE_HTTPONLY = True
# strict would sign you out when you follow a link from a message
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if HTTPS else None
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
UNFOLD = {
    "SITE_TITLE": "Groundswell",
    "SITE_HEADER": "Groundswell",
    "SITE_SYMBOL": "waves",
    "COLORS": lambda _request: {},  # theme.css has them, so the theme need not write them into every page
    "STYLES": [lambda _request: static("console/theme.css")],
    "SCRIPTS": [lambda _request: static("console/strict.js")],
    "SIDEBAR": {"navigation": "monitoring.console.navigation.of"},
}
LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
STATIC_URL = "/static/"
STATIC_ROOT = (BASE_DIR if IS_CHECKOUT else home.path) / "static"
WHITENOISE_USE_FINDERS = True
APPEND_SLASH = False

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["recommender.api.api_keys.KeyAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["recommender.api.api_keys.HasScope"],
    "DEFAULT_PARSER_CLASSES": ["recommender.intake.request_bodies.JSONBody"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "recommender.errors.answer",
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Groundswell",
    "VERSION": __version__,
    "DESCRIPTION": "Send click events and read the trending items a second later.",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    # names for sets of choices that would otherwise share one
    "ENUM_NAME_OVERRIDES": {
        "EventKindEnum": "recommender.api.openapi.KIND_CHOICES",
        "FindingKindEnum": "monitoring.models.Finding.Kind",
        "FindingStateEnum": "monitoring.models.Finding.State",
        "RevertStateEnum": "recommender.models.Revert.State",
        "LearningEnum": "recommender.models.Learner.State",
    },
}
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    "filters": {"probes": {"()": "config.logs.WithoutProbes"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line", "filters": ["probes"]}},
    "root": {"handlers": ["stderr"], "level": env.log_level("LOG_LEVEL", default=logging.INFO)},
    "loggers": {"botocore": {"level": logging.WARNING}},  # it says where it found its credentials, at every client
}
