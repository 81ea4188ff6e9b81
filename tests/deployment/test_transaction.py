from __future__ import annotations

from pathlib import Path

import pytest

from envbuilder.deployment import layout as layout_module
from envbuilder.deployment import placement, transaction
from envbuilder.errors import DeployError
from tests.deployment.conftest import refused

LAYOUTS: tuple[str, ...] = ("model", "shared", "backend")


def test_nothing_is_done_before_everything_is_checked(
    archive: Path, model: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> None:
        raise AssertionError

    for module in (layout_module, transaction, placement):
        for name in ("replace_folder", "put", "remove"):
            monkeypatch.setattr(module, name, fail, raising=False)
    (model / "1" / "model.py").unlink()
    for layout in LAYOUTS:
        refused(DeployError, archive, model, repository=repository, layout=layout)
