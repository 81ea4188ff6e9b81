"""Which files of a version folder hold weights; none is passed over because of its name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.helpers.runtime import LINEAR, UNCOMPILED, simple
from tests.runtime.conftest import Serve

pytestmark = pytest.mark.torch

CURE = "keep one, or name it with MODEL_WEIGHTS"


def state(seed: int = 0) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    return {f"linear.{key}": value for key, value in torch.nn.Linear(4, 3).state_dict().items()}


def is_loaded(model: Any, seed: int = 0) -> bool:
    return torch.equal(model.instance.engine.model.eager.linear.weight, state(seed)["linear.weight"])


@pytest.mark.parametrize(
    "name",
    [
        "pytorch_model.bin",
        "model.pth",
        "weights.pt",
        "epoch=3-step=90.ckpt",
        "anything.bin",
        "checkpoint.pth.tar",
        "net",
    ],
)
@pytest.mark.parametrize("old", [False, True], ids=["zip", "before-1.6"])
def test_a_file_of_torch_save_by_any_name(serve: Serve, name: str, old: bool) -> None:
    serve.write(LINEAR)
    given = {"state_dict": state(), "epoch": 3} if name.endswith(("ckpt", "tar")) else state()
    torch.save(given, serve.folder() / name, _use_new_zipfile_serialization=not old)
    model = serve.load(simple())
    assert is_loaded(model)
    assert serve.warnings() == []
    if not old:
        assert str(serve.folder() / name) in Path("/proc/self/maps").read_text()


@pytest.mark.parametrize("name", ["diffusion_pytorch_model.safetensors", "weights.bin"])
def test_a_file_of_safetensors_by_any_name(serve: Serve, name: str) -> None:
    serve.write(LINEAR)
    save_file(state(), serve.folder() / name)
    assert is_loaded(serve.load(simple()))


def test_what_trainers_and_users_leave_beside_the_weights(serve: Serve) -> None:
    serve.write(LINEAR)
    save_file(state(), serve.folder() / "model.safetensors")
    for name in ("optimizer.pt", "scheduler.pt", "training_args.bin", "rng_state_0.pth"):
        torch.save(state(1), serve.folder() / name)
    (serve.folder() / "vocabulary.bin").write_bytes(bytes(range(256)))
    (serve.folder() / "labels.txt").write_text("cat\ndog\n")
    assert is_loaded(serve.load(simple()))


@pytest.mark.parametrize(
    ("first", "second"),
    [("model.safetensors", "pytorch_model.bin"), ("a.pt", "b.pt"), ("model.pt", "model.pth")],
)
def test_two_that_may_be_meant(serve: Serve, first: str, second: str) -> None:
    serve.write(LINEAR)
    for seed, name in enumerate((first, second)):
        save = save_file if name.endswith(".safetensors") else torch.save
        save(state(seed), serve.folder() / name)
    assert serve.error(simple()) == (
        f"several files of weights in {serve.folder()}: {first}, {second}; {CURE}"
    )
    assert is_loaded(serve.load(simple(MODEL_WEIGHTS=second)), 1)


def shard(folder: Path, suffix: str = "safetensors") -> str:
    name = "model" if suffix == "safetensors" else "pytorch_model"
    names = [f"{name}-0000{number}-of-00002.{suffix}" for number in (1, 2)]
    for file, (key, value) in zip(names, state().items(), strict=False):
        save = save_file if suffix == "safetensors" else torch.save
        save({key: value}, folder / file)
    index = f"{name}.{suffix}.index.json"
    text = json.dumps({"metadata": {"total_size": 60}, "weight_map": dict(zip(state(), names, strict=False))})
    (folder / index).write_text(text)
    return index


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
@pytest.mark.parametrize("indexed", [True, False])
def test_shards(serve: Serve, suffix: str, indexed: bool) -> None:
    serve.write(LINEAR)
    index = shard(serve.folder(), suffix)
    if not indexed:
        (serve.folder() / index).unlink()
    model = serve.load(simple())
    assert is_loaded(model)
    assert torch.equal(model.instance.engine.model.eager.linear.bias, state()["linear.bias"])


def test_a_shard_that_is_missing(serve: Serve) -> None:
    serve.write(LINEAR)
    index = shard(serve.folder())
    (serve.folder() / "model-00002-of-00002.safetensors").unlink()
    assert serve.error(simple()) == (
        f"{index} cannot be read: it names model-00002-of-00002.safetensors, which does not exist"
    )
    (serve.folder() / index).unlink()
    assert serve.error(simple()) == (
        "model-*-of-00002.safetensors cannot be read: model-00002-of-00002.safetensors is not there"
    )


@pytest.mark.parametrize(
    "name", ["../2/model.safetensors", "/etc/passwd", "..", "", "inside/model.safetensors"]
)
def test_an_index_that_leads_elsewhere(serve: Serve, name: str) -> None:
    serve.write(LINEAR)
    save_file(state(), serve.folder(version="2") / "model.safetensors")
    (serve.folder() / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": name}}))
    assert serve.error(simple()) == (
        f"model.safetensors.index.json cannot be read: it names {name!r}, which is not a file beside it"
    )


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"weight_map": []}', '{"weight_map": {"a": 1}}'])
def test_an_index_that_is_none(serve: Serve, text: str) -> None:
    serve.write(LINEAR)
    (serve.folder() / "model.safetensors.index.json").write_text(text)
    assert serve.error(simple()).startswith("model.safetensors.index.json cannot be read: it")


def test_a_key_in_two_shards(serve: Serve) -> None:
    serve.write(LINEAR)
    shard(serve.folder())
    save_file(state(), serve.folder() / "model-00002-of-00002.safetensors")
    assert serve.error(simple()) == (
        "model-00002-of-00002.safetensors holds linear.weight, which another shard contains, too"
    )


@pytest.mark.parametrize("name", ["checkpoints/best.pt", "model.h5", "weights.npz"])
def test_weights_that_nothing_reads(serve: Serve, name: str) -> None:
    serve.write(LINEAR)
    path = serve.folder() / name
    path.parent.mkdir(exist_ok=True)
    if name.endswith(".pt"):
        torch.save(state(), path)
    else:
        path.write_bytes(bytes(range(256)))
    told = serve.error(simple())
    assert told.startswith(f"Net has parameters, and nothing has read {name}: ")
    if name.endswith(".pt"):
        assert is_loaded(serve.load(simple(MODEL_WEIGHTS=name)))
    serve.load(simple(MODEL_WEIGHTS="none"))


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("../2/model.pt", "it is not a file in the version folder"),
        ("/etc/passwd", "it is not a file in the version folder"),
        ("model.pth", "no such file"),
    ],
)
def test_weights_that_are_named_and_not_there(serve: Serve, name: str, why: str) -> None:
    serve.write(LINEAR)
    torch.save(state(), serve.folder(version="2") / "model.pt")
    assert serve.error(simple(MODEL_WEIGHTS=name)) == f"{name} cannot be read: {why}"


OWN = """
import os
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(4, 3)
        LOAD

    def forward(self, x):
        return self.linear(x)
"""
HERE = "os.path.join(os.path.dirname(__file__), 'WEIGHTS')"


@pytest.mark.parametrize(
    ("name", "load"),
    [
        ("backbone.pth", f"self.linear.load_state_dict(torch.load({HERE}))"),
        ("backbone.pth", f"with open({HERE}, 'rb') as f: self.linear.load_state_dict(torch.load(f))"),
        (
            "model.safetensors",
            f"from safetensors.torch import load_file; self.linear.load_state_dict(load_file({HERE}))",
        ),
        (
            "model.npz",
            f"import numpy; self.linear.weight.data = torch.from_numpy(numpy.load({HERE})['weight'])",
        ),
    ],
)
def test_weights_that_the_code_reads_itself(serve: Serve, name: str, load: str) -> None:
    serve.write(OWN.replace("LOAD", load.replace("WEIGHTS", name)))
    own = {key.split(".")[1]: value for key, value in state().items()}
    if name.endswith("npz"):
        np.savez(serve.folder() / name, weight=own["weight"].numpy())
    elif name.endswith("safetensors"):
        save_file(own, serve.folder() / name)
    else:
        torch.save(own, serve.folder() / name)
    assert is_loaded(serve.load(simple()))
    assert serve.warnings() == []


def test_weights_that_the_code_reads_and_more(serve: Serve) -> None:
    load = f"self.linear.load_state_dict(torch.load({HERE}))".replace("WEIGHTS", "backbone.pth")
    serve.write(OWN.replace("LOAD", load))
    torch.save({k.split(".")[1]: v for k, v in state(1).items()}, serve.folder() / "backbone.pth")
    save_file(state(), serve.folder() / "tuned.safetensors")
    assert is_loaded(serve.load(simple()))


def test_a_file_that_the_code_reads_when_it_is_called(serve: Serve) -> None:
    serve.write(
        LINEAR.replace("return self.linear(x)", "torch.load('mean.pt')\n        return self.linear(x)")
    )
    torch.save(torch.zeros(1), serve.folder() / "mean.pt")
    save_file(state(), serve.folder() / "model.safetensors")
    assert is_loaded(serve.load(simple(WARMUP="false")))


def test_a_checkpoint_with_two_models(serve: Serve) -> None:
    serve.write(LINEAR)
    torch.save({"model": state(), "ema": state(1), "epoch": 3}, serve.folder() / "last.ckpt")
    assert serve.error(simple()) == (
        "last.ckpt holds several state_dicts: model, ema; save the wanted one separately"
    )
    torch.save({"model": state(), "optimizer": {"state": {}}}, serve.folder() / "last.ckpt")
    assert is_loaded(serve.load(simple()))


def test_a_model_by_itself_under_any_name(serve: Serve) -> None:
    torch.manual_seed(0)
    linear = torch.nn.Linear(4, 3)
    batch = torch.export.Dim("batch", max=64)
    program = torch.export.export(linear, (torch.zeros(2, 4),), dynamic_shapes=({0: batch},))
    torch.export.save(program, serve.folder() / "resnet.pt2")
    x = np.ones((2, 4), np.float32)
    y = serve.load(simple()).infer(x=x)["y"]
    np.testing.assert_allclose(y, linear(torch.from_numpy(x)).detach().numpy(), rtol=1e-6)
    assert UNCOMPILED
