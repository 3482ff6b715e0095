"""Print what CHANGELOG.md says of a version, or say why it is not ready to be released.

python tools/release_notes.py v0.1.0
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def read_section(changelog: str, version: str) -> tuple[str, str]:
    """Return date and text of a version's section; both empty where there is none.

    Parameters
    ----------
    changelog : str
        In the form of Keep a Changelog.
    version : str
        Such as ``0.1.0``.
    """
    head = re.search(
        rf"^## \[{re.escape(version)}\] - (\d{{4}}-\d\d-\d\d)\s*$", changelog, re.MULTILINE
    )
    if head is None:
        return "", ""
    rest = changelog[head.end() :]
    following = re.search(r"^## |^\[[^\]]+\]: ", rest, re.MULTILINE)
    return head.group(1), rest[: following.start() if following else None].strip()


def find_problems(root: Path, tag: str) -> list[str]:
    """Return what keeps a tag from being a release, one sentence each.

    Parameters
    ----------
    root : path
        Of the repository.
    tag : str
        ``v`` and the version.
    """
    version = tag.removeprefix("v")
    problems = [] if tag.startswith("v") else [f"The tag is {tag}; v{version} is expected."]
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    if project["version"] != version:
        problems.append(f"pyproject.toml has version {project['version']}, the tag {version}.")
    cited = re.search(
        r"^version: (\S+)$", (root / "CITATION.cff").read_text(encoding="utf-8"), re.MULTILINE
    )
    if cited is None or cited.group(1).strip("'\"") != version:
        problems.append(f"CITATION.cff does not have version {version}.")
    date, text = read_section((root / "CHANGELOG.md").read_text(encoding="utf-8"), version)
    if not date:
        problems.append(f"CHANGELOG.md has no '## [{version}] - YYYY-MM-DD'; rename Unreleased.")
    elif not text:
        problems.append(f"CHANGELOG.md says nothing of {version}.")
    return problems


def main() -> int:
    """Print the notes of the tag that is named; 1 if it is not ready."""
    (tag,) = sys.argv[1:]
    problems = find_problems(ROOT, tag)
    if problems:
        print(*problems, sep="\n", file=sys.stderr)
        return 1
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    print(read_section(changelog, tag.removeprefix("v"))[1])
    return 0


if __name__ == "__main__":
    sys.exit(main())
