"""Caches that go along with a model: folders that cannot be written, are full, or are used by two at once."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from envbuilder.verification.live.launch import mount_namespace
from tests.aot.conftest import DESCRIBED
from tests.helpers.runtime import RUNTIME
from tests.runtime.conftest import STANDIN

pytestmark = [pytest.mark.torch, pytest.mark.slow, pytest.mark.xdist_group("cached")]
SCRIPT = f"""
import json, os, sys
sys.path.insert(0, {str(STANDIN)!r})
import numpy as np, triton_python_backend_utils as pb
answer = error = None
try:
    model = pb.Model({str(RUNTIME)!r}, sys.argv[1], {DESCRIBED!r}, name="net")
    answer = model.infer(x=np.ones((2, 5, 4), "f4"))["y"].tolist()
except pb.TritonModelException as refused:
    error = str(refused)
print(json.dumps([answer, error, pb.Logger.lines]))
"""
RIGHT = [[[2.0] * 3] * 5] * 2


def command(model: Path) -> list[str]:
    return [sys.executable, "-c", SCRIPT, str(model)]


def environment(caches: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    # Where the caches cannot be written, others are made among temporary files.
    return {**kept, "TORCHINDUCTOR_CACHE_DIR": str(caches), "TMPDIR": str(caches.parent)}


def mounted(model: Path, caches: Path, options: str) -> list[Any]:
    """Load the model with a file system at *caches* that this process alone sees."""
    namespace = mount_namespace()
    assert namespace is not None, "this user may have no mount namespace"
    caches.mkdir()
    script = f'mount -t tmpfs -o {options} none "{caches}" && exec "$@"'
    done = subprocess.run(
        [*namespace, "/bin/sh", "-c", script, "sh", *command(model)],
        env=environment(caches),
        capture_output=True,
        text=True,
        check=True,
    )
    found: list[Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_two_that_start_on_one_folder(cached: Path, tmp_path: Path) -> None:
    running = [
        subprocess.Popen(
            command(cached),
            env=environment(tmp_path / "caches"),
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for process in running:
        said, _ = process.communicate(timeout=300)
        answer, error, lines = json.loads(said.splitlines()[-1])
        assert (answer, error) == (RIGHT, None)
        assert not [text for level, text in lines if "is not used" in text]
    assert not list((tmp_path / "caches").rglob("*.so.*"))


def test_a_folder_that_cannot_be_written(cached: Path, tmp_path: Path) -> None:
    """Another one is taken, and what goes along is put there."""
    copy = shutil.copytree(cached, tmp_path / "net")
    answer, error, lines = mounted(copy, tmp_path / "caches", "ro")
    assert (answer, error) == (RIGHT, None)
    assert not [text for level, text in lines if "is not used" in text]


def test_a_folder_that_is_full(cached: Path, tmp_path: Path) -> None:
    """Said in words, of both: what goes along has no room, and then what is compiled has none."""
    answer, error, lines = mounted(cached, tmp_path / "caches", "size=16k")
    assert [text for level, text in lines if "compiled.cpu.zip is not used: [Errno 28]" in text]
    assert answer is None
    assert "No space left on device" in error
