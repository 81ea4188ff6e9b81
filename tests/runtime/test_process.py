"""What the runtime does before torch is imported; each in a process of its own, as a stub would be."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.helpers.embedded import run
from tests.helpers.runtime import copy_runtime


def test_open_decodes_utf_8(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("é", encoding="utf-8")
    read = f"open({str(tmp_path / 'text')!r}).read() == chr(233)"
    before = f"""
        try:
            print({read})
        except UnicodeDecodeError as error:
            print(error.encoding)
    """
    assert run(before) == "ascii"
    assert run(f"process.prepare_process(1); print({read})") == "True"


def test_the_environments_libraries_are_hidden_from_children() -> None:
    path = f"{sys.prefix}/lib:{sys.prefix}/lib/:/opt/other::{sys.prefix}/lib"
    show = "process.prepare_process(1); print(os.environ.get('LD_LIBRARY_PATH'))"
    assert run(show, env={"LD_LIBRARY_PATH": path}) == "/opt/other"
    assert run(show, env={"LD_LIBRARY_PATH": f"{sys.prefix}/lib"}) == "None"
    assert run(show) == "None"


def test_what_activation_would_have_set_is_set_again(tmp_path: Path) -> None:
    record = tmp_path / "share" / "envbuilder" / "environment.json"
    record.parent.mkdir(parents=True)
    variables = {"CC": "{prefix}/bin/gcc", "CXX": "g++", "CONDA_PREFIX": "{prefix}"}
    record.write_text(json.dumps({"variables": variables}))
    shown = run(
        f"""
        sys.prefix = {str(tmp_path)!r}
        process.prepare_process(1)
        print(os.environ["CC"], os.environ["CXX"], os.environ["CONDA_PREFIX"])
        """,
        env={"CXX": "my-g++"},
    )
    assert shown == f"{tmp_path}/bin/gcc my-g++ {tmp_path}"


def test_a_uid_without_a_passwd_entry_gets_a_name() -> None:
    shown = run(
        """
        import pwd
        def unknown(uid):
            raise KeyError(uid)
        pwd.getpwuid = unknown
        process.prepare_process(1)
        import getpass
        print(getpass.getuser() == f"uid{os.getuid()}")
        """
    )
    assert shown == "True"


def test_caches_go_where_they_can_be_written(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")  # nothing can be made below a file, not even by root
    shown = run(
        """
        process.prepare_process(1)
        print(os.environ["TRITON_CACHE_DIR"], os.environ["TORCHINDUCTOR_CACHE_DIR"])
        """,
        env={
            "HOME": str(blocked / "home"),
            "TORCHINDUCTOR_CACHE_DIR": str(blocked / "cache"),
            "TMPDIR": str(tmp_path),
            "USER": "me",
        },
    )
    folder = tmp_path / "torchinductor_me"
    assert shown == f"{folder}/triton_cache_dir {folder}/torchinductor_cache_dir"


def test_caches_that_can_be_written_stay(tmp_path: Path) -> None:
    shown = run(
        "process.prepare_process(1); print(os.environ.get('TRITON_CACHE_DIR'), "
        "os.environ['TORCHINDUCTOR_CACHE_DIR'])",
        env={"HOME": str(tmp_path), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "new" / "cache")},
    )
    assert shown == f"None {tmp_path}/new/cache"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("cpus", "instances", "workers"), [(8, 1, 8), (8, 3, 2), (2, 4, 1), (96, 1, 32)])
def test_compile_workers_follow_the_cpus(cpus: int, instances: int, workers: int) -> None:
    shown = run(
        f"""
        process.cpu_count = lambda: {cpus}
        process.prepare_process({instances})
        print(os.environ["TORCHINDUCTOR_COMPILE_THREADS"])
        """
    )
    assert shown == str(workers)


def test_no_compile_workers_where_the_interpreter_cannot_be_started() -> None:
    shown = run(
        """
        sys.executable = "/nowhere/python3"
        process.cpu_count = lambda: 8
        process.prepare_process(1)
        print(os.environ["TORCHINDUCTOR_COMPILE_THREADS"])
        """
    )
    assert shown == "1"


@pytest.mark.torch
@pytest.mark.parametrize(("said", "trusted"), [(None, True), ("0", False)])
def test_no_program_is_compiled_to_ask_for_vector_instructions(said: str | None, trusted: bool) -> None:
    shown = run(
        """
        process.prepare_process(1)
        import torch._inductor.config
        print(torch._inductor.config.cpp.vec_isa_ok)
        """,
        env={} if said is None else {"TORCHINDUCTOR_VEC_ISA_OK": said},
    )
    assert shown == str(trusted)


@pytest.mark.torch
def test_it_is_a_platform_handler(tmp_path: Path) -> None:
    """What ``ModelContext::StubSetup`` and ``Stub::Initialize`` of the Python backend's r23.09 do with a handler."""
    handler = tmp_path / "platform_handlers" / "pytorch" / "model.py"
    copy_runtime(handler.parent, "model.py")
    version = tmp_path / "repository" / "net" / "1"
    version.mkdir(parents=True)
    (version / "model.py").write_text("def f(x):\n    return x + 1\n")
    shown = run(
        f"""
        import json
        sys.path += [{f"{handler.parent}/"!r}, {str(tmp_path)!r}]
        import model as handler
        import numpy as np
        import triton_python_backend_utils as pb
        served = handler.TritonPythonModel()
        served.initialize({{
            "model_config": json.dumps({{
                "platform": "pytorch", "backend": "python", "default_model_filename": "",
                "max_batch_size": 0, "parameters": {{}},
                "input": [{{"name": "x", "data_type": "TYPE_FP32", "dims": [1]}}],
                "output": [{{"name": "y", "data_type": "TYPE_FP32", "dims": [1]}}],
                "parameters": {{"TORCH_COMPILE_OPTIONAL_PARAMETERS":
                                {{"string_value": json.dumps({{"disable": True}})}}}},
            }}),
            "model_instance_kind": "CPU", "model_instance_name": "net_0", "model_instance_device_id": "0",
            "model_repository": {str(version.parent)!r}, "model_version": "1", "model_name": "net",
        }})
        request = pb.InferenceRequest(
            inputs=[pb.Tensor("x", np.ones(1, np.float32))], requested_output_names=["y"], model_name="m"
        )
        print(served.execute([request])[0].output_tensors()[0].as_numpy())
        served.finalize()
        """
    )
    assert shown == "[2.]"
