"""The table of checks has each check that there is."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import envbuilder.transfer.image_checks
import envbuilder.verification
from envbuilder.html_report.content import GROUPS as TITLES

PAGE = Path(__file__).parents[2] / "docs" / "verification.md"
FOLDER = Path(envbuilder.verification.__file__).parent
SOURCES = [*FOLDER.rglob("*.py"), Path(envbuilder.transfer.image_checks.__file__)]
GROUPS = "|".join(TITLES)
NOT_CHECKS = {"model.py", "server.log"}
PARTS = {"suffix": ("", "-gpu"), "protocol": ("http", "grpc")}


def emitted() -> set[str]:
    """The ids of checks in the code: texts of their form, and those that are put together."""
    found = set()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found |= {node.value} if re.fullmatch(rf"({GROUPS})\.[a-z][a-z-]*", node.value) else set()
            elif isinstance(node, ast.JoinedStr):
                match = re.fullmatch(rf"f'(({GROUPS})\.[a-z-]*)\{{(\w+)\}}'", ast.unparse(node))
                if match and match[3] in PARTS:
                    found |= {match[1] + part for part in PARTS[match[3]]}
    return found - NOT_CHECKS


def test_every_check_stands_in_the_table() -> None:
    text = PAGE.read_text()
    rows = set(re.findall(r"^\| `([a-z]+\.[a-z-]+)` \|", text, re.MULTILINE))
    on_a_gpu = set(re.findall(r"`(probe\.[a-z]+-gpu)`", text))
    ids = emitted()
    assert len(ids) > 50
    assert sorted(ids - rows - on_a_gpu) == []
    assert sorted(rows - ids) == []


def test_every_group_has_a_title_on_a_page_about_an_archive() -> None:
    assert sorted({id.partition(".")[0] for id in emitted()} - set(TITLES)) == []


def test_no_group_of_checks_is_left_out() -> None:
    """Every first argument of ``passed``, ``failed`` and ``check`` that is a text is of a known group."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
                name = ast.unparse(node.func).rpartition(".")[2].lstrip("_")
                if name in ("passed", "failed", "check", "omitted", "make", "guarded"):
                    assert re.match(rf"({GROUPS})\.", str(node.args[0].value)), (path, node.args[0].value)
