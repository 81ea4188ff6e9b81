"""Weights, read without running code that is in them."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.helpers.linear import X, expected, state
from tests.helpers.runtime import LINEAR, simple
from tests.runtime.conftest import Serve

pytestmark = [
    pytest.mark.torch,
    # TorchScript is served for those who have it; torch itself calls it deprecated.
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),
]


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: s,
        lambda s: {"state_dict": s, "epoch": 3},
        lambda s: {f"module.{k}": v for k, v in s.items()},
        lambda s: {f"_orig_mod.{k}": v for k, v in s.items()},
        lambda s: {"state_dict": {f"module._orig_mod.{k}": v for k, v in s.items()}},
        lambda s: {f"_orig_mod.module.{k}": v for k, v in s.items()},
    ],
    ids=["plain", "checkpoint", "ddp", "compiled", "ddp-compiled", "compiled-ddp"],
)
def test_a_state_dict(serve: Serve, linear: torch.nn.Linear, wrap: Any) -> None:
    serve.write(LINEAR)
    torch.save(wrap(state(linear)), serve.folder() / "model.pt")
    np.testing.assert_allclose(serve.load(simple()).infer(x=X)["y"], expected(linear), rtol=1e-6)
    assert serve.warnings() == []


def test_a_state_dict_is_mapped_not_read(serve: Serve, linear: torch.nn.Linear) -> None:
    serve.write(LINEAR)
    torch.save(state(linear), serve.folder() / "model.pt")
    model = serve.load(simple())
    assert str(serve.folder() / "model.pt") in Path("/proc/self/maps").read_text()
    assert model.instance.engine.model.eager.linear.weight.shape == (3, 4)


def test_the_format_of_torch_save_before_1_6(serve: Serve, linear: torch.nn.Linear) -> None:
    serve.write(LINEAR)
    torch.save(state(linear), serve.folder() / "model.pt", _use_new_zipfile_serialization=False)
    np.testing.assert_allclose(serve.load(simple()).infer(x=X)["y"], expected(linear), rtol=1e-6)


def test_safetensors(serve: Serve, linear: torch.nn.Linear) -> None:
    serve.write(LINEAR)
    save_file(state(linear), serve.folder() / "model.safetensors")
    np.testing.assert_allclose(serve.load(simple()).infer(x=X)["y"], expected(linear), rtol=1e-6)
    assert "safetensors" in Path("/proc/self/maps").read_text()


def test_safetensors_of_every_dtype(serve: Serve) -> None:
    dtypes = ["float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool"]
    tensors = {f"t_{d}": torch.tensor([[0, 1, 1]]).to(getattr(torch, d)) for d in dtypes}
    tensors["empty"], tensors["scalar"] = torch.empty(0, 2), torch.tensor(7.0)
    save_file(tensors, serve.folder() / "model.safetensors")
    serve.write(f"""
import torch
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        for name in {dtypes}:
            self.register_buffer("t_" + name, torch.zeros(1, 3, dtype=getattr(torch, name)))
        self.register_buffer("empty", torch.ones(0, 2))
        self.register_buffer("scalar", torch.tensor(0.0))
    def forward(self, x):
        return x[:, :3]
""")
    served = serve.load(simple()).instance.engine.model.eager
    for name, value in tensors.items():
        found = getattr(served, name)
        assert found.dtype is value.dtype
        assert torch.equal(found, value)


def test_a_state_dict_of_another_model(serve: Serve, linear: torch.nn.Linear) -> None:
    serve.write(LINEAR)
    torch.save({"linear.weight": torch.zeros(5, 4), "head.bias": torch.zeros(1)}, serve.folder() / "model.pt")
    assert serve.error(simple()) == (
        "model.pt does not fit Net: missing: linear.bias; unexpected: head.bias; "
        "linear.weight has the shape [5, 4], the model [3, 4]"
    )


def test_many_keys_are_cut(serve: Serve) -> None:
    serve.write(LINEAR)
    torch.save({f"k{i}": torch.zeros(1) for i in range(11)}, serve.folder() / "model.pt")
    assert serve.error(simple()) == (
        "model.pt does not fit Net: missing: linear.weight, linear.bias; "
        "unexpected: k0, k1, k2, k3, k4, k5, k6, k7 and 3 more"
    )


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.path}",)


def test_a_pickle_that_wants_to_run_code(serve: Serve, tmp_path: Path) -> None:
    serve.write(LINEAR)
    traces = tmp_path / "it ran"
    torch.save({"linear.weight": Bomb(traces)}, serve.folder() / "model.pt")
    told = (
        "model.pt wants posix.system while it is unpickled, which could run code: refused; "
        "save it again as torch.save(module.state_dict(), path)"
    )
    assert serve.error(simple()) == told
    torch.save(
        {"linear.weight": Bomb(traces)}, serve.folder() / "model.pt", _use_new_zipfile_serialization=False
    )
    assert serve.error(simple()) == told
    assert not traces.exists()


def test_a_whole_module_pickled(serve: Serve, linear: torch.nn.Linear) -> None:
    serve.write(LINEAR)
    torch.save(linear, serve.folder() / "model.pt")
    assert serve.error(simple()) == (
        "model.pt wants torch.nn.modules.linear.Linear while it is unpickled, which could run code: refused; "
        "save it again as torch.save(module.state_dict(), path)"
    )


def test_a_pickle_of_something_else(serve: Serve) -> None:
    serve.write(LINEAR)
    torch.save([torch.zeros(1)], serve.folder() / "model.pt")
    assert serve.error(simple()) == (
        "model.pt contains a list, not a state_dict; save it again as torch.save(module.state_dict(), path)"
    )


def _zip_bomb(path: Path, pickled: bytes, unpacked: int) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model/data.pkl", pickled)
        with archive.open("model/data/0", "w", force_zip64=True) as member:
            for _ in range(unpacked // 2**24):
                member.write(bytes(2**24))


def test_a_zip_bomb(serve: Serve) -> None:
    serve.write(LINEAR)
    _zip_bomb(serve.folder() / "model.pt", b"\x80\x02}.", 2**30 + 2**27)
    size = (serve.folder() / "model.pt").stat().st_size
    assert serve.error(simple()) == (
        f"model.pt would unpack to {2**30 + 2**27 + 4:,} bytes, more than {2**30 + size:,}: "
        "its size and 1 GiB, as torch compresses no tensors"
    )


def _header(text: str, data: int = 8, *, length: int | None = None) -> bytes:
    return (len(text) if length is None else length).to_bytes(8, "little") + text.encode() + bytes(data)


def _tensor(begin: object, end: object, shape: object, dtype: object = "F32") -> str:
    return json.dumps({"dtype": dtype, "shape": shape, "data_offsets": [begin, end]})


LIES = {
    "a header of 2^63 bytes": (
        _header("{}", length=2**63),
        "claims to have 9,223,372,036,854,775,808 bytes, 10 follow",
    ),
    "a header behind the end": (_header("{}", length=11), "its header claims to have 11 bytes, 10 follow"),
    "one over another": (
        _header(f'{{"a": {_tensor(0, 8, [2])}, "b": {_tensor(4, 8, [1])}}}'),
        "the header places b in bytes 4 to 8 of 8; expected 8 or later",
    ),
    "in the header": (
        _header(f'{{"a": {_tensor(-8, 0, [2])}}}'),
        "the header places a in bytes -8 to 0 of 8",
    ),
    "behind the end": (
        _header(f'{{"a": {_tensor(0, 12, [3])}}}'),
        "the header places a in bytes 0 to 12 of 8",
    ),
    "from behind": (_header(f'{{"a": {_tensor(8, 0, [2])}}}'), "the header places a in bytes 8 to 0 of 8"),
    "memory that nobody wrote": (
        _header(f'{{"a": {_tensor(0, 0, [10**9])}}}'),
        "invalid for input of size 0",
    ),
    "a shape that is larger": (_header(f'{{"a": {_tensor(0, 8, [3])}}}'), "shape '[3]' is invalid"),
    "a shape of 2^64": (_header(f'{{"a": {_tensor(0, 8, [2**64])}}}'), ""),
    "a shape that is none": (_header(f'{{"a": {_tensor(0, 8, "x")}}}'), ""),
    "offsets that are texts": (_header(f'{{"a": {_tensor("0", "8", [2])}}}'), ""),
    "offsets that are fractions": (_header(f'{{"a": {_tensor(0.0, 8.0, [2])}}}'), ""),
    "another dtype": (_header(f'{{"a": {_tensor(0, 8, [2], "__class__")}}}'), "KeyError"),
    "no entry": (_header('{"a": 1}'), ""),
    "a number": (_header("10"), ""),
    "nothing but brackets": (_header("[" * 100_000), "RecursionError"),
}


@pytest.mark.parametrize("lie", LIES)
def test_safetensors_with_a_header_that_lies(serve: Serve, lie: str) -> None:
    data, told = LIES[lie]
    serve.write(LINEAR)
    (serve.folder() / "model.safetensors").write_bytes(data)
    error = serve.error(simple())
    assert error.startswith("model.safetensors is not a safetensors file: ")
    assert told in error


def test_a_header_of_safetensors_above_the_limit(serve: Serve) -> None:
    serve.write(LINEAR)
    path = serve.folder() / "model.safetensors"
    path.write_bytes(_header("{", length=2**40))
    os.truncate(path, 2**41)  # sparse
    told = "its header claims to have 1,099,511,627,776 bytes, the limit is 100,000,000"
    assert told in serve.error(simple())


def test_safetensors_that_are_none(serve: Serve) -> None:
    serve.write(LINEAR)
    for text in (b"\xff" * 64, (2).to_bytes(8, "little") + b"[]"):
        (serve.folder() / "model.safetensors").write_bytes(text)
        assert serve.error(simple()).startswith("model.safetensors is not a safetensors file: ")
