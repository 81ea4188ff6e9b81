"""A job is read, done, and answered in one file; the process ends whatever a model leaves running."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from envbuilder import guest
from envbuilder.guest.job import conditions, strip_library_path, write

LEFT = """
import sys, threading, time
from envbuilder.guest.job import leave

print("answered")
threading.Thread(target=time.sleep, args=(30,), daemon=sys.argv[1] == "daemon").start()
leave()
print("went on")
"""


@pytest.mark.parametrize(("kind", "said"), [("other", "answered\n"), ("daemon", "answered\nwent on\n")])
def test_a_thread_that_a_model_leaves_is_not_waited_for(kind: str, said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LEFT, kind], check=True, stdout=subprocess.PIPE, text=True, timeout=20
    )
    assert done.stdout == said


OWN = """
import numpy as np
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    @staticmethod
    def auto_complete_config(config):
        config.set_max_batch_size(3)
        return config

    def execute(self, requests):
        raise AssertionError("completing a configuration asks for no answer")
"""


def done(
    tmp_path: Path, job: dict[str, Any], **variables: str
) -> tuple[Any, subprocess.CompletedProcess[str]]:
    """Have a job done by a process of its own; return its answer, None where it gives none."""
    answer, path = tmp_path / "answer.json", tmp_path / "job.json"
    path.write_text(json.dumps({"answer": str(answer), **job}))
    main = Path(guest.__file__).parent / "__main__.py"
    ended = subprocess.run(
        [sys.executable, "-I", str(main), str(path)],
        env={"PATH": "/usr/bin:/bin", **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return json.loads(answer.read_text()) if answer.exists() else None, ended


def model(tmp_path: Path, source: str) -> dict[str, Any]:
    (tmp_path / "own" / "1").mkdir(parents=True)
    (tmp_path / "own" / "1" / "model.py").write_text(source)
    config = {
        "name": "own",
        "max_batch_size": 0,
        "input": [{"name": "x", "data_type": "TYPE_FP32", "dims": [1]}],
        "output": [],
    }
    return {"model": str(tmp_path / "own"), "version": "1", "file": "model.py", "config": config}


def test_a_configuration_is_completed(tmp_path: Path) -> None:
    found, ended = done(tmp_path, {"task": "complete", "own": True, **model(tmp_path, OWN)})
    assert ended.returncode == 0, ended.stderr
    assert found["config"]["max_batch_size"] == 3


def test_a_model_that_completes_nothing(tmp_path: Path) -> None:
    without = OWN.replace("auto_complete_config", "another")
    found, ended = done(tmp_path, {"task": "complete", **model(tmp_path, without)})
    assert found == {}, ended.stderr


def test_what_goes_wrong_is_answered_with_where(tmp_path: Path) -> None:
    found, ended = done(tmp_path, {"task": "complete", **model(tmp_path, "raise OSError('no disk')\n")})
    assert ended.returncode == 0
    assert (found["failed"]["stage"], found["failed"]["text"]) == ("probe", "OSError: no disk")
    assert "model.py" in found["failed"]["trace"]
    assert "OSError: no disk" in ended.stderr, "for who reads the last lines"


def test_a_model_that_ends_its_process_is_answered_for(tmp_path: Path) -> None:
    job = model(tmp_path, "import os\nos._exit(3)\n")
    np.savez(tmp_path / "inputs.npz")
    paths = {"inputs": str(tmp_path / "inputs.npz"), "outputs": str(tmp_path / "outputs.npz")}
    found, ended = done(
        tmp_path,
        {"task": "probe", "own": True, "brief": True, "caches": [], "scratch": str(tmp_path), **paths, **job},
    )
    assert ended.returncode == 3
    assert found["failed"]["stage"] == "ended"
    assert found["conditions"]["isolated"] == 1


def test_an_answer_is_whole_or_none(tmp_path: Path) -> None:
    write({"answer": str(tmp_path / "answer")}, {"a": 1})
    with pytest.raises(TypeError):
        write({"answer": str(tmp_path / "answer")}, {"a": object()})
    assert json.loads((tmp_path / "answer").read_text()) == {"a": 1}


def test_how_a_process_was_started() -> None:
    found = conditions()
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert found["prefix"] == sys.prefix
    assert found["variables"] == sorted(os.environ)
    assert found["isolated"] == sys.flags.isolated


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("/env/lib:/usr/lib", "/usr/lib"),
        ("/usr/lib:/env/lib:/env/lib", "/usr/lib:/env/lib"),
        ("/environment/lib", "/environment/lib"),
        ("", ""),
        (None, ""),
    ],
)
def test_the_first_entry_of_the_library_path_is_taken_off(
    monkeypatch: pytest.MonkeyPatch, before: str | None, after: str
) -> None:
    """As Triton's stub does once it runs: a child finds its library by itself."""
    if before is None:
        monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    else:
        monkeypatch.setenv("LD_LIBRARY_PATH", before)
    strip_library_path("/env")
    assert os.environ["LD_LIBRARY_PATH"] == after
