"""Excerpts made by hand, as a learner would have published them of a small site."""

import time

import msgspec
import numpy as np

from recommender.core.ranking.training_lists import NAMES
from recommender.publishing.excerpt import EXCERPTS, MAY_BE_LISTED, VERSIONS, Excerpt, Message

D = len(NAMES)


def make_message(items, links=(), *, hidden=(), categories=None, published=None, mode="blend", version=1, as_of=None):
    """Make the message of an excerpt.

    items: {id: (score by each half-life)}.
    links: {source: [(target, strength, actors, price), ...]}.
    """
    links, categories, published = dict(links), categories or {}, published or {}
    names = list(items)
    rows = {name: row for row, name in enumerate(names)}
    known = sorted({each for several in categories.values() for each in several})
    of_items = [[known.index(each) for each in categories.get(name, ())] for name in names]
    listed = [[(rows[target], *more) for target, *more in links[name]] for name in links]
    flat = [each for several in listed for each in several]
    columns = list(zip(*flat, strict=True)) or [(), (), (), ()]
    return Message(
        version=version,
        as_of=time.time() if as_of is None else as_of,
        names=names,
        flags=np.array([0 if name in hidden else MAY_BE_LISTED for name in names], np.uint8).tobytes(),
        published_s=np.array([published.get(name, 0.0) for name in names], np.float64).tobytes(),
        categories=known,
        category_ends=np.cumsum([len(each) for each in of_items], dtype=np.uint32).tobytes(),
        category_of=np.array([each for several in of_items for each in several], np.uint16).tobytes(),
        trend=np.array(list(items.values()), np.float32).reshape(len(names), -1).tobytes(),
        half_lives_s=[300, 3600, 21_600][: len(next(iter(items.values())))],
        sources=np.array([rows[name] for name in links], np.uint32).tobytes(),
        ends=np.cumsum([len(each) for each in listed], dtype=np.uint32).tobytes(),
        targets=np.array(columns[0], np.uint32).tobytes(),
        strengths=np.array(columns[1], np.float32).tobytes(),
        actors=np.array(columns[2], np.uint32).tobytes(),
        prices=np.array(columns[3], np.uint32).tobytes(),
        recall=[1.0, 0.3, 0.1],
        blend=0.5,
        mode=mode,
        weights=np.concatenate([np.zeros(D), np.ones(D), np.eye(D)[NAMES.index("support")], [0.0]]).tobytes(),
    )


def make_excerpt(*arguments, **more):
    return Excerpt(make_message(*arguments, **more))


def store_excerpt(store, message, shard=0):
    """Store a message as the learner of a shard does."""
    store.hset(EXCERPTS, str(shard), msgspec.msgpack.encode(message))
    store.hset(VERSIONS, str(shard), str(message.version))
