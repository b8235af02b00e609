"""Messages to people: recorded with the change that they report, delivered later."""
