"""What stands at the front door is what the published schemas say, and of one version."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
SCHEMAS = {
    "citation-file-format": ["CITATION.cff"],
    "dependabot": [".github/dependabot.yml"],
    "github-issue-config": [".github/ISSUE_TEMPLATE/config.yml"],
    "github-issue-forms": [".github/ISSUE_TEMPLATE/bug.yml", ".github/ISSUE_TEMPLATE/feature.yml"],
    "github-workflows": [f".github/workflows/{name}.yml" for name in ("docs", "release", "tests")],
}
FILES = sorted(file for files in SCHEMAS.values() for file in files)


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


def tool(name):
    """Import a script of tools/, which is no package."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("schema", SCHEMAS)
def test_files_fit_their_published_schemas(schema):
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}"]
    run = subprocess.run([*command, *SCHEMAS[schema]], capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 0, run.stdout + run.stderr


def test_every_file_for_the_hosting_platform_is_checked():
    there = {path.relative_to(ROOT).as_posix() for path in (ROOT / ".github").rglob("*.yml")}
    assert there == {file for file in FILES if file.startswith(".github/")}


def test_workflows_name_files_and_commands_that_are_there():
    for file in SCHEMAS["github-workflows"]:
        text = read(file)
        for path in re.findall(r"(?<![\w./])(?:tools|\.ci|docs)/[\w./-]+\b", text):
            assert (ROOT / path).exists() or path.startswith("docs/_build"), f"{file}: {path}"
    matrix = yaml.safe_load(read(".github/workflows/tests.yml"))["jobs"]["systems"]["strategy"]
    systems = {name.split("-")[0] for name in matrix["matrix"]["os"]}
    assert systems == {"ubuntu", "macos", "windows"}
    pythons = {row.rsplit(" ", 1)[1] for row in PROJECT["project"]["classifiers"] if " 3." in row}
    pythons = {row for row in pythons if row.startswith("3.")}
    assert set(matrix["matrix"]["python"]) <= pythons
    assert min(pythons, key=lambda v: int(v.split(".")[1])) in matrix["matrix"]["python"]


def test_one_version_everywhere():
    cited = yaml.safe_load(read("CITATION.cff"))
    project = PROJECT["project"]
    assert str(cited["version"]) == project["version"]
    assert cited["license"] == project["license"]
    assert "2307.01148" in str(cited["references"])
    assert f"What will be {project['version']}" in read("CHANGELOG.md") or (
        f"## [{project['version']}] - " in read("CHANGELOG.md")
    )


def test_the_changelog_has_the_form_it_names():
    text = read("CHANGELOG.md")
    heads = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert heads[0] == "[Unreleased]"
    assert all(re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", head) for head in heads[1:])
    kinds = set(re.findall(r"^### (.*)$", text, re.MULTILINE))
    allowed = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security", "Numbers"}
    assert kinds <= allowed


def test_a_tag_is_released_only_with_its_section(tmp_path):
    notes = tool("release_notes")
    version = PROJECT["project"]["version"]
    for name in ("pyproject.toml", "CITATION.cff"):
        (tmp_path / name).write_text(read(name), encoding="utf-8")
    changelog = tmp_path / "CHANGELOG.md"
    changelog.write_text("# Changelog\n\n## [Unreleased]\n\n- Something.\n", encoding="utf-8")
    assert "rename Unreleased" in notes.find_problems(tmp_path, f"v{version}")[0]
    changelog.write_text(
        f"# Changelog\n\n## [Unreleased]\n\n## [{version}] - 2030-01-31\n\n### Added\n\n- It.\n\n"
        "## [0.0.1] - 2029-01-01\n\n- Less.\n",
        encoding="utf-8",
    )
    assert notes.find_problems(tmp_path, f"v{version}") == []
    date, text = notes.read_section(changelog.read_text(encoding="utf-8"), version)
    assert (date, text) == ("2030-01-31", "### Added\n\n- It.")
    problems = notes.find_problems(tmp_path, "v9.9.9")
    assert len(problems) == 3
    assert notes.find_problems(tmp_path, version)[0].startswith("The tag is")


def test_the_hooks_can_be_read_and_name_modules_that_are_there(tmp_path):
    run = subprocess.run(
        [sys.executable, "-m", "pre_commit", "validate-config", ".pre-commit-config.yaml"],
        capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout
    hooks = yaml.safe_load(read(".pre-commit-config.yaml"))["repos"][0]["hooks"]
    modules = [hook["entry"].split()[2] for hook in hooks if hook["entry"].startswith("python -m")]
    assert len(modules) >= 10
    assert [name for name in modules if importlib.util.find_spec(name) is None] == []


def test_pages_at_the_root_link_to_what_is_there():
    pages = [*ROOT.glob("*.md"), ROOT / ".github" / "pull_request_template.md"]
    assert {"CONTRIBUTING.md", "CODE_OF_CONDUCT.md", "AGENTS.md"} <= {page.name for page in pages}
    for page in pages:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_what_pages_say_of_make_is_in_the_makefile():
    targets = set(re.findall(r"^([a-z-]+):", read("Makefile"), re.MULTILINE))
    for page in ("README.md", "CONTRIBUTING.md", "AGENTS.md"):
        said = set(re.findall(r"(?:`|^)make ([a-z-]+)", read(page), re.MULTILINE))
        assert said <= targets, f"{page}: {said - targets}"
