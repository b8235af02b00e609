"""The site before the tests look: a morning of readers, pushes, and four people.

Fresh accounts push some items. `python -m tests.browser.world` puts this into the database of GROUNDSWELL_HOME, where
the running learner finds it. The morning is written with its own times, which the API would not allow. Events during
the tests are sent through the API.
"""

import django

HELD = ("target", "school-trip", "by-hand", "by-keys")  # items, each pushed by accounts of its own
PASSWORD = "a pass phrase of the browser's tests"
PEOPLE = {"vera": "viewer", "rita": "reviewer", "otto": "operator"}
ROOT = "olga"
N_BOTS = 120
_MINUTE_MS = 60_000


def main() -> None:
    django.setup()
    from django.contrib.auth import get_user_model

    from monitoring import roles
    from tests.help.attacked_site import push, site, write
    from tests.help.streams import HOUR, T0

    accounts = get_user_model().objects
    accounts.create_superuser(ROOT, password=PASSWORD)
    for name, role in PEOPLE.items():
        accounts.create_user(name, password=PASSWORD)
        roles.assign(username=name, role=role, by="policy")
    stream = site()
    for number, item in enumerate(HELD):
        push(stream, item, N_BOTS, name=f"at-{item}", at_ms=T0 + HOUR + number * 12 * _MINUTE_MS)
    write(stream)


if __name__ == "__main__":
    main()
