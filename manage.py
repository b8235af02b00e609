#!/usr/bin/env python
"""Groundswell's command line in a checkout: `manage.py help` lists the commands."""

from config.command_line import main

if __name__ == "__main__":
    main()
