from __future__ import annotations

import importlib.util
import marshal
import os
import random
import signal
import subprocess
import types
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from envbuilder.assemble import bytecode
from envbuilder.assemble.bytecode import BytecodeCompiler, bytecode_path
from envbuilder.base.interpreter import Interpreter
from envbuilder.errors import AssembleError

SITE = "lib/python3.11/site-packages"


def sources() -> list[tuple[str, bytes]]:
    """Return modules whose bytecode depends on what else a process has compiled, were they compiled in one."""
    library = Path(os.__file__).parent
    names = ["os.py", "typing.py", "dataclasses.py", "json/decoder.py", "enum.py", "ast.py", "inspect.py"]
    return [(f"lib/python3.11/{name}", (library / name).read_bytes()) for name in names]


def compile_all(
    interpreter: Interpreter, modules: list[tuple[str, bytes]], workers: int
) -> dict[str, bytes | None]:
    with (
        BytecodeCompiler(lambda: interpreter.executable, workers) as compiler,
        ThreadPoolExecutor(workers) as executor,
    ):
        made = executor.map(lambda module: compiler.compile(*module), modules)
        return dict(zip((path for path, _ in modules), made, strict=True))


def test_the_same_bytes_in_any_order_by_any_number(python311: Interpreter) -> None:
    modules = sources() * 2
    first = compile_all(python311, modules, 1)
    random.Random(4).shuffle(modules)
    assert compile_all(python311, modules, 3) == first


def test_what_was_compiled_before_leaves_no_trace(
    python311: Interpreter, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Which sources show it depends on the Python; here each does, were it compiled where another has been.
    counting = "BEFORE = []\ndef compiled(path, source):\n    BEFORE.append(path); path = str(len(BEFORE))\n"
    server = bytecode.SERVER.replace("def compiled(path, source):\n", counting)
    assert server != bytecode.SERVER
    monkeypatch.setattr(bytecode, "SERVER", server)
    found = compile_all(python311, [(f"{number}.py", b"x = 1\n") for number in range(5)], 1)
    assert len(set(found.values())) == 1


def test_it_is_unchecked_and_names_no_place_of_this_machine(python311: Interpreter) -> None:
    path = f"{SITE}/p/__init__.py"
    source = b"def f():\n    return {'a', 'b', 'c'}\n"
    data = compile_all(python311, [(path, source)], 1)[path]
    assert data is not None
    assert data[4:8] == b"\x01\0\0\0"  # PEP 552: a hash, and it is not looked at
    assert data[8:16] == importlib.util.source_hash(source)
    code = marshal.loads(data[16:])
    assert isinstance(code, types.CodeType)
    assert code.co_filename == path


def test_a_python_loads_it(tmp_path: Path, python311: Interpreter) -> None:
    path = f"{SITE}/mod.py"
    data = compile_all(python311, [(path, b"VALUE = __file__\n")], 1)[path]
    assert data is not None
    cached = tmp_path / bytecode_path("mod.py", "3.11").lstrip("/")
    cached.parent.mkdir()
    cached.write_bytes(data)
    (tmp_path / "mod.py").write_text("raise SystemError('compiled anew')\n")
    program = f"import sys; sys.path[0:0] = [{str(tmp_path)!r}]; import mod; print(mod.VALUE)"
    done = subprocess.run(
        [python311.executable, "-I", "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == str(tmp_path / "mod.py")


@pytest.mark.parametrize(
    "source",
    [
        b"def (",
        b"x = 1\0",
        b"\xff",
        b"print 'python 2'",
        b"(" * 5000 + b")" * 5000,
        b"x = " + b"-" * 200_000 + b"1",
    ],
)
def test_what_is_no_python_has_no_bytecode(python311: Interpreter, source: bytes) -> None:
    found = compile_all(python311, [("a.py", source), ("b.py", b"x = 1\n")], 1)
    assert found["a.py"] is None
    assert found["b.py"] is not None


def test_a_source_that_crashes_the_compiler_itself_has_none(
    python311: Interpreter, monkeypatch: pytest.MonkeyPatch
) -> None:
    crash = "def compiled(path, source):\n    if path == 'a.py': os.abort()\n"
    server = bytecode.SERVER.replace("def compiled(path, source):\n", crash)
    monkeypatch.setattr(bytecode, "SERVER", server)
    found = compile_all(python311, [("a.py", b"x = 1\n"), ("b.py", b"x = 1\n")], 1)
    assert found["a.py"] is None
    assert found["b.py"] is not None


def test_a_warning_is_no_error(python311: Interpreter) -> None:
    assert compile_all(python311, [("a.py", b"x = 1 is 1\ny = '\\d'\n")], 1)["a.py"] is not None


def test_a_python_that_dies_is_an_error(python311: Interpreter) -> None:
    with BytecodeCompiler(lambda: python311.executable, 1) as compiler:
        assert compiler.compile("a.py", b"x = 1\n") is not None
        (process,) = compiler.processes
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        with pytest.raises(AssembleError) as caught:
            compiler.compile("b.py", b"x = 1\n")
    assert caught.value.message == f"{python311.executable} crashed while compiling b.py"
    assert caught.value.exit_code == 6


def test_nothing_isstarted_for_nothing_and_nothing_left(python311: Interpreter) -> None:
    with BytecodeCompiler(lambda: python311.executable, 4) as compiler:
        assert compiler.processes == []
        compiler.compile("a.py", b"")
        assert len(compiler.processes) == 1
    assert compiler.processes[0].returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    ("path", "minor", "expected"),
    [
        ("lib/python3.11/os.py", "3.11", "lib/python3.11/__pycache__/os.cpython-311.pyc"),
        ("a/b.c.py", "3.8", "a/__pycache__/b.c.cpython-38.pyc"),
    ],
)
def test_where_it_belongs(path: str, minor: str, expected: str) -> None:
    assert bytecode_path(path, minor) == expected
