"""What a version folder can hold, and what it cannot."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.helpers.runtime import LINEAR, UNCOMPILED, config, field, load_runtime, simple
from tests.runtime.conftest import Serve

pytestmark = [
    pytest.mark.torch,
    # TorchScript is served for those who have it; torch itself calls it deprecated.
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),
]
X = np.linspace(-1, 1, 8, dtype=np.float32).reshape(2, 4)


@pytest.fixture
def linear() -> torch.nn.Linear:
    torch.manual_seed(0)
    return torch.nn.Linear(4, 3)


def state(linear: torch.nn.Linear, prefix: str = "linear.") -> dict[str, torch.Tensor]:
    return {prefix + key: value for key, value in linear.state_dict().items()}


def expected(linear: torch.nn.Linear) -> Any:
    with torch.no_grad():
        return linear(torch.from_numpy(X)).numpy()


def test_a_module_as_constructed(serve: Serve) -> None:
    serve.write("import torch\ntorch.manual_seed(0)\n" + LINEAR)
    y = serve.load(simple()).infer(x=X)["y"]
    torch.manual_seed(0)
    np.testing.assert_allclose(y, expected(torch.nn.Linear(4, 3)), rtol=1e-6)
    assert serve.warnings() == ["net: Net has parameters and no weights file: served as constructed"]


def test_a_module_without_parameters_needs_no_weights(serve: Serve) -> None:
    serve.write(
        "import torch\nclass Net(torch.nn.Module):\n    def forward(self, x):\n        return x[:, :3]\n"
    )
    np.testing.assert_array_equal(serve.load(simple()).infer(x=X)["y"], X[:, :3])
    assert serve.warnings() == []


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


def test_a_state_dict_without_its_model(serve: Serve, linear: torch.nn.Linear) -> None:
    torch.save(linear.state_dict(), serve.folder() / "model.pt")
    assert serve.error(simple()) == (
        "model.pt holds weights without a model: put the model.py that defines it beside them"
    )


def test_weights_beside_a_function(serve: Serve, linear: torch.nn.Linear) -> None:
    serve.write("def f(x):\n    return x\n")
    torch.save(linear.state_dict(), serve.folder() / "model.pt")
    assert serve.error(simple()) == "model.pt has nowhere to go: f is a function, not an nn.Module"


def test_two_weights_files(serve: Serve, linear: torch.nn.Linear) -> None:
    serve.write(LINEAR)
    torch.save(state(linear), serve.folder() / "model.pt")
    save_file(state(linear), serve.folder() / "model.safetensors")
    assert serve.error(simple()) == (
        f"both model.safetensors and model.pt in {serve.folder()}: keep the one that is meant"
    )


def test_an_html_error_page(serve: Serve) -> None:
    (serve.folder() / "model.pt").write_text("<!DOCTYPE html>\n<title>404 Not Found</title>\n")
    told = (
        "model.pt is not a file that PyTorch wrote: it begins with b'<!DOCTYPE html>\\n<title>404 Not F' "
        "(a download that failed, or a Git LFS pointer?)"
    )
    assert serve.error(simple()) == told
    serve.write(LINEAR)
    assert serve.error(simple()) == told


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
    assert serve.error(simple()) == "model.pt holds no state_dict but a list"


def test_a_file_cut_short(serve: Serve, linear: torch.nn.Linear) -> None:
    serve.write(LINEAR)
    torch.save(state(linear), serve.folder() / "model.pt")
    whole = (serve.folder() / "model.pt").read_bytes()
    (serve.folder() / "model.pt").write_bytes(whole[: len(whole) // 2])
    assert serve.error(simple()) == "model.pt is cut short or damaged: a zip archive without its end"


@pytest.mark.parametrize(
    ("file", "member", "told"),
    [
        ("model.pt", "model/data.pkl", "model.pt cannot be read: "),
        (
            "model.pt",
            "model/constants.pkl",
            f"torch {torch.__version__} cannot load model.pt (torchscript): ",
        ),
        ("model.pt2", "models/model.json", f"torch {torch.__version__} cannot load model.pt2 (exported): "),
    ],
)
def test_an_archive_with_nothing_of_use_in_it(serve: Serve, file: str, member: str, told: str) -> None:
    if member.endswith("data.pkl"):
        serve.write(LINEAR)
    with zipfile.ZipFile(serve.folder() / file, "w") as archive:
        archive.writestr(member, b"nothing")
    text = serve.error(simple())
    assert text.startswith(told)
    assert "\n" not in text


def test_safetensors_that_are_none(serve: Serve) -> None:
    serve.write(LINEAR)
    for text in (b"", b"<html>", b"\xff" * 64, (2).to_bytes(8, "little") + b"[]"):
        (serve.folder() / "model.safetensors").write_bytes(text)
        assert serve.error(simple()).startswith("model.safetensors is not a safetensors file: ")


def save_script(module: torch.nn.Module, path: Path) -> None:
    script: Any = torch.jit.script(module)
    script.save(str(path))


def test_torchscript(serve: Serve, linear: torch.nn.Linear) -> None:
    save_script(linear, serve.folder() / "model.pt")
    np.testing.assert_allclose(serve.load(simple()).infer(x=X)["y"], expected(linear), rtol=1e-6)


def test_what_a_file_is_does_not_come_from_its_name(serve: Serve, linear: torch.nn.Linear) -> None:
    serve.write(LINEAR)
    save_script(linear, serve.folder() / "model.pt")
    assert serve.error(simple()) == "model.pt beside model.py must hold a state_dict, it holds torchscript"


def test_torchscript_of_a_newer_version(serve: Serve, linear: torch.nn.Linear) -> None:
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(linear), buffer)
    with (
        zipfile.ZipFile(buffer) as old,
        zipfile.ZipFile(serve.folder() / "model.pt", "w", zipfile.ZIP_STORED) as new,
    ):
        for member in old.namelist():
            content = b"999\n" if member.endswith("/version") else old.read(member)
            new.writestr(member, content)
    assert serve.error(simple()) == (
        f"model.pt was written by a newer torch: its format is 999, torch {torch.__version__} reads up to 10"
    )


def test_an_exported_program(serve: Serve, linear: torch.nn.Linear) -> None:
    batch = torch.export.Dim("batch", max=64)
    program = torch.export.export(linear, (torch.zeros(2, 4),), dynamic_shapes=({0: batch},))
    torch.export.save(program, serve.folder() / "model.pt2")
    np.testing.assert_allclose(serve.load(simple()).infer(x=X)["y"], expected(linear), rtol=1e-6)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`isinstance:FutureWarning")  # torch's own, while it packages
def test_an_aotinductor_package(serve: Serve, linear: torch.nn.Linear) -> None:
    batch = torch.export.Dim("batch", max=64)
    program = torch.export.export(linear, (torch.zeros(2, 4),), dynamic_shapes=({0: batch},))
    path = serve.folder() / "model.pt2"
    torch._inductor.aoti_compile_and_package(program, package_path=str(path))
    model = serve.load(simple())
    np.testing.assert_allclose(model.infer(x=X)["y"], expected(linear), rtol=1e-5)
    np.testing.assert_allclose(model.infer(x=X[:1])["y"], expected(linear)[:1], rtol=1e-5)


def test_a_pt2_goes_before_its_source(serve: Serve, linear: torch.nn.Linear) -> None:
    serve.write("raise RuntimeError('not to be imported')\n")
    batch = torch.export.Dim("batch", max=64)
    program = torch.export.export(linear, (torch.zeros(2, 4),), dynamic_shapes=({0: batch},))
    torch.export.save(program, serve.folder() / "model.pt2")
    np.testing.assert_allclose(serve.load(simple()).infer(x=X)["y"], expected(linear), rtol=1e-6)


def test_a_function(serve: Serve) -> None:
    serve.write(
        "import math\nfrom math import sqrt\n\ndef _helper(x):\n    return x * math.sqrt(4)\n\n"
        "def serve(x):\n    return _helper(x)[:, :3]\n"
    )
    np.testing.assert_array_equal(serve.load(simple()).infer(x=X)["y"], X[:, :3] * 2)


def test_one_of_several_functions(serve: Serve) -> None:
    serve.write("def f(x):\n    return x[:, :3]\n\ndef g(x):\n    return -x[:, :3]\n")
    assert serve.error(simple()) == (
        "model.py defines several functions: f, g; MODEL_FUNCTION says which is served"
    )
    np.testing.assert_array_equal(serve.load(simple(MODEL_FUNCTION="g")).infer(x=X)["y"], -X[:, :3])
    assert serve.error(simple(MODEL_FUNCTION="h")) == (
        "MODEL_FUNCTION: there is no 'h' in model.py; found: f, g"
    )


TWO = """
import torch
from torch.nn import Linear, Module

class Block(Module):
    def forward(self, x):
        return x[:, :3]

class Net(Block):
    pass
"""


def test_several_candidates(serve: Serve) -> None:
    serve.write(TWO)
    assert serve.error(simple()) == (
        "model.py defines several nn.Modules: Block, Net; MODEL_CLASS says which is served"
    )
    assert type(serve.load(simple(MODEL_CLASS="Net")).instance.engine.model.eager).__name__ == "Net"


def test_a_class_that_is_not_there(serve: Serve) -> None:
    serve.write(TWO)
    assert serve.error(simple(MODEL_CLASS="Nett")) == (
        "MODEL_CLASS: there is no 'Nett' in model.py; found: Block, Net"
    )
    assert serve.error(simple(MODEL_CLASS="torch")) == (
        "MODEL_CLASS: there is no 'torch' in model.py; found: Block, Net"
    )


def test_an_imported_class_can_be_named(serve: Serve) -> None:
    serve.write("from torch.nn import Identity, Linear\n")
    assert serve.error(simple()) == "model.py defines no nn.Module and no function"
    serve.load(
        config(
            [field("x", "FP32", [4])],
            [field("y", "FP32", [4])],
            max_batch_size=8,
            parameters={**UNCOMPILED, "MODEL_CLASS": "Identity"},
        )
    )


def test_no_candidate(serve: Serve) -> None:
    serve.write("X = 1\n")
    assert serve.error(simple()) == "model.py defines no nn.Module and no function"


def test_nothing_to_serve(serve: Serve) -> None:
    assert serve.error(simple()) == (
        f"nothing to serve in {serve.folder()}: no model.py, model.pt, model.safetensors or model.pt2"
    )


def test_a_file_that_cannot_be_imported(serve: Serve) -> None:
    serve.write("import torch\nimport not_there\n")
    assert serve.error(simple()) == (
        "model.py cannot be imported: ModuleNotFoundError: No module named 'not_there' (model.py, line 2)"
    )
    serve.write("def f(:\n")
    assert serve.error(simple()) == (
        "model.py cannot be imported: SyntaxError: invalid syntax (model.py, line 1)"
    )


def test_a_constructor_that_raises(serve: Serve) -> None:
    serve.write(LINEAR.replace("super()", "raise ValueError('no such layer')\n        super()"))
    assert serve.error(simple()) == (
        "the constructor of Net raised ValueError: no such layer (model.py, line 6)"
    )


def test_kwargs_that_the_constructor_does_not_take(serve: Serve) -> None:
    serve.write(LINEAR)
    assert serve.error(simple(MODEL_KWARGS='{"depth": 3}')) == (
        "the constructor of Net raised TypeError: Net.__init__() got an unexpected keyword argument 'depth'"
    )


HELPED = """
import torch
import blocks
from .blocks import SCALE

class Net(torch.nn.Module):
    def forward(self, x):
        from .late import SHIFT
        assert blocks.SCALE == SCALE
        return x[:, :3] * SCALE + SHIFT
"""


def test_two_models_with_a_helper_of_the_same_name(serve: Serve) -> None:
    for name, scale in (("one", 1.0), ("two", 2.0)):
        serve.write(HELPED, name)
        serve.write(f"SCALE = {scale}\n", name, file="blocks.py")
        serve.write(f"SHIFT = {scale}\n", name, file="late.py")
    one, two = serve.load(simple(), "one"), serve.load(simple(), "two")
    np.testing.assert_array_equal(one.infer(x=X)["y"], X[:, :3] + 1)
    np.testing.assert_array_equal(two.infer(x=X)["y"], X[:, :3] * 2 + 2)


def test_two_versions_at_once(serve: Serve) -> None:
    for version in ("1", "2"):
        serve.write(f"def f(x):\n    return x[:, :3] * {version}\n", version=version)
    first, second = serve.load(simple(), version="1"), serve.load(simple(), version="2")
    np.testing.assert_array_equal(first.infer(x=X)["y"], X[:, :3])
    np.testing.assert_array_equal(second.infer(x=X)["y"], X[:, :3] * 2)


def test_objects_of_the_models_file_pickle(serve: Serve) -> None:
    serve.write(LINEAR, name="my-net")
    module = serve.load(simple(), "my-net").instance.engine.model.eager
    assert type(module).__module__ == "triton_model_my_net_1.model"
    again = pickle.loads(pickle.dumps(module))
    assert type(again) is type(module)


def test_the_users_file_is_called_otherwise(serve: Serve, linear: torch.nn.Linear) -> None:
    serve.write(LINEAR, file="net.py")
    torch.save(state(linear), serve.folder() / "net.pt")
    named = {**simple(), "default_model_filename": "net.py"}
    np.testing.assert_allclose(serve.load(named).infer(x=X)["y"], expected(linear), rtol=1e-6)


def test_kind_model_goes_where_the_model_put_itself(serve: Serve, linear: torch.nn.Linear) -> None:
    serve.write(LINEAR)
    assert serve.load(simple(), kind="MODEL").instance.engine.model.device == torch.device("cpu")


def test_kind_model_of_a_module_without_parameters(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    pick = load_runtime().runtime_module("loading").pick_device
    serve.write("def f(x):\n    return x[:, :3]\n")
    assert serve.load(simple(), kind="MODEL").instance.engine.model.device == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert pick("MODEL", "0", torch.nn.Identity()) == torch.device("cuda:0")
    assert pick("GPU", "3", None) == torch.device("cuda:3")
