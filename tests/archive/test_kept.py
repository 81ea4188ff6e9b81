"""Which modules stay though a rule would leave them out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from envbuilder.archive import imports
from envbuilder.archive.exclude import DEFAULT_EXCLUDE, PackRules
from envbuilder.archive.kept import Kept, find_kept, module_of
from envbuilder.base.interpreter import Interpreter
from envbuilder.errors import AssembleError

SITE = "lib/python3.11/site-packages"


def kept(files: dict[str, str], rules: PackRules | None = None, wanted: dict[str, str] | None = None) -> Kept:
    """What is kept of *files*, by their path in site-packages (``/x`` is one in lib/python3.11)."""
    rules = rules or PackRules()
    paths = {
        (f"lib/python3.11{name}" if name.startswith("/") else f"{SITE}/{name}"): text.encode()
        for name, text in files.items()
    }
    there = {
        path: (lambda text=text: text) for path, text in paths.items() if rules.excluded_by(path) is None
    }
    left_out = {path: (lambda text=text: text) for path, text in paths.items() if rules.yields(path)}
    return find_kept(
        there, left_out, rules=rules, minor="3.11", python=lambda: Path(sys.executable), wanted=wanted
    )


def names(found: Kept) -> dict[str, str]:
    return {path.removeprefix(f"{SITE}/"): importer for path, importer in found.paths.items()}


TESTS = {"pkg/tests/__init__.py": "", "pkg/tests/helper.py": "", "pkg/tests/test_a.py": "import pytest"}
BOTH = {"pkg/tests/__init__.py": "pkg", "pkg/tests/helper.py": "pkg"}
CASES: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "nobody imports them": ({"pkg/__init__.py": "x = 'tests'"}, {}),
    "absolute": ({"pkg/__init__.py": "import pkg.tests.helper"}, BOTH),
    "relative": ({"pkg/__init__.py": "from .tests.helper import run"}, BOTH),
    "a name that is a module": ({"pkg/__init__.py": "from .tests import helper"}, BOTH),
    "the package alone": ({"pkg/__init__.py": "from . import tests"}, {"pkg/tests/__init__.py": "pkg"}),
    "over several lines": (
        {"pkg/__init__.py": "from pkg import (  # why\n    other,\n    tests,\n)"},
        {"pkg/tests/__init__.py": "pkg"},
    ),
    "behind a backslash": (
        {"pkg/__init__.py": "from pkg \\\n    import tests"},
        {"pkg/tests/__init__.py": "pkg"},
    ),
    "behind a colon": ({"pkg/__init__.py": "try: import pkg.tests.helper\nexcept ImportError: pass"}, BOTH),
    "behind a semicolon": ({"pkg/__init__.py": "x = 1; import pkg.tests.helper"}, BOTH),
    "in try": (
        {"pkg/__init__.py": "try:\n    from pkg.tests import helper\nexcept ImportError:\n    helper = None"},
        BOTH,
    ),
    "by name": ({"pkg/__init__.py": "import importlib\nimportlib.import_module('pkg.tests.helper')"}, BOTH),
    "of a module beside": (
        {"pkg/__init__.py": "", "pkg/deep/mod.py": "from ..tests import helper"},
        dict.fromkeys(BOTH, "pkg.deep.mod"),
    ),
    "in a function": ({"pkg/__init__.py": "def test():\n    from .tests import helper"}, {}),
    "for type checkers": (
        {
            "pkg/__init__.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .tests import helper"
        },
        {},
    ),
    "an extension": (
        {"pkg/__init__.py": "from .tests import _ext", "pkg/tests/_ext.cpython-311-x86_64-linux-gnu.so": ""},
        {"pkg/tests/__init__.py": "pkg", "pkg/tests/_ext.cpython-311-x86_64-linux-gnu.so": "pkg"},
    ),
    "transitively": (
        {
            "pkg/__init__.py": "from .tests import runner",
            "pkg/tests/runner.py": "from . import helper\nfrom pkg.sub.tests import more",
            "pkg/sub/tests/__init__.py": "",
            "pkg/sub/tests/more.py": "",
            "pkg/sub/tests/test_b.py": "",
        },
        {
            "pkg/tests/__init__.py": "pkg",
            "pkg/tests/runner.py": "pkg",
            "pkg/tests/helper.py": "pkg.tests.runner",
            "pkg/sub/tests/__init__.py": "pkg.tests.runner",
            "pkg/sub/tests/more.py": "pkg.tests.runner",
        },
    ),
    "a namespace package": (
        {"space/pkg/__init__.py": "from space.pkg.tests import helper", "space/pkg/tests/helper.py": ""},
        {"space/pkg/tests/helper.py": "space.pkg"},
    ),
    "a source that does not compile": (
        {"pkg/__init__.py": "from .tests import helper\n(", "pkg/b.py": ""},
        {},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_stays(case: str) -> None:
    files, expected = CASES[case]
    assert names(kept({**TESTS, **files})) == expected


@pytest.mark.parametrize("pattern", ["**/tests/**", f"{SITE}/pkg/tests/**"])
def test_what_a_recipe_names_is_left_out(pattern: str) -> None:
    files = {**TESTS, "pkg/__init__.py": "from .tests import helper"}
    assert kept(files, PackRules(exclude=(*DEFAULT_EXCLUDE, pattern))).paths == {}


@pytest.mark.parametrize("exclude", [(), ("**/*.a",)])
def test_without_rules_nothing_is_read(exclude: tuple[str, ...]) -> None:
    def read() -> bytes:
        raise AssertionError("it was read")

    rules = PackRules(exclude=exclude)
    found = find_kept({f"{SITE}/x.py": read}, {}, rules=rules, minor="3.11", python=lambda: Path("/none"))
    assert found == Kept()


def test_what_others_import_stays_too() -> None:
    files = {**TESTS, "pkg/__init__.py": ""}
    found = kept(files, wanted={"pkg.tests.helper": "other", "absent.tests": "other"})
    assert names(found) == dict.fromkeys(BOTH, "other")


def test_what_is_wanted_of_others_is_named() -> None:
    found = kept({"pkg/__init__.py": "try:\n    from other.tests import x\nexcept ImportError: pass"})
    assert (found.wants, found.stdlib) == ({"other.tests": "pkg", "other.tests.x": "pkg"}, {})


@pytest.mark.parametrize(
    ("files", "wanted"),
    [
        ({"pkg/__init__.py": "import turtle"}, {"turtle": "pkg"}),
        (
            {"pkg/__init__.py": "from pkg import near", "pkg/near.py": "from tkinter import ttk"},
            {"tkinter": "pkg.near", "tkinter.ttk": "pkg.near"},
        ),
        (
            {"single.py": "from lib2to3.pgen2 import token"},
            {"lib2to3": "single", "lib2to3.pgen2": "single", "lib2to3.pgen2.token": "single"},
        ),
        ({"pkg/__init__.py": "", "pkg/gui.py": "import tkinter"}, {}),
        ({"pkg/__init__.py": "try:\n    import tkinter\nexcept ImportError:\n    pass"}, {}),
        ({"pkg/__init__.py": "import unittest.mock, numpy.testing, pkg.test.x"}, {}),
    ],
)
def test_what_of_the_standard_library_a_package_cannot_do_without(
    files: dict[str, str], wanted: dict[str, str]
) -> None:
    assert kept({**files, "pkg/test/x.py": ""}).stdlib == wanted


def test_the_standard_library_keeps_what_packages_cannot_do_without() -> None:
    files = {
        "/os.py": "",
        "/turtle.py": "import tkinter as TK",
        "/tkinter/__init__.py": "import _tkinter\nfrom tkinter.constants import *",
        "/tkinter/constants.py": "",
        "/tkinter/ttk.py": "",
        "/lib-dynload/_tkinter.cpython-311-x86_64-linux-gnu.so": "",
    }
    found = kept(files, wanted={"turtle": "pkg"})
    assert found.paths == {
        "lib/python3.11/turtle.py": "pkg",
        "lib/python3.11/tkinter/__init__.py": "turtle",
        "lib/python3.11/tkinter/constants.py": "tkinter",
        "lib/python3.11/lib-dynload/_tkinter.cpython-311-x86_64-linux-gnu.so": "tkinter",
    }


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (f"{SITE}/a/b.py", "a.b"),
        (f"{SITE}/a/__init__.py", "a"),
        (f"{SITE}/a/_x.cpython-311-x86_64-linux-gnu.so", "a._x"),
        (f"{SITE}/a/_x.abi3.so", "a._x"),
        ("lib/python3.11/lib-dynload/_x.cpython-311-x86_64-linux-gnu.so", "_x"),
        (f"{SITE}/a-1.0.dist-info/x.py", None),
        (f"{SITE}/a/data.json", None),
        ("lib/libx.so", None),
        ("bin/x.py", None),
    ],
)
def test_the_name_of_a_module(path: str, name: str | None) -> None:
    module = module_of(path, "3.11")
    assert (module and module.name) == name


def test_a_python_that_does_not_run() -> None:
    with pytest.raises(AssembleError, match=r"^/bin/false cannot read the imports of a package: $"):
        find_kept(
            {f"{SITE}/x.py": lambda: b"import y.tests"},
            {},
            rules=PackRules(),
            minor="3.11",
            python=lambda: Path("/bin/false"),
        )


def test_another_python_reads_a_source_as_it_does_itself(python311: Interpreter) -> None:
    script = imports.__file__
    done = subprocess.run(
        [python311.executable, "-I", "-S", script],
        input=b'{"sources": {"m": [false, "import a.tests"]}, "roots": null}',
        capture_output=True,
        check=True,
    )
    assert done.stdout == b'{"m": [["a.tests", false]]}'


def test_a_source_that_crashes_the_parser_imports_nothing(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(
        f"#!{sys.executable}\n"
        "import json, os, sys\n"
        "job = json.load(sys.stdin)\n"
        "if any('crash' in text for _, text in job['sources'].values()):\n"
        "    os.kill(os.getpid(), 11)\n"
        "print(json.dumps({name: [['a.tests', False]] for name in job['sources']}))\n"
    )
    python.chmod(0o755)
    files = {
        f"{SITE}/a/__init__.py": b"import a.tests",
        f"{SITE}/b.py": b"import a.tests  # crash",
    }
    found = find_kept(
        {path: (lambda text=text: text) for path, text in files.items()},  # type: ignore[misc]  # bound now
        {f"{SITE}/a/tests/__init__.py": lambda: b""},
        rules=PackRules(),
        minor="3.11",
        python=lambda: python,
    )
    assert found.paths == {f"{SITE}/a/tests/__init__.py": "a"}
