"""Choose which origin of an event people may read.

The functions run before the event is written, and after its keys are made. So they change no key and no digest.
"""


def shown_ip(ip: str | None) -> str | None:
    """Return the address as it is stored."""
    return ip


def shown_agent(user_agent: str | None) -> str | None:
    """Return the user agent as it is stored."""
    return user_agent


def shown_referrer(referrer: str | None) -> str | None:
    """Return the referrer as it is stored."""
    return referrer
