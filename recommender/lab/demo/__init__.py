"""Live demo: an invented news site and the code that sends its events."""

from recommender.lab.demo.newsroom import Newsroom

__all__ = ["Newsroom"]
