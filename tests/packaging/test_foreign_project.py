"""Another Django project that lists our packages gets one sentence."""

import subprocess
import sys

import pytest

from tests.packaging.conftest import BASE_DIR


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    subprocess.run([sys.executable, "-m", "django", "startproject", "shop", folder], check=True)
    return folder


@pytest.mark.parametrize(
    "apps", [["recommender"], ["monitoring"], ["recommender", "monitoring"], ["monitoring", "recommender"]]
)
def test_it_is_refused_in_one_sentence(apps, project, start):
    settings = (project / "shop" / "settings.py").read_text()
    name = "_".join(apps)
    listed = settings.replace("INSTALLED_APPS = [", f"INSTALLED_APPS = [*{apps!r},")
    (project / "shop" / f"{name}.py").write_text(listed)
    code, said = start(
        sys.executable, "manage.py", "check", cwd=project, code=BASE_DIR, DJANGO_SETTINGS_MODULE=f"shop.{name}"
    )
    assert code == 1
    assert "Traceback" not in said
    [line] = [line for line in said.splitlines() if line.startswith("?: ")]
    assert line.startswith("?: (recommender.E001) Groundswell is a server of its own, not a reusable app: ")
    assert "`groundswell run`" in line
    assert "System check identified 1 issue (0 silenced)." in said


def test_our_own_project_is_not_refused():
    from recommender.apps import check_project

    assert check_project() == []
