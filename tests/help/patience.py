"""Wait for other processes and threads.

The limit is long enough for any machine. A wait ends as soon as its condition is true.
"""

import time

PATIENCE_S = 180.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.005, 0.1


def wait_for(condition, *, within_s: float = PATIENCE_S):
    """Return the condition's first true answer, or fail if there is none."""
    deadline, pause_s = time.monotonic() + within_s, _FIRST_PAUSE_S
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"nothing came of {condition} in {within_s} s"
        time.sleep(pause_s)
        pause_s = min(1.5 * pause_s, _LONGEST_PAUSE_S)
    return answer
