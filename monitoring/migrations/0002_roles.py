"""The three roles as groups.

Django usually makes permissions after all migrations. This migration needs them earlier.
"""

from django.db import migrations

PERMISSIONS = {
    ("review", "view_review"): "Can view review",
    ("review", "view_console"): "Can see the console",
    ("review", "review"): "Can release and confirm held events",
    ("review", "operate"): "Can freeze, thaw, revert, pin and erase",
    ("notification", "view_notification"): "Can view notification",
}
SEES = ("view_review", "view_console", "view_notification")
ROLES = {"viewer": SEES, "reviewer": (*SEES, "review"), "operator": (*SEES, "review", "operate")}


def make_roles(apps, schema_editor):
    content_type = apps.get_model("contenttypes", "ContentType").objects
    permission = apps.get_model("auth", "Permission").objects
    made = {}
    for (model, codename), name in PERMISSIONS.items():
        kind, _ = content_type.get_or_create(app_label="monitoring", model=model)
        made[codename], _ = permission.get_or_create(content_type=kind, codename=codename, defaults={"name": name})
    for role, codenames in ROLES.items():
        group, _ = apps.get_model("auth", "Group").objects.get_or_create(name=role)
        group.permissions.add(*(made[codename] for codename in codenames))


class Migration(migrations.Migration):
    dependencies = [
        ("monitoring", "0001_initial"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
    ]
    operations = [migrations.RunPython(make_roles, migrations.RunPython.noop)]
