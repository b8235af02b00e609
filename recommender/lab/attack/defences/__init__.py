"""What stands between a log and a list, from no defence at all to the whole product."""
