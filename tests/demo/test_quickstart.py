from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from envbuilder.demo import quickstart as module
from envbuilder.demo.quickstart import Quickstart, quickstart
from envbuilder.errors import VerifyError
from envbuilder.progress import SILENT
from envbuilder.store.local import Store
from envbuilder.store.session import Session
from envbuilder.verification.verify import Check


class Listener:
    def __init__(self) -> None:
        self.said: list[str] = []

    def step(self, text: str) -> None:
        self.said.append(text)

    def note(self, text: str) -> None:
        self.said.append(f"note: {text}")

    def task(self, text: str, total: int | None, unit: str = "bytes") -> Any:
        return SILENT.task(text, total, unit)


@pytest.mark.server
@pytest.mark.slow
@pytest.mark.usefixtures("cpu_archive", "server")
def test_without_a_compiler(tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model is served all the same, and it is said that nothing was compiled; nothing is left behind."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    monkeypatch.setattr(module, "SERVER_PATH", str(tmp_path))
    monkeypatch.setattr(module, "verified", lambda *_: "none checked")  # it is, in test_release.py
    listener = Listener()
    done = quickstart(Session.open(store=store, reporter=listener))
    assert not done.compiled
    assert any(text.startswith("note: no C++ compiler here") for text in listener.said)
    assert not [
        path for path in (tmp_path / "tmp").iterdir() if path.name.startswith("envbuilder-quickstart")
    ]
    assert "not compiled: no C++ compiler on this machine" in done.lines()[4]
    assert done.lines()[-1] == "next        the same command with --keep FOLDER keeps it"


@pytest.mark.parametrize(
    ("together", "alone"),
    [
        (np.zeros((3, 16)), np.ones((1, 16))),
        (np.zeros((0, 16)), np.zeros((1, 16))),
        (np.full((3, 16), np.nan), np.full((1, 16), np.nan)),
    ],
)
def test_a_wrong_answer_is_an_error(
    monkeypatch: pytest.MonkeyPatch, together: np.ndarray[Any, Any], alone: np.ndarray[Any, Any]
) -> None:
    answers = iter([together, alone])
    monkeypatch.setattr(module, "infer", lambda running, rows: next(answers))
    with pytest.raises(VerifyError, match=r"the server returned shape \(\d, 16\) for 3 rows, and "):
        module.ask(None)  # type: ignore[arg-type]  # nobody asks it


def test_a_failed_check_is_an_error(tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = Check(id="paths.links", status="failed", found="a link leads out: x", fix="build it again")
    monkeypatch.setattr(
        module, "verify", lambda *args, **kwargs: SimpleNamespace(passed=False, failures=(failed,))
    )
    with pytest.raises(VerifyError) as caught:
        module.verified(tmp_path / "a.tar.gz", tmp_path, Session(store=store))
    assert caught.value.message == f"{tmp_path / 'a.tar.gz'}: check paths.links failed: a link leads out: x"
    assert caught.value.hint == "build it again"


def test_what_is_told() -> None:
    done = Quickstart(
        recipe=Path("recipes/cpu.yaml"),
        archive=Path("/kept/envs/cpu-0123456789ab.tar.gz"),
        archive_size=218_500_000,
        interpreter="3.11.7",
        locked_interpreter=False,
        verified="30 checks passed",
        compiled=True,
        repository=Path("/kept/repository"),
        server="pytriton-0.7.0",
        answer=((0.5,) * 16, (-0.25,) * 16),
        seconds=66.7,
        kept=True,
    )
    assert done.lines() == [
        "recipe      recipes/cpu.yaml",
        "archive     cpu-0123456789ab.tar.gz, 218 MB, Python 3.11.7 (not the locked one: see the note above)",
        "verified    30 checks passed",
        "server      pytriton-0.7.0",
        "model       repository/mlp, compiled while it loaded",
        "answer      +0.5000 +0.5000 +0.5000 +0.5000 +0.5000 +0.5000 …",
        "            -0.2500 -0.2500 -0.2500 -0.2500 -0.2500 -0.2500 …",
        "took        67 s",
        "kept in     /kept",
    ]
