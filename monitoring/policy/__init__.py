"""The policy: actions without a person when quality falls.

These are alarms, a freeze, a proposed revert and a thaw. `after_step` is exported here, because deployments name it
in AFTER_STEP by this path.
"""

from monitoring.policy.enforcement import after_step

__all__ = ["after_step"]
