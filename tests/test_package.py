"""The package as its users import it."""

from __future__ import annotations

import importlib
import inspect
import re
import subprocess
import sys

import pytest

import envbuilder
from envbuilder import api


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_it_imports_nothing_else() -> None:
    code = "import sys, envbuilder; print(*sorted(name for name in sys.modules if name.startswith('envbuilder')))"
    assert python(code) == "envbuilder envbuilder.util envbuilder.util.version"


@pytest.mark.parametrize("name", envbuilder.__all__)
def test_a_public_name(name: str) -> None:
    value = getattr(envbuilder, name)
    if name != "__version__":
        assert inspect.isclass(value) if name[0].isupper() else inspect.isfunction(value)
        assert inspect.getdoc(value)
        assert getattr(envbuilder, name) is getattr(importlib.import_module(value.__module__), name)


def test_every_verb_is_a_name_of_the_package() -> None:
    assert {name for name in envbuilder.__all__ if name[0].islower()} == set(api.__all__)


@pytest.mark.parametrize("name", api.__all__)
def test_a_path_may_be_a_string(name: str) -> None:
    parameters = inspect.signature(getattr(api, name)).parameters.values()
    assert [str(one) for one in parameters if re.search(r"\bPath\b", str(one.annotation))] == []


def test_no_module_takes_a_verb_s_name() -> None:
    """A module that is imported becomes an attribute of its package, in place of the function that was there."""
    code = """
import importlib, inspect, pkgutil
import envbuilder
for module in pkgutil.iter_modules(envbuilder.__path__):
    if module.name != "__main__":
        importlib.import_module(f"envbuilder.{module.name}")
print(*(name for name in envbuilder.__all__ if inspect.ismodule(getattr(envbuilder, name))))
"""
    assert python(code) == ""


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(AttributeError, match=r"^module 'envbuilder' has no attribute 'biuld'$"):
        _ = envbuilder.biuld


def test_what_is_there_is_listed() -> None:
    assert set(envbuilder.__all__) <= set(dir(envbuilder))


def test_the_command_line_of_a_python() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "envbuilder", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"python -m envbuilder, version {envbuilder.__version__}\n"
