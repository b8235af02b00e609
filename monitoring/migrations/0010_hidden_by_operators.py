"""Make items that an operator hid on the item page the operator's.

The audit chain names the operator. Any other hidden item stays hidden by the site: the API
hid it, or an action in the list of items, which recorded no decision. An operator can hide it again.
"""

from django.db import migrations

MOVE = """
UPDATE recommender_item AS item
SET hidden_at = decided.at, hidden_by = decided."by", hidden_note = decided.note, is_hidden = false
FROM (
    SELECT DISTINCT ON (subject->>'item') subject->>'item' AS item, subject->>'is_hidden' AS is_hidden, at, "by", note
    FROM monitoring_review WHERE action = 'hide' ORDER BY subject->>'item', id DESC
) AS decided
WHERE item.id = decided.item AND decided.is_hidden = 'true' AND item.is_hidden;
"""
# The version before takes the operators' decisions for the site's.
MOVE_BACK = """
UPDATE recommender_item SET is_hidden = true, hidden_at = NULL, hidden_by = '', hidden_note = ''
WHERE hidden_at IS NOT NULL;
"""


class Migration(migrations.Migration):
    dependencies = [("monitoring", "0009_warning_missing_since"), ("recommender", "0018_operators_hide_items")]
    operations = [migrations.RunSQL(MOVE, MOVE_BACK)]
