"""The roles' permissions for the tables of items and keys.

Django usually makes permissions after all migrations.
"""

from django.db import migrations

MAY = {"item": ("view", "add", "change"), "apikey": ("view", "add", "change")}
NAMES = {"item": "item", "apikey": "api key"}
EVERYBODY = {"view_item"}


def give(apps, schema_editor):
    content_type = apps.get_model("contenttypes", "ContentType").objects
    permission = apps.get_model("auth", "Permission").objects
    group = apps.get_model("auth", "Group").objects
    for model, verbs in MAY.items():
        kind, _ = content_type.get_or_create(app_label="recommender", model=model)
        for verb in verbs:
            name = f"Can {verb} {NAMES[model]}"
            made, _ = permission.get_or_create(
                content_type=kind, codename=f"{verb}_{model}", defaults={"name": name}
            )
            for role in ("viewer", "reviewer", "operator"):
                if role == "operator" or made.codename in EVERYBODY:
                    group.get_or_create(name=role)[0].permissions.add(made)


class Migration(migrations.Migration):
    dependencies = [
        ("monitoring", "0005_reviews_of_a_finding"),
        ("recommender", "0001_initial"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
    ]
    operations = [migrations.RunPython(give, migrations.RunPython.noop)]
