"""Which files of a version folder hold weights; none is passed over because of its name."""

from __future__ import annotations

import argparse
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from envbuilder.deployment import weight_files
from envbuilder.deployment.weight_files import WeightSet, find_weights
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


@pytest.mark.parametrize("shards", [False, True])
@pytest.mark.parametrize(
    "config", ['{"architectures": ["Net"]}', '{"architecture": "net", "pretrained_cfg": {}}']
)
def test_of_both_formats_of_a_library_the_newer_is_taken(serve: Serve, config: str, shards: bool) -> None:
    """A download from Hugging Face holds both, and ``from_pretrained`` takes the newer."""
    serve.write(LINEAR)
    (serve.folder() / "config.json").write_text(config)
    save_file(state(1), serve.folder() / "model.safetensors")
    if shards:
        shard(serve.folder(), "bin")
    else:
        torch.save(state(0), serve.folder() / "pytorch_model.bin")
    assert is_loaded(serve.load(simple()), 1)
    named = "pytorch_model.bin.index.json" if shards else "pytorch_model.bin"
    assert is_loaded(serve.load(simple(MODEL_WEIGHTS=named)), 0)
    save_file(state(2), serve.folder() / "other.safetensors")
    assert serve.error(simple()) == (
        f"several files of weights in {serve.folder()}: model.safetensors, other.safetensors; {CURE}"
    )


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
        "last.ckpt holds several state_dicts: model, ema; say which: MODEL_WEIGHTS last.ckpt#model, for instance"
    )
    assert is_loaded(serve.load(simple(MODEL_WEIGHTS="last.ckpt#ema")), 1)
    assert serve.error(simple(MODEL_WEIGHTS="last.ckpt#emma")) == (
        "last.ckpt has no state_dict 'emma'; it has model, ema"
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


def truncated(seed: int = 0) -> bytes:
    buffer = io.BytesIO()
    torch.save(state(seed), buffer)
    return buffer.getvalue()[:-100]


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
NOTHING = "it is a link to nothing: copy the file itself into the version folder"
ZIP = "it is truncated or damaged: a zip archive without its end; copy or download it again"
EMPTY = "it is empty: copy or download it again"
PAGE = "it is a web page, not weights: a download that failed; download it again"
TEXT = "it is text that begins with '{}', not weights: a download that failed; download it again"
PULL = "it is a Git LFS pointer, not the file itself: `git lfs pull` fetches that"


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("model.bin", truncated(), ZIP),
        ("model_best.pth.tar", truncated(), ZIP),
        ("net", truncated(), ZIP),
        ("model.bin", POINTER, PULL),
        ("net", POINTER, PULL),
        ("model.safetensors", POINTER, PULL),
        ("model.bin", b"", EMPTY),
        ("model.PT", b"", EMPTY),
        (
            "model.bin",
            b"<!DOCTYPE html><p>",
            "it is a web page, not weights: a download that failed; download it again",
        ),
        ("model.safetensors", b'{"error":"no such file"}', TEXT.format('{"error":"no such file"}')),
        ("model.pt", b"Entry not found", TEXT.format("Entry not found")),
        ("pytorch_model.bin", b"# xet version 0\nhash = 1\n", TEXT.format("# xet version 0\\nhash = 1")),
    ],
)
def test_a_damaged_file_is_named_and_not_passed_over(
    serve: Serve, name: str, content: bytes, why: str
) -> None:
    serve.write(LINEAR)
    (serve.folder() / name).write_bytes(content)
    assert serve.error(simple()) == f"{name} cannot be read: {why}"
    assert find_weights(str(serve.folder()))[0].problem == why


@pytest.mark.parametrize(
    "name", ["yolo.weights", "rust_model.ot", "old.t7", "Model.H5", "raw.bin", "dcp/0.distcp"]
)
def test_other_formats_that_nothing_reads(serve: Serve, name: str) -> None:
    serve.write(LINEAR)
    (serve.folder() / name).parent.mkdir(exist_ok=True)
    (serve.folder() / name).write_bytes(bytes(range(1, 200)))
    assert serve.error(simple()).startswith(f"Net has parameters, and nothing has read {name}: ")


@pytest.mark.parametrize("name", ["picture.png", "tokenizer.model", "flax_model.msgpack"])
def test_a_pointer_to_something_else_is_no_candidate(serve: Serve, name: str) -> None:
    serve.write(LINEAR)
    save_file(state(), serve.folder() / "model.safetensors")
    (serve.folder() / name).write_bytes(POINTER)
    assert is_loaded(serve.load(simple()))


def test_a_file_that_may_not_be_read(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    path = serve.folder() / "model.bin"
    path.write_bytes(b"weights")

    def refuse(file: Any, *_: Any) -> Any:
        raise PermissionError(13, "Permission denied", file)

    monkeypatch.setattr(weight_files, "open", refuse, raising=False)
    why = "Permission denied; it must be readable for the server"
    assert find_weights(str(serve.folder())) == [WeightSet("model.bin", ("model.bin",), why)]


@pytest.mark.parametrize("name", ["model.safetensors", "model.pt", "model.bin"])
def test_a_link_to_nothing_where_weights_should_be(serve: Serve, name: str) -> None:
    serve.write(LINEAR)
    (serve.folder() / name).symlink_to("../../blobs/gone")
    assert serve.error(simple()) == f"{name} cannot be read: {NOTHING}"


def test_a_link_to_nothing_that_is_no_weights(serve: Serve) -> None:
    serve.write(LINEAR)
    save_file(state(), serve.folder() / "model.safetensors")
    (serve.folder() / "README.md").symlink_to("gone")
    (serve.folder() / "loop").symlink_to("loop")
    assert is_loaded(serve.load(simple()))


TRAINING = """
def train():
    torch.save(Net().state_dict(), "best.pth")

if __name__ == "__main__":
    Net().load_state_dict(torch.load("best.pth"))
"""


def test_a_name_that_the_code_only_writes_is_no_reading(serve: Serve) -> None:
    serve.write(LINEAR + TRAINING)
    torch.save(state(0), serve.folder() / "best.pth")
    torch.save(state(1), serve.folder() / "old.pth")
    assert serve.error(simple()) == f"several files of weights in {serve.folder()}: best.pth, old.pth; {CURE}"


def test_a_mean_that_the_code_reads_is_not_its_weights(serve: Serve) -> None:
    load = f"self.mean = __import__('numpy').load({HERE})".replace("WEIGHTS", "mean.npy")
    serve.write(OWN.replace("LOAD", load))
    np.save(serve.folder() / "mean.npy", np.zeros(4))
    (serve.folder() / "checkpoints").mkdir()
    torch.save(state(), serve.folder() / "checkpoints" / "best.pt")
    assert serve.error(simple()).startswith("Net has parameters, and nothing has read checkpoints/best.pt: ")
    serve.load(simple(MODEL_WEIGHTS="none"))


def test_files_beside_a_model_whose_code_gave_it_everything(serve: Serve) -> None:
    load = f"self.load_state_dict(torch.load({HERE}))".replace("WEIGHTS", "tuned.pth")
    serve.write(OWN.replace("LOAD", load))
    torch.save(state(), serve.folder() / "tuned.pth")
    np.save(serve.folder() / "example.npy", np.zeros(4))
    assert is_loaded(serve.load(simple()))


def test_an_average_of_the_weights_is_one_that_may_be_meant(serve: Serve) -> None:
    serve.write(LINEAR)
    torch.save({"state_dict": state(), "state_dict_ema": state(1)}, serve.folder() / "last.ckpt")
    assert "holds several state_dicts: state_dict, state_dict_ema; say which" in serve.error(simple())
    assert is_loaded(serve.load(simple(MODEL_WEIGHTS="last.ckpt#state_dict_ema")), 1)
    torch.save({"state_dict": state(), "loss": {"w": torch.ones(1)}}, serve.folder() / "last.ckpt")
    assert is_loaded(serve.load(simple()))


def test_one_file_of_safetensors_holds_one_state_dict(serve: Serve) -> None:
    serve.write(LINEAR)
    save_file(state(), serve.folder() / "model.safetensors")
    assert serve.error(simple(MODEL_WEIGHTS="model.safetensors#ema")).endswith(": leave out #ema")


@pytest.mark.parametrize("old", [False, True])
def test_a_file_of_torch_save_with_the_name_of_safetensors(serve: Serve, old: bool) -> None:
    serve.write(LINEAR)
    torch.save(state(), serve.folder() / "model.safetensors", _use_new_zipfile_serialization=not old)
    assert is_loaded(serve.load(simple()))


def test_weights_of_others_without_a_model(serve: Serve) -> None:
    (serve.folder() / "model.gguf").write_bytes(b"GGUF")
    assert serve.error(simple()).endswith("; model.gguf is in a format that torch does not read")


@pytest.mark.parametrize(
    ("file", "text", "told"),
    [
        ("config.json", "{", "config.json is not one of transformers': it is not JSON"),
        ("config.json", '{"architecture": "resnet18"}', "it names no model_type, and no architectures"),
        (
            "adapter_config.json",
            "{}",
            "merge it into its model (merge_and_unload), and save_pretrained the whole",
        ),
    ],
)
def test_weights_without_a_model_say_what_is_beside_them(
    serve: Serve, file: str, text: str, told: str
) -> None:
    save_file(state(), serve.folder() / "model.safetensors")
    (serve.folder() / file).write_text(text)
    said = serve.error(simple())
    assert said.startswith("model.safetensors holds weights without a model: ")
    assert said.endswith(told)


def test_arguments_and_scores_beside_the_weights(serve: Serve) -> None:
    serve.write(LINEAR)
    kept = {"model": state(), "args": argparse.Namespace(lr=0.1), "best": np.float64(0.9), "n": np.int64(3)}
    torch.save(kept, serve.folder() / "last.ckpt")
    assert is_loaded(serve.load(simple()))


@pytest.mark.parametrize("name", ["model.pt", "model.safetensors", "pytorch_model.bin"])
def test_a_folder_in_the_place_of_a_file(serve: Serve, name: str) -> None:
    serve.write(LINEAR)
    (serve.folder() / name).mkdir()
    assert serve.error(simple()) == (
        f"{name} cannot be read: it is a folder, not a file: put the file itself into the version folder"
    )


@pytest.mark.parametrize(
    "name", [".model.pt", "../model.safetensors", "model.pth.gz", "model.tar.gz", "weights.zip"]
)
def test_weights_where_nothing_looks_for_them(serve: Serve, name: str) -> None:
    serve.write(LINEAR)
    path = serve.folder() / name
    if name.endswith(".zip"):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("net/model.pt", b"x")
    elif name.endswith(".gz"):
        path.write_bytes(b"\x1f\x8b")
    elif name.endswith(".safetensors"):
        save_file(state(), path)
    else:
        torch.save(state(), path)
    assert f"Net has parameters, and nothing has read {name}: " in serve.error(simple())
    serve.load(simple(MODEL_WEIGHTS="none"))


def test_an_index_that_leaves_a_shard_out(serve: Serve) -> None:
    serve.write(LINEAR)
    for number, (key, value) in enumerate(state().items(), 1):
        save_file({key: value}, serve.folder() / f"model-{number:05}-of-00002.safetensors")
    index = {"weight_map": {"linear.weight": "model-00001-of-00002.safetensors"}}
    (serve.folder() / "model.safetensors.index.json").write_text(json.dumps(index))
    assert serve.error(simple()) == (
        "model.safetensors.index.json cannot be read: it does not name model-00002-of-00002.safetensors, "
        "which is one of its shards"
    )


@pytest.mark.parametrize("text", ["{}", "[", '{"weight_map": {"a": "../x"}}'])
def test_shards_beside_a_broken_index(serve: Serve, text: str) -> None:
    serve.write(LINEAR)
    for number, (key, value) in enumerate(state().items(), 1):
        save_file({key: value}, serve.folder() / f"model-{number:05}-of-00002.safetensors")
    (serve.folder() / "model.safetensors.index.json").write_text(text)
    assert serve.error(simple()).startswith("model.safetensors.index.json cannot be read: it")
    (serve.folder() / "model.safetensors.index.json").unlink()
    assert is_loaded(serve.load(simple()))
