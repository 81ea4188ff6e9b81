"""Assemblers of this machine's CPython, with as little of it as can be."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from envbuilder.archive.exclude import PackRules
from envbuilder.assemble.assembler import Assembler
from envbuilder.assemble.bytecode import BytecodeCompiler
from envbuilder.base.cpython import CPythonBase
from envbuilder.base.interpreter import Interpreter
from envbuilder.store.local import Store
from tests.helpers.notes import Notes
from tests.helpers.small import little

MakeAssembler = Callable[..., Assembler]


@pytest.fixture
def kept(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture
def make(python311: Interpreter, kept: Store, notes: Notes) -> Iterator[MakeAssembler]:
    with ExitStack() as stack:
        executor = stack.enter_context(ThreadPoolExecutor(2))
        compiler = stack.enter_context(BytecodeCompiler(lambda: python311.executable, 2))
        tiny = PackRules(exclude=little(python311).exclude or ())

        def assembler(rules: PackRules = tiny, **changes: object) -> Assembler:
            return Assembler(
                base=CPythonBase(found=dataclasses.replace(python311, **changes)),  # type: ignore[arg-type]  # as a test names them
                rules=rules,
                store=kept,
                executor=executor,
                compiler=compiler,
                reporter=notes,
            )

        yield assembler
