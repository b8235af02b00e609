"""The live demo: an invented news site (`newsroom`, `readers`, `headlines`) and what sends it (`feed`)."""

from recommender.lab.demo.newsroom import Newsroom

__all__ = ["Newsroom"]
