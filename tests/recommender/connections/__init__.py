"""Tests of the connections to the database and the stores."""
