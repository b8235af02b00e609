"""Defences to compare, from no defence at all to the whole product."""
