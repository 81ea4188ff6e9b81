"""The file that Triton loads, and how it finds the folder beside it."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from envbuilder.util.resources import runtime_file, runtime_package
from tests.helpers.interpreters import check_by_every_python
from tests.helpers.runtime import LINEAR, RUNTIME, copy_runtime, load_runtime, simple
from tests.runtime.conftest import STANDIN, Serve

pytestmark = pytest.mark.torch

STEMS = sorted(path.stem for path in runtime_package().values() if path.stem != "__init__")


LAYOUTS = ("version", "backend", "platform handler")


def run(script: str, *arguments: Path | str) -> str:
    """Run *script* in a process of its own, as isolated as a stub's interpreter."""
    beginning = f"import sys; sys.path.insert(0, {str(STANDIN)!r})\n"
    done = subprocess.run(
        [sys.executable, "-I", "-c", beginning + textwrap.dedent(script), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


SERVE = """
    import importlib.util, json, os
    import numpy as np
    import triton_python_backend_utils as pb

    def load(path, model, config, name):
        return pb.Model(path, model, config, name=name)
"""


def add_model(folder: Path, *, factor: int) -> Path:
    """Write a model that multiplies by *factor* and return its version folder."""
    version = folder / "1"
    version.mkdir(parents=True)
    (version / "model.py").write_text(f"def f(x):\n    return x[:, :3] * {factor}\n")
    return version


def described() -> dict[str, Any]:
    return simple(8)


@pytest.mark.torch
def test_two_deployments_in_one_process_use_each_its_own_modules(tmp_path: Path) -> None:
    """One of an older envbuilder, one of a newer: neither takes the other's from sys.modules or sys.path."""
    for name, said in (("old", "of the old one"), ("new", "of the new one")):
        version = add_model(tmp_path / name, factor=2)
        copy_runtime(version)
        errors = version / "_torch_runtime" / "log.py"
        errors.write_text(errors.read_text().replace('log_info(f"', f'log_info(f"{said}, '))
    shown = run(
        SERVE
        + """
    old, new, config = sys.argv[1:]
    sys.path[:0] = [old + "/1", new + "/1"]  # what the stub would have for either of them
    config = json.loads(config)
    models = [load(f"{place}/1/torch_runtime.py", place, config, "net") for place in (old, new, old)]
    print([text[:14] for level, text in pb.Logger.lines if "ready in" in text])
    print([model.infer(x=np.ones((1, 4), np.float32))["y"].tolist() for model in models])
    """,
        tmp_path / "old",
        tmp_path / "new",
        json.dumps(described()),
    )
    assert shown == (
        "['of the old one', 'of the new one', 'of the old one']\n"
        "[[[2.0, 2.0, 2.0]], [[2.0, 2.0, 2.0]], [[2.0, 2.0, 2.0]]]"
    )


@pytest.mark.torch
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_models_own_files_may_be_called_as_the_runtimes(tmp_path: Path, layout: str) -> None:
    version = tmp_path / "net" / "1"
    version.mkdir(parents=True)
    for stem in [*STEMS, "torch_runtime_helper"]:
        (version / f"{stem}.py").write_text(f"NAME = {stem!r}\n")
    (version / "_torch_runtime.py").write_text("raise RuntimeError('nobody asked for it')\n")
    (version / "model.py").write_text(
        "".join(f"import {stem}\n" for stem in STEMS)
        + "from .engine import NAME\n"
        + f"NAMES = [{', '.join(f'{stem}.NAME' for stem in STEMS)}]\n"
        + f"assert NAMES == {STEMS!r} and NAME == 'engine'\n"
        + "def f(x):\n    return x[:, :3]\n"
    )
    place, name = version, "torch_runtime.py"
    if layout != "version":
        place = tmp_path / ("backends/torch" if layout == "backend" else "platform_handlers/pytorch")
        name = "model.py"
    copy_runtime(place, name)
    shown = run(
        SERVE
        + """
    path, folder, version, config = sys.argv[1:]
    sys.path[:0] = [version, folder, os.path.dirname(path)]
    model = load(path, folder, json.loads(config), "net")
    print(model.infer(x=np.ones((1, 4), np.float32))["y"].tolist())
    """,
        place / name,
        version.parent,
        version,
        json.dumps({**described(), "default_model_filename": "" if layout == LAYOUTS[2] else name}),
    )
    assert shown == "[[1.0, 1.0, 1.0]]"


def test_without_its_folder_it_says_what_is_missing(serve: Serve) -> None:
    version = add_model(serve.root / "alone", factor=1)
    shutil.copy(RUNTIME, version / "torch_runtime.py")
    with pytest.raises(serve.pb.TritonModelException) as caught:
        serve.pb.Model(str(version / "torch_runtime.py"), str(version.parent), described())
    assert str(caught.value) == (
        f"{version}/torch_runtime.py needs the folder {version}/_torch_runtime beside it: copy both"
    )


def test_an_error_names_the_model_and_its_version(serve: Serve) -> None:
    assert serve.error(simple()) == (
        f"nothing to serve in {serve.folder()}: no model.py, model.pt, model.safetensors or model.pt2"
    )


@pytest.mark.torch
def test_the_runtime_is_no_part_of_what_a_package_was_made_from(serve: Serve) -> None:
    """The same model has the same key, served by a runtime in its folder or by one of a backend's."""
    import torch

    serve.write(LINEAR)
    module = load_runtime().runtime_module
    folder, find = serve.folder(), module("source").find_files

    def key(runtime: Path) -> Any:
        described = simple()
        return module("package_key").fitting_key(
            str(folder), find(str(folder), "torch_runtime.py", str(runtime)), described, torch.device("cpu")
        )

    before = key(RUNTIME)
    copy_runtime(folder)
    (folder / "_torch_runtime" / "__pycache__").mkdir()
    (folder / "_torch_runtime" / "__pycache__" / "engine.pyc").write_text("")
    assert key(folder / "torch_runtime.py") == before
    (folder / "torch_runtime.py").unlink()  # a backend's serves it, and an older deployment's folder is left
    assert key(RUNTIME) == before
    (folder / "helper.py").write_text("")
    assert key(RUNTIME) != before


def test_importing_the_file_imports_no_torch_and_none_of_its_modules() -> None:
    """Without --disable-auto-complete-config Triton starts one more stub, which imports this file only."""
    shown = run(
        """
    sys.path.insert(0, sys.argv[1])
    import model
    print(sorted(name for name in sys.modules if name.startswith(("torch", "_torch_runtime"))))
    for name in ("errors", "fields", "parameters", "process", "log", "metrics"):
        model.runtime_module(name)
    print("torch" in sys.modules)
    """,
        RUNTIME.parent,
    )
    assert shown == "[]\nFalse"


def test_every_python_that_triton_serves_with_can_read_it(tmp_path: Path) -> None:
    """By those that are on this machine: all of it is compiled, and what needs no torch is imported."""
    for name in ("numpy", "triton_python_backend_utils"):
        (tmp_path / f"{name}.py").write_text("")
    check_by_every_python(
        [RUNTIME, *(RUNTIME.parent / "_torch_runtime").glob("*.py")],
        f"import sys; sys.path[:0] = {[str(tmp_path), str(RUNTIME.parent)]!r}; import model\n"
        "for name in ('errors', 'fields', 'parameters', 'process', 'log', 'metrics'):\n"
        "    model.runtime_module(name)\n"
        "import glob\n"
        "for path in glob.glob(model.FOLDER + '/*.py'):\n"
        "    compile(open(path, encoding='utf-8').read(), path, 'exec')",
    )


def test_no_module_and_no_class_is_long() -> None:
    for path in (runtime_file(), *runtime_package().values()):
        text = path.read_text()
        assert len(text.splitlines()) <= 350, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ClassDef):
                assert (node.end_lineno or 0) - node.lineno < 250, (path, node.name)
