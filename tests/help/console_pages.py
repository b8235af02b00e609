"""Helpers of the console's tests: a signed-in user, and a model that has learned."""

from django.test import Client

from monitoring.models import Review
from recommender.learning import learner
from recommender.log import event_log
from recommender.models import Checkpoint
from tests.help.log_rows import clicks


def signed_in(user) -> Client:
    client = Client()
    client.force_login(user)
    return client


def page(client, address, status=200) -> str:
    """Return the text of a page, and check its status."""
    answer = client.get(address)
    assert answer.status_code == status, answer.content[-2000:]
    return answer.content.decode()


def learn_twice() -> Checkpoint:
    """Learn twenty readers of a story, then twenty of mal's item.

    Returns the checkpoint between the two.
    """
    for batch in (clicks(20), clicks(20, start=20, item="mal's")):
        event_log.append(batch)
        learner.learn(0)
    return Checkpoint.objects.order_by("step")[1]


def decided() -> list[Review]:
    """Return the decisions, oldest first.

    Decisions that gave accounts their roles are left out.
    """
    return list(Review.objects.exclude(action=Review.Action.SETTINGS).order_by("id"))
