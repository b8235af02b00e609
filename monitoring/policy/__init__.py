"""What is done without a person when quality falls: alarms, a freeze, a proposed revert, a thaw."""
