"""The documentation as tests read it: pages, their blocks of code, the commands that they show."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[2]
DOCS = sorted((ROOT / "docs").rglob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS]

_BLOCK = re.compile(r"^( *)```([\w-]+)[^\n]*\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_VARIABLES = re.compile(r"^(?:[A-Z_]+=\S* )+")
"""Set for one command, before it."""
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
    """What the steps of the workflows on *page* run, and those of the actions in this repository that they use."""
    jobs = [job for workflow in workflows(page) for job in workflow["jobs"].values()]
    texts = []
    for step in (step for job in jobs for step in job["steps"]):
        if "run" in step:
            texts.append(step["run"])
        elif step["uses"].startswith("./"):
            texts += action_steps(ROOT / step["uses"], step.get("with", {}))
    return texts


def action_steps(folder: Path, given: Mapping[str, str]) -> list[str]:
    """What the steps of the action in *folder* run, with the inputs *given* and the defaults of the others."""
    action = YAML(typ="safe").load((folder / "action.yml").read_text())
    inputs = action["inputs"]
    assert set(given) <= set(inputs)
    assert {name for name, one in inputs.items() if one.get("required")} <= set(given)
    texts = []
    for step in action["runs"]["steps"]:
        text = step.get("run", "")
        for name, value in step.get("env", {}).items():
            (asked,) = re.findall(r"inputs\.([\w-]+)", value)
            text = text.replace(f"${name}", given.get(asked, inputs[asked].get("default", "")))
        texts += [text] if text else []
    return texts


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
        line = _VARIABLES.sub("", line)
        if line.startswith("envbuilder "):
            yield shlex.split(line.split(" > ")[0])[1:]
