"""What is known of items: read, written, hidden, forgotten. Each service is one transaction."""

from recommender.errors import NotFound
from recommender.models import Item


def get_item(*, item_id: str) -> Item:
    """Raises NotFound where the site never described the item, listed or not."""
    # an id nobody could have sent may hold a NUL, which PostgreSQL refuses to look for
    item = Item.objects.filter(id=item_id).first() if item_id.isprintable() else None
    if item is None:
        raise NotFound("No item of this id was described; PUT /api/v1/items describes one.")
    return item
