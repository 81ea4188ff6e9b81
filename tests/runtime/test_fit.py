"""Which keys may be absent or too many, and which prefix is only a matter of names."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file, save_model

from tests.helpers.runtime import LINEAR, UNCOMPILED, config, field, simple
from tests.runtime.conftest import Serve

pytestmark = pytest.mark.torch

CURE = "save it again as torch.save(module.state_dict(), path)"
X = np.linspace(-1, 1, 8, dtype=np.float32).reshape(2, 4)
TIED = """
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(5, 4)
        self.head = torch.nn.Linear(4, 5, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, ids):
        return self.head(self.embedding(ids))
"""


def tied(**parameters: str) -> dict[str, object]:
    inputs, outputs = [field("ids", "INT64", [-1])], [field("y", "FP32", [-1, 5])]
    return config(inputs, outputs, max_batch_size=4, parameters={**UNCOMPILED, **parameters})


def tied_module() -> torch.nn.Module:
    names: dict[str, type[torch.nn.Module]] = {}
    exec(TIED, names)
    torch.manual_seed(7)
    return names["Net"]()


@pytest.mark.parametrize("kept", [{"embedding.weight"}, {"head.weight"}, {"embedding.weight", "head.weight"}])
def test_tied_weights(serve: Serve, kept: set[str]) -> None:
    serve.write(TIED)
    module = tied_module()
    state = {key: value.clone() for key, value in module.state_dict().items() if key in kept}
    save_file(state, serve.folder() / "model.safetensors")
    model = serve.load(tied())
    ids = np.array([[0, 3, 4]])
    with torch.no_grad():
        expected = module(torch.from_numpy(ids)).numpy()
    np.testing.assert_allclose(model.infer(ids=ids)["y"], expected, rtol=1e-6)
    eager = model.instance.engine.model.eager
    assert eager.head.weight is eager.embedding.weight
    assert serve.warnings() == []


def test_tied_weights_as_safetensors_saves_them(serve: Serve) -> None:
    serve.write(TIED)
    module = tied_module()
    save_model(module, str(serve.folder() / "model.safetensors"))
    eager = serve.load(tied()).instance.engine.model.eager
    assert torch.equal(eager.head.weight, module.get_parameter("head.weight"))
    assert torch.equal(eager.embedding.weight, module.get_parameter("head.weight"))


def test_two_tensors_for_what_is_tied(serve: Serve) -> None:
    serve.write(TIED)
    state = {"embedding.weight": torch.zeros(5, 4), "head.weight": torch.ones(5, 4)}
    save_file(state, serve.folder() / "model.safetensors")
    assert serve.error(tied()) == (
        "model.safetensors does not fit: embedding.weight and head.weight are one tensor in the model, "
        "and two in the file"
    )


def state(prefix: str) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return {prefix + key: value for key, value in torch.nn.Linear(4, 3).state_dict().items()}


@pytest.mark.parametrize("before", ["bert.", "model.net.", "module.model."])
def test_a_prefix_of_the_file(serve: Serve, before: str) -> None:
    serve.write(LINEAR)
    save_file(state(f"{before}linear."), serve.folder() / "model.safetensors")
    loaded = serve.load(simple()).instance.engine.model.eager
    assert torch.equal(loaded.linear.weight, state("")["weight"])
    told = f"net: model.safetensors: all its keys begin with {before}, which the model lacks: removed"
    assert ("info", told) in serve.pb.Logger.lines
    assert serve.warnings() == []


def test_a_prefix_of_the_model(serve: Serve) -> None:
    serve.write(LINEAR)
    save_file(state(""), serve.folder() / "model.safetensors")
    loaded = serve.load(simple()).instance.engine.model.eager
    assert torch.equal(loaded.linear.weight, state("")["weight"])
    told = "net: model.safetensors: all keys of the model begin with linear., which it lacks: added"
    assert ("info", told) in serve.pb.Logger.lines


def test_a_prefix_that_does_not_make_it_fit(serve: Serve) -> None:
    serve.write(LINEAR)
    save_file({"bert.linear.weight": torch.zeros(3, 4)}, serve.folder() / "model.safetensors")
    assert serve.error(simple()) == "model.safetensors does not fit Net: missing: linear.bias"


BUFFERS = """
import torch

class Embeddings(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = torch.nn.BatchNorm1d(4)
        self.register_buffer("scale", torch.ones(1), persistent=False)

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embeddings = Embeddings()
        self.linear = torch.nn.Linear(4, 3)

    def forward(self, x):
        return self.linear(self.embeddings.norm(x) * self.embeddings.scale)
"""


def buffers() -> dict[str, torch.Tensor]:
    norm = torch.nn.BatchNorm1d(4).state_dict()
    return {**state("linear."), **{f"embeddings.norm.{key}": value for key, value in norm.items()}}


def test_buffers_that_a_constructor_computes(serve: Serve) -> None:
    serve.write(BUFFERS)
    kept = {key: value for key, value in buffers().items() if not key.endswith("num_batches_tracked")}
    old = {"embeddings.position_ids": torch.arange(8)[None], "embeddings.scale": torch.full((1,), 9.0)}
    save_file({**kept, **old}, serve.folder() / "model.safetensors")
    model = serve.load(simple(MODEL_CLASS="Net"))
    assert model.instance.engine.model.eager.embeddings.scale == 1
    assert serve.warnings() == [
        "net: model.safetensors has embeddings.position_ids, embeddings.scale, which Net computes itself: not loaded"
    ]


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("embeddings.running_mean", "unexpected: embeddings.running_mean"),
        ("other.position_ids", "unexpected: other.position_ids"),
        ("linear.attn.bias", "unexpected: linear.attn.bias"),
    ],
)
def test_what_is_no_such_buffer(serve: Serve, key: str, told: str) -> None:
    serve.write(BUFFERS)
    save_file({**buffers(), key: torch.zeros(4)}, serve.folder() / "model.safetensors")
    assert serve.error(simple(MODEL_CLASS="Net")) == f"model.safetensors does not fit Net: {told}"


def test_statistics_that_are_missing(serve: Serve) -> None:
    serve.write(BUFFERS)
    kept = {key: value for key, value in buffers().items() if not key.endswith("running_mean")}
    save_file(kept, serve.folder() / "model.safetensors")
    assert serve.error(simple(MODEL_CLASS="Net")) == (
        "model.safetensors does not fit Net: missing: embeddings.norm.running_mean"
    )


def test_keys_that_the_module_renames_itself(serve: Serve) -> None:
    source = "torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(4, 3, bias=bias))"
    serve.write(LINEAR.replace("torch.nn.Linear(4, 3, bias=bias)", source))
    old = {
        "linear.bias": torch.zeros(3),
        "linear.weight_g": torch.ones(3, 1),
        "linear.weight_v": torch.ones(3, 4),
    }
    save_file(old, serve.folder() / "model.safetensors")
    np.testing.assert_allclose(
        serve.load(simple()).infer(x=X)["y"][:, 0], X.sum(1) / 2, rtol=1e-5
    )  # a row of ones, normed


MASKED = """
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(4, 3)
        self.register_buffer("mask", torch.tensor([True, False, True]))

    def forward(self, x):
        return self.linear(x) * ~self.mask
"""


def plain(dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return {f"linear.{key}": value.to(dtype) for key, value in torch.nn.Linear(4, 3).state_dict().items()}


def test_a_mask_that_was_saved_as_bytes(serve: Serve) -> None:
    serve.write(MASKED)
    mask = torch.tensor([1, 0, 1], dtype=torch.uint8)
    torch.save({**plain(), "mask": mask}, serve.folder() / "model.pt")
    y = serve.load(simple()).infer(x=np.ones((1, 4), np.float32))["y"][0]
    assert y[0] == y[2] == 0 != y[1]


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_weights_take_the_dtype_of_the_module(serve: Serve, dtype: torch.dtype) -> None:
    serve.write(LINEAR)
    torch.save(plain(dtype), serve.folder() / "model.pt")
    model = serve.load(simple())
    assert model.instance.engine.model.eager.linear.weight.dtype is torch.float32
    name = str(dtype).removeprefix("torch.")
    said = f"net: model.pt: {name} is converted to float32, which Net is made in; DTYPE serves it in another"
    assert said in [text for _, text in serve.pb.Logger.lines]


def test_weights_of_the_inputs_dtype_stay(serve: Serve) -> None:
    serve.write(LINEAR)
    torch.save(plain(torch.float64), serve.folder() / "model.pt")
    described = config(
        [field("x", "FP64", [4])], [field("y", "FP64", [3])], max_batch_size=8, parameters=UNCOMPILED
    )
    assert serve.load(described).instance.engine.model.eager.linear.weight.dtype is torch.float64


def test_complex_weights_of_a_real_module(serve: Serve) -> None:
    serve.write(LINEAR)
    torch.save(plain(torch.complex64), serve.folder() / "model.pt")
    assert "linear.weight is complex, and the model's is not" in serve.error(simple())


def test_a_lazy_layer(serve: Serve) -> None:
    serve.write(LINEAR.replace("torch.nn.Linear(4, 3, bias=bias)", "torch.nn.LazyLinear(3)"))
    torch.save(plain(), serve.folder() / "model.pt")
    assert serve.load(simple()).infer(x=np.ones((2, 4), np.float32))["y"].shape == (2, 3)


def test_an_average_of_torchs_own(serve: Serve) -> None:
    serve.write(LINEAR)
    averaged = {"n_averaged": torch.tensor(3), **{f"module.{key}": value for key, value in plain().items()}}
    torch.save(averaged, serve.folder() / "model.pt")
    serve.load(simple())


def test_a_wrapper_in_the_file_and_a_prefix_in_the_model(serve: Serve) -> None:
    serve.write(LINEAR)
    state = {f"module.{key.split('.')[1]}": value for key, value in plain().items()}
    torch.save(state, serve.folder() / "model.pt")
    serve.load(simple())


@pytest.mark.parametrize(
    ("state", "told"),
    [
        ({0: torch.zeros(1)}, "its key 0 is no name"),
        ({"a": torch.zeros(1), "b": 1.0}, "under 'b' there is a float"),
    ],
)
def test_what_is_no_state_dict_names_its_key(serve: Serve, state: Any, told: str) -> None:
    serve.write(LINEAR)
    torch.save(state, serve.folder() / "model.pt")
    assert serve.error(simple()) == f"model.pt contains a dict, not a state_dict: {told}; {CURE}"


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int32, torch.bool])
def test_quantized_weights_of_a_model_that_is_not(serve: Serve, dtype: torch.dtype) -> None:
    serve.write(LINEAR)
    torch.save(plain(dtype), serve.folder() / "model.pt")
    name = str(dtype).removeprefix("torch.")
    told = f"linear.weight is {name}, the model's float32: what turns one into the other is not in the file"
    assert told in serve.error(simple())


def test_sparse_weights(serve: Serve) -> None:
    serve.write(LINEAR)
    given = {key: value.to_sparse() if value.dim() == 2 else value for key, value in plain().items()}
    torch.save(given, serve.folder() / "model.pt")
    loaded = serve.load(simple()).instance.engine.model.eager
    assert torch.equal(loaded.linear.weight, plain()["linear.weight"])


def test_a_computed_buffer_of_another_size(serve: Serve) -> None:
    source = LINEAR.replace(
        "\n    def forward",
        "        self.register_buffer('position_ids', torch.arange(8))\n\n    def forward",
    )
    serve.write(source)
    torch.save({**plain(), "position_ids": torch.arange(4)}, serve.folder() / "model.pt")
    loaded = serve.load(simple()).instance.engine.model.eager
    assert torch.equal(loaded.position_ids, torch.arange(8))
    assert serve.warnings() == ["net: model.pt has position_ids, which Net computes itself: not loaded"]


def test_a_head_that_no_load_gave_is_said(serve: Serve) -> None:
    serve.write("""
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.body = torch.nn.Linear(4, 4)
        self.body.load_state_dict(torch.nn.Linear(4, 4).state_dict())
        self.head = torch.nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.body(x))
""")
    serve.load(simple())
    assert serve.warnings() == [
        "net: no weights were loaded into head.weight, head.bias of Net: as constructed"
    ]


MANY = """
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = torch.nn.ModuleList(torch.nn.Linear(4, 4) for _ in range(10))

    def forward(self, x):
        return self.layers[0](x)
"""


def test_many_shapes_are_cut(serve: Serve) -> None:
    serve.write(MANY)
    layers = torch.nn.ModuleList(torch.nn.Linear(5, 5) for _ in range(10))
    torch.save(
        {f"layers.{key}": value for key, value in layers.state_dict().items()}, serve.folder() / "a.pt"
    )
    said = serve.error(simple())
    assert said.endswith("; layers.3.bias has the shape [5], the model [4]; and 12 more")


VERSIONED = """
import torch

class Net(torch.nn.Module):
    _version = 2

    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(4, 3)

    def _load_from_state_dict(self, state, prefix, metadata, *rest):
        if metadata.get("version") not in (1, 2):  # as torchvision's MNASNet
            raise ValueError(f"version should be 1 or 2, not {metadata.get('version')}")
        super()._load_from_state_dict(state, prefix, metadata, *rest)

    def forward(self, x):
        return self.linear(x)
"""


class Versioned(torch.nn.Module):
    """Has a version, which torch.save keeps beside its weights."""

    _version = 2

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(4, 3)


@pytest.mark.parametrize("wrap", ["", "module", "checkpoint", "two"])
def test_versions_of_modules_are_kept(serve: Serve, wrap: str) -> None:
    serve.write(VERSIONED)
    net = Versioned()
    saved: Any = torch.nn.ModuleDict({"module": net}).state_dict() if wrap == "module" else net.state_dict()
    saved = {"epoch": 1, "state_dict": saved} if wrap == "checkpoint" else saved
    named = {}
    if wrap == "two":
        saved = torch.nn.ModuleDict({"net": net, "average": Versioned()}).state_dict()
        named = {"MODEL_WEIGHTS": "a.pt#net."}
    torch.save(saved, serve.folder() / "a.pt")
    model = serve.load(simple(**named))
    assert torch.equal(model.instance.engine.model.eager.linear.weight, net.linear.weight)


def test_what_the_code_of_a_module_refuses(serve: Serve) -> None:
    serve.write(VERSIONED)
    save_file(Versioned().state_dict(), serve.folder() / "model.safetensors")  # keeps no versions
    assert serve.error(simple()) == (
        "model.safetensors does not fit Net: ValueError: version should be 1 or 2, not None"
    )


QUANTIZED = """
import torch

def make():
    return torch.ao.quantization.quantize_dynamic(torch.nn.Sequential(torch.nn.Linear(4, 3)))
"""


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:.*quantize_per|TypedStorage:UserWarning")
def test_a_module_that_is_quantized(serve: Serve) -> None:
    """Its state_dict has values that are not tensors."""
    serve.write(QUANTIZED)
    quantize: Any = torch.ao.quantization.quantize_dynamic
    net = quantize(torch.nn.Sequential(torch.nn.Linear(4, 3)))
    torch.save(net.state_dict(), serve.folder() / "model.pt")
    described = simple(MODEL_CLASS="make")
    described["input"][0]["name"] = "input"
    x = np.linspace(-1, 1, 8, dtype=np.float32).reshape(2, 4)
    y = serve.load(described).infer(input=x)["y"]
    np.testing.assert_allclose(y, net(torch.from_numpy(x)).numpy(), rtol=1e-6)
    float_state = torch.nn.Sequential(torch.nn.Linear(4, 3)).state_dict()
    torch.save(float_state, serve.folder() / "model.pt")
    assert serve.error(described).startswith("model.pt does not fit Sequential: KeyError: ")
