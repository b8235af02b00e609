"""The API of the stop switch, the findings, erasure and the shadow board."""
