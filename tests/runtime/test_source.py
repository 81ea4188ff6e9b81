"""Which files make a model, what they hold, and the user's code in them."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.helpers.linear import X, expected, state
from tests.helpers.runtime import LINEAR, UNCOMPILED, config, field, simple
from tests.runtime.conftest import Serve

pytestmark = [
    pytest.mark.torch,
    # TorchScript is served for those who have it; torch itself calls it deprecated.
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),
]


def test_two_weights_files(serve: Serve, linear: torch.nn.Linear) -> None:
    serve.write(LINEAR)
    torch.save(state(linear), serve.folder() / "model.pt")
    save_file(state(linear), serve.folder() / "model.safetensors")
    assert serve.error(simple()) == (
        f"several files of weights in {serve.folder()}: model.pt, model.safetensors; "
        "keep one, or name it with MODEL_WEIGHTS"
    )


def test_an_html_error_page(serve: Serve) -> None:
    (serve.folder() / "model.pt").write_text("<!DOCTYPE html>\n<title>404 Not Found</title>\n")
    told = "model.pt cannot be read: it is a web page, not weights: a download that failed; download it again"
    assert serve.error(simple()) == told
    serve.write(LINEAR)
    assert serve.error(simple()) == told


def test_a_file_cut_short(serve: Serve, linear: torch.nn.Linear) -> None:
    serve.write(LINEAR)
    torch.save(state(linear), serve.folder() / "model.pt")
    whole = (serve.folder() / "model.pt").read_bytes()
    (serve.folder() / "model.pt").write_bytes(whole[: len(whole) // 2])
    assert serve.error(simple()) == "model.pt is truncated or damaged: a zip archive without its end"


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


def save_script(module: torch.nn.Module, path: Path) -> None:
    script: Any = torch.jit.script(module)
    script.save(str(path))


def test_what_a_file_is_does_not_come_from_its_name(serve: Serve, linear: torch.nn.Linear) -> None:
    serve.write(LINEAR)
    save_script(linear, serve.folder() / "model.pt")
    assert (
        serve.error(simple())
        == "model.pt beside model.py must contain a state_dict, but contains torchscript"
    )


def test_a_pt2_goes_before_its_source(serve: Serve, linear: torch.nn.Linear) -> None:
    serve.write("raise RuntimeError('not to be imported')\n")
    batch = torch.export.Dim("batch", max=64)
    program = torch.export.export(linear, (torch.zeros(2, 4),), dynamic_shapes=({0: batch},))
    torch.export.save(program, serve.folder() / "model.pt2")
    np.testing.assert_allclose(serve.load(simple()).infer(x=X)["y"], expected(linear), rtol=1e-6)


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
    assert serve.error(simple()) == (
        "model.py defines no nn.Module and no function; it imports Identity, Linear: MODEL_CLASS serves one of them"
    )
    serve.load(
        config(
            [field("x", "FP32", [4])],
            [field("y", "FP32", [4])],
            max_batch_size=8,
            parameters={**UNCOMPILED, "MODEL_CLASS": "Identity"},
        )
    )


MADE = (
    LINEAR
    + """
activation = torch.nn.ReLU()
model = Net(bias=False)
"""
)


def test_an_instance_that_the_file_made(serve: Serve, linear: torch.nn.Linear) -> None:
    serve.write(MADE)
    torch.save({"linear.weight": linear.weight}, serve.folder() / "model.pt")
    with torch.no_grad():
        wanted = (torch.from_numpy(X) @ linear.weight.T).numpy()
    np.testing.assert_allclose(serve.load(simple()).infer(x=X)["y"], wanted, rtol=1e-6)
    assert serve.error(simple(MODEL_KWARGS='{"bias": false}')) == (
        "MODEL_KWARGS has no effect: model.py creates the served instance itself"
    )


def test_an_instance_of_an_imported_class(serve: Serve) -> None:
    serve.write("import torch\nmodel = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Tanh())\n")
    served = serve.load(simple()).instance.engine.model.eager
    assert [type(part).__name__ for part in served] == ["Linear", "Tanh"]


def test_several_instances(serve: Serve) -> None:
    serve.write(MADE + "other = Net()\nwhole = torch.nn.Sequential(other)\n")
    assert serve.error(simple()) == (
        "model.py defines several nn.Modules: model, whole; MODEL_CLASS says which is served"
    )
    assert type(serve.load(simple(MODEL_CLASS="other")).instance.engine.model.eager).__name__ == "Net"


def test_a_function_that_calls_an_instance(serve: Serve) -> None:
    serve.write("import torch\nnet = torch.nn.Identity()\ndef f(x):\n    return net(x)[:, :3] + 1\n")
    np.testing.assert_array_equal(serve.load(simple()).infer(x=X)["y"], X[:, :3] + 1)


def test_a_function_that_makes_the_instance(serve: Serve) -> None:
    serve.write("import torch\ndef make():\n    return torch.nn.Linear(4, 3)\nnet = make()\n")
    assert type(serve.load(simple()).instance.engine.model.eager) is torch.nn.Linear


def test_no_candidate(serve: Serve) -> None:
    serve.write("X = 1\n")
    assert serve.error(simple()) == "model.py defines no nn.Module and no function"


def test_a_class_for_triton_of_another_name(serve: Serve) -> None:
    serve.write("class Model:\n    def execute(self, requests):\n        return []\n")
    assert serve.error(simple()) == (
        "model.py defines no nn.Module and no function; Model has execute: Triton serves such a class by the name "
        "TritonPythonModel"
    )


def test_nothing_to_serve(serve: Serve) -> None:
    assert serve.error(simple()) == (
        f"nothing to serve in {serve.folder()}: no model.py, model.pt, model.safetensors or model.pt2"
    )


def test_a_file_that_cannot_be_imported(serve: Serve) -> None:
    serve.write("import torch\nimport not_there\n")
    assert serve.error(simple()) == (
        "model.py cannot be imported: ModuleNotFoundError: No module named 'not_there' (model.py, line 2); "
        "add what provides not_there to the recipe's dependencies, or put not_there.py into the version folder"
    )
    serve.write("def f(:\n")
    assert serve.error(simple()) == (
        "model.py cannot be imported: SyntaxError: invalid syntax (model.py, line 1)"
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


@pytest.mark.parametrize(
    "program",
    ["import sys\nsys.exit(3)\n", "import argparse\nargparse.ArgumentParser().parse_args(['--data'])\n"],
)
def test_a_program_that_ends(serve: Serve, program: str) -> None:
    serve.write(LINEAR + program)
    told = serve.error(simple())
    assert told.startswith("model.py ends the process (SystemExit: ")
    assert told.endswith("): what it does as a program belongs under `if __name__ == '__main__':`")


def test_a_constructor_that_ends_the_process(serve: Serve) -> None:
    serve.write(LINEAR.replace("self.linear =", "raise SystemExit(1)\n        self.linear ="))
    assert serve.error(simple()).startswith("the constructor of Net ends the process (SystemExit: 1)")


def test_an_abstract_class_is_no_candidate(serve: Serve) -> None:
    base = "import abc, torch\nclass Base(torch.nn.Module, abc.ABC):\n"
    base += "    @abc.abstractmethod\n    def forward(self, x): ...\n"
    serve.write(base + LINEAR.replace("torch.nn.Module", "Base"))
    serve.load(simple())
