"""torch.compile is paid while a model loads, and by no request."""

from __future__ import annotations

import importlib
import sys
import sysconfig
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.helpers.runtime import (
    LINEAR,
    MODELS,
    RUNTIME,
    SEED,
    compiled,
    config,
    field,
    graphs,
    sample,
    simple,
)
from tests.runtime.conftest import Serve

pytestmark = [
    pytest.mark.torch,
    # Inductor of torch 2.13 itself uses what torch 2.13 deprecates.
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),
]

GENERATOR = np.random.default_rng(0)


EAGER = {SEED: '{"backend": "aot_eager"}'}


def x(size: int) -> Any:
    return GENERATOR.normal(size=(size, 4)).astype(np.float32)


def test_caches_are_put_into_their_own_folder_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the members of ``compiled.cpu.zip`` are called."""
    place = tmp_path / "a" / "b" / "caches"
    monkeypatch.setattr("torch._inductor.codecache.cache_dir", lambda: str(place))
    outside = tmp_path / "outside"
    packed = tmp_path / "compiled.cpu.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for name in ("x/ok", "../up", "x/../../../up", str(outside), "x/../up", "//up"):
            archive.writestr(name, name)
    monkeypatch.syspath_prepend(str(RUNTIME.parent))
    importlib.import_module("_torch_runtime.dynamo").restore_caches(str(packed))
    made = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    below = f"a/b/caches/{outside.relative_to('/')}"
    assert made == {"compiled.cpu.zip", "a/b/caches/x/ok", below, "a/b/caches/up"}


def test_caches_with_a_member_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch._inductor.codecache.cache_dir", lambda: str(tmp_path / "caches"))
    packed = tmp_path / "compiled.cpu.zip"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/damaged", "x" * 1000)
    data = bytearray(packed.read_bytes())
    data[39:45] = b"\xff" * 6  # of the member's deflated bytes, which follow a header of 30 and a name of 9
    packed.write_bytes(data)
    monkeypatch.syspath_prepend(str(RUNTIME.parent))
    with pytest.raises(zipfile.BadZipFile, match=r"^x/damaged cannot be read: "):
        importlib.import_module("_torch_runtime.dynamo").restore_caches(str(packed))
    assert [path for path in (tmp_path / "caches").rglob("*") if path.is_file()] == []


def test_no_batch_size_recompiles_after_warm_up(serve: Serve) -> None:
    serve.write(LINEAR)
    model = serve.load(compiled())
    before = graphs()
    for size in [*range(1, 9), *range(8, 0, -1)]:
        assert model.infer(x=x(size))["y"].shape == (size, 3)
    assert graphs() == before
    assert [level for level, _ in serve.pb.Logger.lines if level == "error"] == []


def test_batches_of_several_requests_do_not_recompile(serve: Serve) -> None:
    serve.write(LINEAR)
    model = serve.load(compiled())
    before = graphs()
    for sizes in ((1, 1), (1, 2, 3), (2, 5), (0, 1), (0, 0)):
        requests = [
            serve.pb.InferenceRequest(
                inputs=[serve.pb.Tensor("x", x(size))], requested_output_names=[], model_name="m"
            )
            for size in sizes
        ]
        assert not any(response.has_error() for response in model.execute(requests))
    assert graphs() == before


@pytest.mark.parametrize(
    ("dims", "parameters", "frozen"),
    [
        ([4], {}, True),
        ([-1], {}, False),  # each new shape costs a millisecond once
        ([4], {"ENABLE_WEIGHT_SHARING": "true"}, False),
        ([4], {SEED: '{"options": {"freezing": false}}'}, False),
    ],
)
def test_weights_are_laid_out_for_the_cpu_where_shapes_are_few(
    serve: Serve, dims: list[int], parameters: dict[str, str], frozen: bool
) -> None:
    serve.write(LINEAR)
    given = {SEED: "{}", "WARMUP": "false", **parameters}
    serve.load(
        config([field("x", "FP32", dims)], [field("y", "FP32", [3])], max_batch_size=8, parameters=given)
    )
    assert torch._inductor.config.freezing is frozen


def test_the_recompile_limit(serve: Serve) -> None:
    serve.write(LINEAR)
    config = compiled(dynamic=False)
    config["parameters"]["RECOMPILE_LIMIT"] = {"string_value": "3"}
    config["parameters"]["WARMUP"] = {"string_value": '{"batch": [1]}'}
    config["parameters"]["RECOMPILE"] = {"string_value": "allow"}
    before = graphs()
    model = serve.load(config)
    for size in range(1, 9):
        model.infer(x=x(size))
    assert graphs() - before == 3
    assert sum("as many as RECOMPILE_LIMIT allows" in text for text in serve.warnings()) == 1


def test_a_model_that_does_not_compile_whole(serve: Serve) -> None:
    serve.write("""
import torch

def f(x):
    torch._dynamo.graph_break()
    return x[:, :3]
""")
    assert serve.error(compiled(fullgraph=True)).startswith("torch.compile failed: Unsupported: ")
    serve.load(compiled())


def test_a_function_is_compiled(serve: Serve) -> None:
    serve.write("def f(x):\n    return x[:, :3] * 2\n")
    before = graphs()
    model = serve.load(compiled())
    assert graphs() > before
    data = x(5)
    np.testing.assert_array_equal(model.infer(x=data)["y"], data[:, :3] * 2)


def test_strings_are_not_compiled(serve: Serve) -> None:
    serve.write("def f(words):\n    return words\n")
    strings = field("words", "STRING", [1]), field("y", "STRING", [1])
    before = graphs()
    model = serve.load(config([strings[0]], [strings[1]], max_batch_size=8, parameters=EAGER))
    for word in ("a", "b"):
        model.infer(words=np.array([[word]], dtype=object))
    assert graphs() == before


def test_a_dim_of_any_size_is_compiled_once(serve: Serve) -> None:
    serve.write("def f(x):\n    return x.sum(1, keepdim=True)\n")
    described = config(
        [field("x", "FP32", [-1, 4])], [field("y", "FP32", [1, 4])], max_batch_size=32, parameters=EAGER
    )
    model = serve.load(described)
    before = graphs()
    for size in (1, 2, 7, 32):
        for length in (2, 3, 32, 33, 64):
            data = np.ones((size, length, 4), np.float32)
            assert model.infer(x=data)["y"].tolist() == [[[float(length)] * 4]] * size
    assert graphs() == before


def test_the_same_without_batching(serve: Serve) -> None:
    serve.write("def f(x):\n    return x.sum(0, keepdim=True)\n")
    model = serve.load(config([field("x", "FP32", [-1])], [field("y", "FP32", [1])], parameters=EAGER))
    before = graphs()
    for length in (2, 3, 32, 33):
        assert model.infer(x=np.ones(length, np.float32))["y"].tolist() == [float(length)]
    assert graphs() == before


def test_a_batch_of_one_only(serve: Serve) -> None:
    serve.write(LINEAR)
    described = {**compiled(), "max_batch_size": 1}
    model = serve.load(described)
    before = graphs()
    model.infer(x=x(1))
    assert graphs() == before


def load_sample(serve: Serve, name: str) -> Any:
    model = serve.pb.Model(str(RUNTIME), str(MODELS / name), sample(name))
    serve.models.append(model)
    return model


@pytest.mark.slow
def test_the_encoder(serve: Serve) -> None:
    model = load_sample(serve, "encoder")
    module, before = model.instance.engine.model.eager, graphs()
    for size, length in ((1, 2), (3, 5), (16, 100), (2, 48), (16, 16), (5, 256)):
        ids = GENERATOR.integers(0, 1000, size=(size, length))
        mask = GENERATOR.integers(0, 2, size=(size, length)).astype(bool)
        mask[:, 0] = True
        for inputs in ({"ids": ids, "mask": mask}, {"ids": ids}):
            with torch.no_grad():
                expected = module(*(torch.from_numpy(value) for value in inputs.values()))
            answer = model.infer(**inputs)
            for key in ("pooled", "tokens"):
                np.testing.assert_allclose(answer[key], expected[key].numpy(), rtol=1e-3, atol=1e-4)
    assert graphs() == before, serve.pb.Logger.lines


CXX = """#!/bin/sh
# A compiler that finds, at its first real work, what is left where another server was.
case "$*" in *-c*|*-o*) mkdir {marker} 2>/dev/null && ln -sfn {gone} {links};; esac  # one of them alone
exec g++ "$@"
"""


@pytest.fixture
def disturbed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An environment whose stable name leads elsewhere, to a folder that is gone, while the first compiler runs."""
    from torch._dynamo.callback import callback_handler
    from torch._inductor import codecache, config, cpp_builder
    from torch.utils import cpp_extension

    prefix, temporary = tmp_path / "prefix", tmp_path / "temporary"
    (prefix / "share" / "envbuilder").mkdir(parents=True)
    (prefix / "share" / "envbuilder" / "manifest.json").write_text("{}")
    (prefix / "torch").symlink_to(Path(torch.__file__).parent)
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.setattr(sys, "prefix", str(prefix))
    monkeypatch.setattr(callback_handler, "start_callbacks", [])
    for module in (cpp_extension, cpp_builder):
        for name in ("_TORCH_PATH", "TORCH_LIB_PATH", "_LINKER_SCRIPT"):
            if hasattr(module, name):
                value = getattr(module, name).replace(str(Path(torch.__file__).parent), str(prefix / "torch"))
                monkeypatch.setattr(module, name, value)
    for name in ("installed_base", "LIBDIR"):
        monkeypatch.setitem(sysconfig.get_config_vars(), name, sysconfig.get_config_var(name))
    compiler = tmp_path / "cxx"
    compiler.write_text(
        CXX.format(marker=tmp_path / "ran", gone=tmp_path / "gone", links=temporary / "torch-environment-*")
    )
    compiler.chmod(0o755)
    # torch remembers a precompiled header, which goes with the folder of its test; and who made or restored caches in
    # this process turned them off.
    codecache._precompile_header.cache_clear()  # noqa: SLF001 - there is no other way
    with config.patch({"cpp.cxx": (None, str(compiler)), "cpp_cache_precompile_headers": True}):
        yield temporary
    codecache._precompile_header.cache_clear()  # noqa: SLF001 - there is no other way


@pytest.mark.parametrize("warmup", ["{}", "false"])  # while loading, and while a request waits
def test_a_server_that_stops_takes_no_headers_from_one_that_compiles(
    serve: Serve, disturbed: Path, warmup: str
) -> None:
    serve.write(LINEAR)
    model = serve.load(simple(**{SEED: "{}", "WARMUP": warmup}))
    assert model.infer(x=x(3))["y"].shape == (3, 3)
    assert [link.readlink() for link in disturbed.glob("torch-environment-*")] == [Path(sys.prefix)]
    assert (disturbed.parent / "ran").exists()
