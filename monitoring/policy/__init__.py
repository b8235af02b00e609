"""What is done without a person when quality falls: alarms, a freeze, a proposed revert, a thaw.

`after_step` is handed on because deployments name it in AFTER_STEP by this path.
"""

from monitoring.policy.enforcement import after_step

__all__ = ["after_step"]
