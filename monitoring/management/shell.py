"""What commands that decide something have in common: who typed them."""

import getpass
import os


def shell_account() -> str:
    """Who decides, as `monitoring.reviews` writes it: `shell:` and the account of the operating system."""
    try:
        return f"shell:{getpass.getuser()}"
    except (OSError, KeyError, ImportError):  # a container's user without a name
        return f"shell:uid-{os.getuid()}"
