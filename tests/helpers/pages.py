"""The documentation as tests read it: pages, their blocks of code, the commands that they show."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[2]
DOCS = sorted((ROOT / "docs").rglob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS]

_BLOCK = re.compile(r"^( *)```([\w-]+)[^\n]*\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_TITLED = re.compile(r"^```(\w+)(?: title=\"([^\"]+)\")?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def name_of(page: Path) -> str:
    """How a test calls a page."""
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path, language: str) -> list[str]:
    """The blocks of code of *page* in a language."""
    found = _BLOCK.findall(page.read_text())
    return [text for _, spoken, text in found if spoken == language]


def script(page: Path) -> str:
    """What *page* tells to type, in bash: files that have a title are written, commands are run."""
    lines = []
    for language, title, text in _TITLED.findall(page.read_text()):
        if title:
            lines.append(f"cat > {title} <<'END'\n{text}END\n")
        elif language == "sh":
            lines.append(text)
    return "".join(lines)


def workflows(page: Path) -> list[dict[str, Any]]:
    """The workflows of GitHub Actions on *page*."""
    return [YAML(typ="safe").load(text) for text in blocks(page, "yaml") if "\njobs:" in text]


def steps(page: Path) -> list[str]:
    """What the steps of the workflows on *page* run."""
    jobs = [job for workflow in workflows(page) for job in workflow["jobs"].values()]
    return [step["run"] for job in jobs for step in job["steps"] if "run" in step]


def commands(page: Path) -> Iterator[list[str]]:
    """Every envbuilder command that *page* shows, without the program's name: in a block, a step, a sentence."""
    typed = re.sub(r"^\$ ", "", "\n".join(blocks(page, "console")), flags=re.MULTILINE)
    text = "\n".join([*blocks(page, "sh"), typed, *steps(page)])
    lines = text.replace("\\\n", " ").splitlines()
    prose = re.sub(r"^ *```.*?^ *```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    shown = [line.split(" #")[0].strip() for line in lines]
    shown += [
        text
        for text in re.findall(r"`(envbuilder [^`]*)`", prose)
        if "…" not in text and "COMMAND" not in text
    ]
    for line in shown:
        if line.startswith("envbuilder "):
            yield shlex.split(line.split(" > ")[0])[1:]
