"""Every setting of Groundswell, read once from the environment; a value that cannot be right stops the start.

The first run needs none of them: without `DATABASE_URL` the private PostgreSQL and Valkey of `config.embedded`
are used and the secret key is made there. Naming a server switches to it: then `SECRET_KEY` must be set too.
docs/settings.md lists every setting; a test keeps the two together.
"""

import logging
import os
from pathlib import Path
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured
from django.templatetags.static import static
from environs import Env
from marshmallow import ValidationError
from marshmallow.validate import Email, Length, OneOf, Range

from config import embedded
from recommender.learning import checkpoint_retention


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
        raise ValidationError("must be http:// or https:// and a host, without user or fragment")


def _is_schedule(value: str) -> None:
    try:
        checkpoint_retention.parse(value)
    except ValueError as error:
        raise ValidationError(str(error)) from None


BASE_DIR = Path(__file__).resolve().parent.parent
env = Env()
home = embedded.Home.of_project(BASE_DIR)

# -- servers -----------------------------------------------------------------------------------------------------
# PostgreSQL, as postgres://user:password@host:port/name. Default: the private one of a first run.
DATABASES = {"default": env.dj_db_url("DATABASE_URL", default=home.database_url)}
IS_FIRST_RUN = "DATABASE_URL" not in os.environ
# What wakes the learner: redis://, redis+socket:// or amqp://. Default: the private Valkey.
BROKER_URL = env.str("BROKER_URL", default=home.broker_url)
# Where the published view lives: redis://, rediss:// or unix://. Default: the private Valkey.
VIEW_URL = env.str("VIEW_URL", default=home.view_url)
# Signs sessions and keys the hashes; at least 32 characters. Default in a first run: made once and kept.
SECRET_KEY = env.str("SECRET_KEY", default=home.secret_key() if IS_FIRST_RUN else "")
if len(SECRET_KEY) < 32:
    raise ImproperlyConfigured("SECRET_KEY must be set to at least 32 random characters when DATABASE_URL is set.")
# Shows tracebacks in the browser; never on a machine others can reach.
DEBUG = env.bool("DEBUG", default=False)
# Host names this site answers to, separated by commas.
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"])
# Origins (https://host) whose forms the console accepts, when it stands behind a proxy.
CSRF_TRUSTED_ORIGINS: list[str] = env.list("CSRF_TRUSTED_ORIGINS", default=[])
# Whether people come by https only: cookies are sent over nothing else, and the proxy is asked (X-Forwarded-Proto).
HTTPS = env.bool("HTTPS", default=False)

# -- what is accepted --------------------------------------------------------------------------------------------
# Largest body of a request, in bytes, as sent; and after unpacking gzip.
MAX_BODY_BYTES = env.int("MAX_BODY_BYTES", default=16 * 2**20, validate=Range(min=2**10))
MAX_INFLATED_BYTES = env.int("MAX_INFLATED_BYTES", default=64 * 2**20, validate=Range(min=2**10))
# Days the log is kept; an event claiming to be older is rejected.
RETENTION_DAYS = env.int("RETENTION_DAYS", default=30, validate=Range(min=1))
# Folder that partitions leaving retention are archived to, as Parquet. Empty: they are dropped.
ARCHIVE_DIR = env.str("ARCHIVE_DIR", default="")
# Unlearned events past which ingest answers 429.
BACKLOG_LIMIT = env.int("BACKLOG_LIMIT", default=2_000_000, validate=Range(min=1))
# Whether an accepted event must survive a power cut ("on") or only a crash of the process ("off").
SYNCHRONOUS_COMMIT = env.str("SYNCHRONOUS_COMMIT", default="on", validate=OneOf(["on", "off"]))

# -- what is learned (a new value takes effect with `manage.py model rebuild`) -----------------------------------
# Half-lives kept at once, in seconds: the learning rates of the counts. The first one is served.
HALF_LIVES_S = env.list(
    "HALF_LIVES_S", subcast=int, default=[300, 3600, 21600], validate=[Length(min=1, max=8), _all_positive]
)
# Half-life of the links between items.
LINK_HALF_LIFE_S = env.int("LINK_HALF_LIFE_S", default=1800, validate=Range(min=1))
# Within this many seconds an actor's acts on one item are one unit.
HORIZON_S = env.int("HORIZON_S", default=86_400, validate=Range(min=60))
# Units one actor may have in all counts together, in unit weights.
ACTOR_BUDGET = env.int("ACTOR_BUDGET", default=200, validate=Range(min=1))
# Of all actors, whose acts are predicted and never counted.
CANARY_SHARE = env.float("CANARY_SHARE", default=0.01, validate=Range(min=0.0, max=0.2))
# Of all actors, whose own list is asked before each of their acts: what personalised lists are judged by.
PERSONAL_SHARE = env.float("PERSONAL_SHARE", default=0.05, validate=Range(min=0.0, max=1.0))
# What an act of an actor never seen before weighs; trust is earned from there. 1 switches trust off.
TRUST_FLOOR = env.float("TRUST_FLOOR", default=0.05, validate=Range(min=0.001, max=1.0))
# Whether events are screened before they are learned.
SCREEN = env.bool("SCREEN", default=True)
# How old an event may claim to be and still count at its own time, in seconds.
LATENESS_S = env.int("LATENESS_S", default=86_400, validate=Range(min=0))

# -- what is shown -----------------------------------------------------------------------------------------------
# Share of the places of a recommendation that go to items just published, to find out about them.
EXPLORE_SHARE = env.float("EXPLORE_SHARE", default=0.05, validate=Range(min=0.0, max=0.5))

# -- how it learns -----------------------------------------------------------------------------------------------
# Learners side by side; actors are divided among them.
SHARDS = env.int("SHARDS", default=1, validate=Range(min=1, max=64))
# Most events in one step.
STEP_EVENTS = env.int("STEP_EVENTS", default=8192, validate=Range(min=1, max=65_536))
# Seconds between two wakes of a learner by beat.
WAKE_EVERY_S = env.float("WAKE_EVERY_S", default=0.25, validate=Range(min=0.05))
# Seconds between two publications of the view, at least.
PUBLISH_EVERY_S = env.float("PUBLISH_EVERY_S", default=0.2, validate=Range(min=0.0))
# Seconds between two checkpoints, at least; never more than a twentieth of the time goes into them.
CHECKPOINT_EVERY_S = env.float("CHECKPOINT_EVERY_S", default=5.0, validate=Range(min=0.0))
# Checkpoints kept of every shard, as interval:age in seconds, finest first; pinned ones are kept whatever their age.
CHECKPOINT_SCHEDULE = checkpoint_retention.parse(
    env.str("CHECKPOINT_SCHEDULE", default="5:300,60:7200,3600:172800,86400:2419200", validate=_is_schedule)
)
# Bytes of checkpoints kept of every shard, past which the finest tiers of the schedule give way.
CHECKPOINTS_MAX_BYTES = env.int("CHECKPOINTS_MAX_BYTES", default=4 * 2**30, validate=Range(min=2**20))

# Whether a list without any defence is learned beside, for the console to show what the defence held back.
SHADOW = env.bool("SHADOW", default=False)

# -- when quality falls ------------------------------------------------------------------------------------------
# What is asked after every step, as a dotted path; empty: nothing.
AFTER_STEP = env.str("AFTER_STEP", default="monitoring.policy.after_step")
# Seconds between two rows of figures, at least; never more than a fiftieth of the time goes into them.
WATCH_EVERY_S = env.float("WATCH_EVERY_S", default=5.0, validate=Range(min=0.0))
# Whether learning is frozen without a person when two independent signals agree.
AUTO_FREEZE = env.bool("AUTO_FREEZE", default=True)
# Whether such a freeze ends by itself.
AUTO_THAW = env.bool("AUTO_THAW", default=True)
# Whether what is suspected is taken out without a person, from the last checkpoint before the change.
AUTO_REVERT = env.bool("AUTO_REVERT", default=False)
# Seconds of an hour that may be spent frozen without a person.
FREEZE_BUDGET_S = env.float("FREEZE_BUDGET_S", default=30.0, validate=Range(min=0.0))
# Freezes without a person in 24 hours, at most.
FREEZES_A_DAY = env.int("FREEZES_A_DAY", default=4, validate=Range(min=0))
# Seconds for which the same alarm is not raised again.
ALARM_EVERY_S = env.float("ALARM_EVERY_S", default=900.0, validate=Range(min=0.0))
# Seconds the learner may be behind before that is an alarm.
LAG_ALARM_S = env.float("LAG_ALARM_S", default=60.0, validate=Range(min=1.0))

# -- the batch cycle ---------------------------------------------------------------------------------------------
# Hours between two trials of challengers against the model that learns (`manage.py retrain`); 0: none by itself.
RETRAIN_EVERY_H = env.int("RETRAIN_EVERY_H", default=0, validate=Range(min=0, max=24 * 365))
# Whether a challenger that won is promoted at once ("auto"), waits for a person ("ask"), or is only told ("never").
RETRAIN_PROMOTE = env.str("RETRAIN_PROMOTE", default="ask", validate=OneOf(["auto", "ask", "never"]))
# By how much a challenger's hit rate must be higher.
RETRAIN_MARGIN = env.float("RETRAIN_MARGIN", default=0.005, validate=Range(min=0.0, max=1.0))
# MiB of memory a trial may take; the least is one Pipeline and its copy.
RETRAIN_MEMORY_MB = env.int("RETRAIN_MEMORY_MB", default=4096, validate=Range(min=512))

# -- who is told -------------------------------------------------------------------------------------------------
# Where alerts are POSTed, and the secret they are signed with (at least 16 characters). Default: nowhere.
ALERT_WEBHOOK_URL = env.str("ALERT_WEBHOOK_URL", default="", validate=_is_web_address)
ALERT_WEBHOOK_SECRET = env.str("ALERT_WEBHOOK_SECRET", default="")
if ALERT_WEBHOOK_URL and len(ALERT_WEBHOOK_SECRET) < 16:
    raise ImproperlyConfigured("ALERT_WEBHOOK_SECRET must have at least 16 characters when ALERT_WEBHOOK_URL is set.")
# Who gets alerts by mail, separated by commas. Default: nobody.
ALERT_EMAILS: list[str] = env.list("ALERT_EMAILS", default=[], validate=lambda emails: [*map(Email(), emails)])
# Seconds of alerts that are put into one mail; a freeze is mailed at once.
DIGEST_EVERY_S = env.int("DIGEST_EVERY_S", default=600, validate=Range(min=1))
# The mail server: smtp://user:password@host:port, submission:// for STARTTLS, console:// to print.
_mail = env.dj_email_url("EMAIL_URL", default="smtp://localhost:25")
# Whom the mails come from.
EMAIL_FROM = env.str("EMAIL_FROM", default="groundswell@localhost")

# -- the console -------------------------------------------------------------------------------------------------
# Panels that other packages offer to the overview, as dotted paths separated by commas; empty: none.
OVERVIEW_PANELS: list[str] = env.list("OVERVIEW_PANELS", default=["recommender.lab.demo.panel.PANEL"])

# -- Django ------------------------------------------------------------------------------------------------------
DATABASES["default"] |= {
    "CONN_MAX_AGE": None,
    "OPTIONS": {
        "connect_timeout": 3,
        # a host that silently went away is given up after seconds, not hours
        "keepalives_idle": 10,
        "tcp_user_timeout": 10_000,
        # The reader of the log relies on no statement of a writer outliving this: recommender/log/event_log.py.
        "options": f"-c statement_timeout=60000 -c synchronous_commit={SYNCHRONOUS_COMMIT} -c timezone=UTC",
    },
}
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
# The pages' chain; /api/, /health/ and /metrics run without any (config/wsgi.py).
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
LOGIN_REDIRECT_URL = "console:overview"  # who signs in without having been sent there from a page
SESSION_COOKIE_HTTPONLY = CSRF_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"  # strict would sign out who follows a link from a message
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
    "COLORS": lambda _request: {},  # theme.css has them; the theme would write them into every page
    "STYLES": [lambda _request: static("console/theme.css")],
    "SCRIPTS": [lambda _request: static("console/strict.js")],
    "SIDEBAR": {"navigation": "monitoring.console.navigation.of"},
}
LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "static"
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
    "VERSION": "1",
    "DESCRIPTION": "Click events in, trending items out a second later.",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    # sets of choices that would share a name
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
}
