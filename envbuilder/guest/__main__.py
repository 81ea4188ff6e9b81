"""Do the job in the file that the argument names; see the package."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys

NAME = "_envbuilder_guest"
"""No model has a module of this name."""


def main(*arguments: str) -> None:
    """Load the package from this file's folder, not through ``sys.path``, and let it do the job."""
    folder = os.path.dirname(os.path.abspath(__file__))
    start = os.path.join(folder, "__init__.py")
    spec = importlib.util.spec_from_file_location(NAME, start, submodule_search_locations=[folder])
    assert spec is not None
    assert spec.loader is not None
    package = importlib.util.module_from_spec(spec)
    sys.modules[NAME] = package
    spec.loader.exec_module(package)
    importlib.import_module(f"{NAME}.job").main(*arguments)


if __name__ == "__main__":
    main(*sys.argv[1:])
