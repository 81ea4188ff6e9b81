"""What conda packages bring: a compiler that is there, and prefixes that are as the environment says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from envbuilder.archive.manifest import ENVIRONMENT_PATH
from envbuilder.base.prefixes import NOWHERE, PREFIXES_PATH, PrefixUse, prefixes_text
from tests.helpers.environments import Tree, environment, pack, verdicts

CXX = json.dumps({"variables": {"CXX": "{prefix}/bin/g++"}}).encode()


def judged(tree: Tree, folder: Path) -> dict[str, tuple[str, str, str | None]]:
    """What the checks of conda say of an environment with *tree* in it."""
    tree = {**environment(), **tree}
    found = verdicts(pack(tree, folder, listed=tree), folder)
    return {
        check.id: (check.status, check.found, check.fix)
        for check in found
        if check.id in ("layout.compiler", "paths.prefixes")
    }


def use(path: str, outcome: str) -> PrefixUse:
    return PrefixUse(path=path, kind="text", outcome=outcome, how="so")  # type: ignore[arg-type]  # each in turn


def listed(*uses: PrefixUse) -> bytes:
    return prefixes_text(uses).encode()


def test_an_environment_of_wheels_is_asked_neither(tmp_path: Path) -> None:
    assert judged({}, tmp_path) == {}


@pytest.mark.parametrize("text", [b"[]", b"{", b'{"variables": {"CC": "x"}}'])
def test_variables_that_name_no_compiler(tmp_path: Path, text: bytes) -> None:
    assert judged({ENVIRONMENT_PATH: text}, tmp_path) == {}


def test_a_compiler(tmp_path: Path) -> None:
    tree: Tree = {ENVIRONMENT_PATH: CXX, "bin/g++": "gcc-g++", "bin/gcc-g++": b"#!/bin/sh\n"}
    found = "bin/g++ is present and executable: the runtime sets it as the compiler of torch.compile"
    assert judged(tree, tmp_path) == {"layout.compiler": ("passed", found, None)}


def test_a_compiler_that_is_not_there(tmp_path: Path) -> None:
    assert judged({ENVIRONMENT_PATH: CXX}, tmp_path) == {
        "layout.compiler": (
            "failed",
            "bin/g++, which the runtime sets as the compiler of torch.compile, is missing or not executable",
            "build it again with `envbuilder build`",
        )
    }


def test_prefixes(tmp_path: Path) -> None:
    tree: Tree = {
        PREFIXES_PATH: listed(use("bin/tool", "cured"), use("share/doc", "harmless")),
        "bin/tool": b"relative",
        "share/doc": f"{NOWHERE}/share".encode(),
    }
    found = "files that contained conda's prefix: 1 made relative, 1 harmless"
    assert judged(tree, tmp_path) == {"paths.prefixes": ("passed", found, None)}


def test_a_prefix_that_is_reported(tmp_path: Path) -> None:
    tree: Tree = {
        PREFIXES_PATH: listed(use("share/where", "reported")),
        "share/where": f"{NOWHERE}/share".encode(),
    }
    assert judged(tree, tmp_path) == {
        "paths.prefixes": (
            "warning",
            "files that contain a prefix that will not exist on the server: share/where",
            "harmless unless the model reads them; otherwise use another build of the package, or exclude the files",
        )
    }


@pytest.mark.parametrize("uses", [[], [use("share/where", "cured")]])
def test_a_prefix_that_is_not_as_listed(tmp_path: Path, uses: list[PrefixUse]) -> None:
    tree: Tree = {PREFIXES_PATH: listed(*uses), "share/where": f"{NOWHERE}/share".encode()}
    assert judged(tree, tmp_path) == {
        "paths.prefixes": (
            "failed",
            "files that contain the install prefix of conda packages, and are not listed: share/where",
            "build it again with `envbuilder build`",
        )
    }


def test_a_list_that_is_none(tmp_path: Path) -> None:
    status, found, fix = judged({PREFIXES_PATH: b"{"}, tmp_path)["paths.prefixes"]
    assert (status, fix) == ("failed", "build it again with `envbuilder build`")
    assert PREFIXES_PATH in found
