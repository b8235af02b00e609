"""Acts that operators do at once, and the decision recorded of them."""

import threading

from django.db import connection

from monitoring.models import Review
from tests.help.patience import PATIENCE_S

WHY = {"by": "shell:olga", "note": "hit rate fell"}


def only_review():
    (review,) = Review.objects.all()
    return review


def at_once(*calls):
    """Run calls in threads of their own, with real transactions.

    Returns the result or the exception of each call.
    """
    barrier, outcomes = threading.Barrier(len(calls)), []

    def run(call):
        try:
            barrier.wait()
            outcomes.append(call())
        except Exception as error:
            outcomes.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=[call]) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=PATIENCE_S)
    return outcomes
