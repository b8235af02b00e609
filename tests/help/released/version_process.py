"""A process of this version or of a later one, for tests that run both.

    python -m tests.help.released.version_process present|later learner       learns shard 0 until it is killed
    python -m tests.help.released.version_process present|later web           serves the API, and prints its port
    python -m tests.help.released.version_process present|later verify        runs `checkpoint verify`

The later version is this code with the next FOLD_VERSION, one field more in the screen's configuration, and one more
in each part of the published view. So it stores states that this version must refuse, and publishes views that this
version must read.
"""

import logging
import sys
import time
from wsgiref.simple_server import WSGIRequestHandler, make_server

import django
import msgspec

LATER_RELEASE = "9.9.0"


def become_later() -> None:
    """Turn the code of this process into a later version."""
    from recommender.core import state_versions
    from recommender.core.fold import pipeline_state
    from recommender.learning import pipeline_settings
    from recommender.publishing import published_boards, publisher
    from tests.help.released.changed_config import with_a_field

    state_versions.FOLD_VERSION += 1
    state_versions.RELEASES[state_versions.FOLD_VERSION] = LATER_RELEASE
    config = with_a_field("screen")
    pipeline_state.Config = pipeline_settings.Config = config  # type: ignore[misc]
    pipeline_settings.ScreenConfig = type(config().screen)  # type: ignore[misc]
    for name in ("Head", "PublishedBoard"):
        kind = getattr(published_boards, name)
        later = msgspec.defstruct(f"Later{name}", [("mood", str, "fair")], bases=(kind,), frozen=True)
        setattr(published_boards, name, later)
        setattr(publisher, name, later)


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None:
        pass


def learn() -> None:
    """Wake the learner of shard 0 again and again."""
    from recommender import tasks

    _say("up")
    while True:
        tasks.learn(0)
        time.sleep(0.02)


def serve() -> None:
    """Serve the API on a free port of this machine."""
    from config.wsgi import application

    with make_server("127.0.0.1", 0, application, handler_class=_Quiet) as server:
        _say(str(server.server_port))
        server.serve_forever()


def verify() -> None:
    """Verify the active checkpoint."""
    from django.core.management import call_command

    call_command("checkpoint", "verify")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main(version: str, role: str) -> None:
    """Run a role in a version."""
    django.setup()
    logging.getLogger("django.request").setLevel(logging.CRITICAL)
    if version == "later":
        become_later()
    {"learner": learn, "web": serve, "verify": verify}[role]()


if __name__ == "__main__":
    main(*sys.argv[1:])
