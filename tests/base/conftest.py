from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from envbuilder.archive.entry import Entry
from envbuilder.archive.exclude import PackRules
from envbuilder.archive.segment import Segment
from envbuilder.assemble.writer import SegmentWriter
from envbuilder.base.interpreter import (
    Interpreter,
    interrogate,
)
from envbuilder.base.provider import Base
from tests.helpers.interpreters import copy_interpreter
from tests.helpers.prefix import lay_out_prefix


@pytest.fixture
def copied(python311: Interpreter, tmp_path: Path) -> Interpreter:
    return interrogate(copy_interpreter(python311, tmp_path / "copy"))


@pytest.fixture(scope="module")
def base(
    python311: Interpreter, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Interpreter, Path, Base]]:
    folder = tmp_path_factory.mktemp("base")
    yield python311, folder, lay_out_prefix(python311, folder, PackRules())
    shutil.rmtree(folder)


def segment_of(folder: Path, entries: Sequence[Entry]) -> Segment:
    folder.mkdir()
    with (
        ThreadPoolExecutor(2) as executor,
        closing(SegmentWriter(folder, level=1, executor=executor)) as made,
    ):
        made.write(entries)
        return made.finish(key="k", label="base", artifact=None)
