from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envbuilder.archive.imports import imports_of, scan

CASES = [
    ("import a.b.c", ["a.b.c"]),
    ("from a.b import c, d as e", ["a.b", "a.b.c", "a.b.d"]),
    ("from . import tests", ["pkg.sub", "pkg.sub.tests"]),
    ("from .tests.helper import run", ["pkg.sub.tests.helper", "pkg.sub.tests.helper.run"]),
    ("from .. import tests", ["pkg", "pkg.tests"]),
    ("from ..tests import *", ["pkg.tests"]),
    ("from .... import x", []),
    ("from importlib import import_module\nimport_module('.tests', __name__)", ["pkg.sub.tests"]),
    ("import importlib\nX = importlib.import_module('other.tests')", ["other.tests"]),
    ("__import__('other.tests')", ["other.tests"]),
    ("class A:\n    from x.tests import y", ["x.tests", "x.tests.y"]),
    ("with a:\n    import x.tests", ["x.tests"]),
    ("for a in b:\n    import x.tests", ["x.tests"]),
    ("if a:\n    import x.tests\nelse:\n    import y.tests", ["x.tests", "y.tests"]),
    ("def f():\n    import x.tests", []),
    ("async def f():\n    import x.tests", []),
    ("f = lambda: __import__('x.tests')", []),
    ("if TYPE_CHECKING:\n    import x.tests", []),
    ("if typing.TYPE_CHECKING:\n    import x.tests\nelse:\n    import y", ["y"]),
    ("if __name__ == '__main__':\n    import x.tests", []),
    ("import x.tests (", []),
    ("\0", []),
]


@pytest.mark.parametrize(("source", "names"), CASES)
def test_what_a_module_imports_while_it_is_imported(source: str, names: list[str]) -> None:
    found = [name for name, _ in imports_of("pkg.sub.module", False, source.encode())]
    assert [name for name in found if not name.startswith(("importlib", "typing"))] == names


def test_relative_to_a_package_itself() -> None:
    assert imports_of("pkg", True, b"from .tests import run") == [
        ("pkg.tests", False),
        ("pkg.tests.run", False),
    ]
    assert imports_of("single", False, b"from . import x") == [("x", False)]


@pytest.mark.parametrize(
    ("catch", "guarded"),
    [
        ("except ImportError", True),
        ("except (OSError, ModuleNotFoundError)", True),
        ("except", True),
        ("except builtins.Exception as e", True),
        ("except ValueError", False),
    ],
)
def test_whether_a_module_goes_on_without(catch: str, guarded: bool) -> None:
    source = f"try:\n    import a\n{catch}:\n    import b\nelse:\n    import c\nfinally:\n    import d"
    assert imports_of("m", False, source.encode()) == [
        ("a", guarded),
        ("b", True),
        ("c", False),
        ("d", False),
    ]


def test_only_what_the_roots_come_to() -> None:
    sources = {
        "pkg": (True, "from . import near\ntry:\n    from . import optional\nexcept ImportError:\n    pass"),
        "pkg.near": (False, "import turtle"),
        "pkg.optional": (False, "import tkinter"),
        "pkg.far": (False, "import tkinter"),
    }
    assert set(scan(sources, ["pkg"])) == {"pkg", "pkg.near"}
    assert set(scan(sources, None)) == set(sources)


@settings(deadline=None)
@given(source=st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_whatever_a_source_is_it_is_read(source: bytes) -> None:
    assert isinstance(imports_of("a.b", True, source), list)
