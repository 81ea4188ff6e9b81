"""Caches of a model that cannot be exported, where they cannot be used."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.aot.conftest import DESCRIBED
from tests.helpers.compiling import rewrite_key
from tests.runtime.conftest import Serve


@pytest.mark.slow
@pytest.mark.torch
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_caches_that_are_of_no_use(cached: Path, serve: Serve, tmp_path: Path) -> None:
    """Made for another torch, damaged, or with nowhere to go: the model is compiled, and one line says why."""
    shutil.copytree(cached / "1", serve.folder(), dirs_exist_ok=True)
    caches = serve.folder() / "compiled.cpu.zip"
    x = np.ones((2, 5, 4), np.float32)

    def warning() -> str:
        model = serve.load(DESCRIBED)
        assert np.array_equal(model.infer(x=x)["y"], np.full((2, 5, 3), 2, np.float32))
        (said,) = [text for text in serve.warnings() if "compiled.cpu.zip" in text]
        serve.pb.Logger.lines.clear()
        return said

    whole = caches.read_bytes()
    caches.write_bytes(whole[:-50])
    assert "compiled.cpu.zip is not used: it is truncated or damaged: " in warning()
    caches.write_bytes(whole)
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(tmp_path / "other")
    rewrite_key(caches, torch="2.12.0")
    assert "compiled.cpu.zip is not used: it is for torch 2.12.0, this is torch 2.13.0" in warning()
