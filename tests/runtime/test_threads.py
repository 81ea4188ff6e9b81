"""How many threads a model computes with."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.embedded import run
from tests.helpers.runtime import LINEAR, RUNTIME, simple
from tests.runtime.conftest import Serve

pytestmark = pytest.mark.torch


@pytest.fixture
def net(serve: Serve) -> Serve:
    serve.write(LINEAR)
    return serve


def test_thread_counts(net: Serve) -> None:
    import torch

    net.load(simple(NUM_THREADS="1"))
    assert torch.get_num_threads() == 1
    net.load(simple(INTRA_OP_THREAD_COUNT="3"))
    assert torch.get_num_threads() == 3


@pytest.mark.parametrize(
    ("groups", "threads"),
    [([{"count": 1}], 8), ([{"count": 3}], 2), ([{"count": 2, "gpus": [0, 1]}, {"count": 1}], 1), ([], 8)],
)
def test_unset_threads_are_the_cpus_by_instances(
    net: Serve, monkeypatch: pytest.MonkeyPatch, groups: list[dict[str, Any]], threads: int
) -> None:
    import torch

    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    monkeypatch.setattr("builtins.open", without_quota(open))
    net.load({**simple(WARMUP="false"), "instance_group": groups})
    assert torch.get_num_threads() == threads


def without_quota(real: Any) -> Any:
    def opened(path: Any, *args: Any, **kwargs: Any) -> Any:
        if str(path).startswith("/sys/fs/cgroup"):
            raise FileNotFoundError(path)
        return real(path, *args, **kwargs)

    return opened


def test_a_quota_of_the_control_group_counts(
    net: Serve, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import torch

    quota = tmp_path / "cpu.max"
    quota.write_text("250000 100000\n")
    real = open
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    monkeypatch.setattr(
        "builtins.open", lambda p, *a, **k: real(quota if str(p) == "/sys/fs/cgroup/cpu.max" else p, *a, **k)
    )
    net.load(simple(WARMUP="false"))
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize(
    ("milliseconds", "threads"),
    [
        ("4", 1),  # threads do not help: one is left
        ("9 / threads", 4),  # each helps
        ("4 if threads > 1 else 8", 2),  # the second helps, the third and fourth do not
        ("15", 4),  # so long a call that a thread's cost does not count
    ],
)
def test_unset_threads_are_fewer_where_more_do_not_help(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, milliseconds: str, threads: int
) -> None:
    import torch

    serve.write(f"""
import time, torch

def sleep(x):
    threads = torch.get_num_threads()
    time.sleep(({milliseconds}) / 1000)
    return x[:, :3]
""")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(4)))
    monkeypatch.setattr("builtins.open", without_quota(open))
    serve.load(simple())
    assert torch.get_num_threads() == threads
    assert ("info", f"net: {threads} of 4 threads") in serve.pb.Logger.lines
    serve.load(simple(NUM_THREADS="4"))
    assert torch.get_num_threads() == 4


def test_disable_cudnn(net: Serve) -> None:
    import torch

    net.load(simple(DISABLE_CUDNN="true"))
    assert torch.backends.cudnn.enabled is False
    net.load(simple())
    assert torch.backends.cudnn.enabled is True


@pytest.mark.torch
def test_interop_threads_are_set_before_torch_works(tmp_path: Path) -> None:
    folder = tmp_path / "net" / "1"
    folder.mkdir(parents=True)
    (folder / "model.py").write_text("def f(x):\n    return x\n")
    config = {
        "max_batch_size": 0,
        "input": [{"name": "x", "data_type": "TYPE_FP32", "dims": [1]}],
        "output": [{"name": "y", "data_type": "TYPE_FP32", "dims": [1]}],
        "parameters": {
            "NUM_INTEROP_THREADS": {"string_value": "3"},
            "TORCH_COMPILE_OPTIONAL_PARAMETERS": {"string_value": '{"disable": true}'},
        },
    }
    shown = run(
        f"""
        import triton_python_backend_utils as pb
        pb.Model({str(RUNTIME)!r}, {str(folder.parent)!r}, {config!r})
        import torch
        print(torch.get_num_interop_threads())
        """,
        options=("-I", "-W", "error"),
    )
    assert shown == "3"
