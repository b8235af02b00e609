"""The workflow, the hooks and the images name only what exists."""

import os
import re
import tomllib

import yaml

from tests.packaging.conftest import BASE_DIR

PROJECT = tomllib.loads((BASE_DIR / "pyproject.toml").read_text())["project"]
MAKEFILE = (BASE_DIR / "Makefile").read_text()
VERBS = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))


def read(name):
    return yaml.safe_load((BASE_DIR / name).read_text())


def test_the_workflow_runs_what_is_run_here_on_every_supported_python():
    [job] = read(".github/workflows/ci.yml")["jobs"].values()
    supported = [name.rpartition(" ")[2] for name in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", name)]
    assert job["strategy"]["matrix"]["python"] == supported == ["3.11", "3.12", "3.13"]
    commands = [step["run"] for step in job["steps"] if "run" in step]
    assert commands[-1] == ".ci/run"
    assert os.access(BASE_DIR / ".ci" / "run", os.X_OK)


def test_what_ci_runs_are_verbs_of_make():
    called = re.findall(r"^make (?:--\S+ )*([a-z-]+)", (BASE_DIR / ".ci" / "run").read_text(), re.MULTILINE)
    assert called == ["check", "test"]
    assert set(called) <= VERBS


def test_the_hooks_use_tools_of_the_environment_that_make_check_uses():
    [repo] = read(".pre-commit-config.yaml")["repos"]
    assert repo["repo"] == "local"
    dev = {re.split(r"[=\[]", line)[0] for line in PROJECT["optional-dependencies"]["dev"]}
    packages = {"ruff": "ruff", "lint-imports": "import-linter"}
    for hook in repo["hooks"]:
        tool, *words = hook["entry"].removeprefix(".venv/bin/").split()
        assert hook["language"] == "system"
        assert packages[tool] in dev
        assert " ".join([f"$(BIN)/{tool}", *words[:1]]).strip() in MAKEFILE


def test_every_command_of_the_compose_file_is_in_an_image_with_its_extra():
    services = read("docker-compose.yml")["services"]
    targets = {name: service["build"]["target"] for name, service in services.items() if "build" in service}
    learners = {"compile", "worker", "keeper"}
    assert {name for name, target in targets.items() if target == "learner"} == learners
    assert {name for name, target in targets.items() if target == "web"} == {"migrate", "web", "beat"}
    assert services["migrate"]["command"][0] in PROJECT["scripts"]
    dockerfile = (BASE_DIR / "Dockerfile").read_text()
    assert set(re.findall(r"^FROM .* AS (\w+)$", dockerfile, re.MULTILINE)) >= set(targets.values())


def test_the_dockerfile_copies_files_that_exist_and_that_reach_docker():
    dockerfile = (BASE_DIR / "Dockerfile").read_text()
    let_in = {line[1:] for line in (BASE_DIR / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", dockerfile, re.MULTILINE)
    for name in " ".join(copied).split():
        assert (BASE_DIR / name).exists()
        assert name.split("/")[0] in let_in


def test_the_lock_files_of_the_images_hold_the_versions_of_requirements_txt():
    def pins(name):
        return set(re.findall(r"^([a-z0-9._-]+==\S+)", (BASE_DIR / name).read_text(), re.MULTILINE))

    web, learn, everything = (pins(f"requirements{part}.txt") for part in ("-web", "-learn", ""))
    assert web < learn < everything < pins("requirements-dev.txt")
    assert not [pin for pin in web if pin.startswith(("river", "pyod", "polars", "scikit", "matplotlib", "scipy"))]
