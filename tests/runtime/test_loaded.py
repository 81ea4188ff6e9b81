"""A model on its device, as it is."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.helpers.linear import X, expected
from tests.helpers.runtime import LINEAR, simple
from tests.runtime.conftest import Serve

pytestmark = [
    pytest.mark.torch,
    # TorchScript is served for those who have it; torch itself calls it deprecated.
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),
]


def test_a_module_as_constructed(serve: Serve) -> None:
    serve.write("import torch\ntorch.manual_seed(0)\n" + LINEAR)
    y = serve.load(simple()).infer(x=X)["y"]
    torch.manual_seed(0)
    np.testing.assert_allclose(y, expected(torch.nn.Linear(4, 3)), rtol=1e-6)
    assert serve.warnings() == ["net: Net has parameters but no weights file: served as constructed"]


def test_a_module_without_parameters_needs_no_weights(serve: Serve) -> None:
    serve.write(
        "import torch\nclass Net(torch.nn.Module):\n    def forward(self, x):\n        return x[:, :3]\n"
    )
    np.testing.assert_array_equal(serve.load(simple()).infer(x=X)["y"], X[:, :3])
    assert serve.warnings() == []


def test_kind_model_goes_where_the_model_put_itself(serve: Serve, linear: torch.nn.Linear) -> None:
    serve.write(LINEAR)
    assert serve.load(simple(), kind="MODEL").instance.engine.model.device == torch.device("cpu")


@pytest.fixture
def net(serve: Serve) -> Serve:
    serve.write(LINEAR)
    return serve


def test_inference_mode(serve: Serve) -> None:
    import numpy as np

    serve.write("""
import torch

def modes(x):
    on = [torch.is_inference_mode_enabled(), torch.is_grad_enabled()]
    return torch.tensor(on).repeat(x.shape[0], 1)
""")
    config = {**simple(), "output": [{"name": "y", "data_type": "TYPE_BOOL", "dims": [2]}]}
    x = np.zeros((1, 4), np.float32)
    assert serve.load(config).infer(x=x)["y"].tolist() == [[True, False]]
    config["parameters"]["INFERENCE_MODE"] = {"string_value": "false"}
    assert serve.load(config).infer(x=x)["y"].tolist() == [[False, False]]


def test_dtype_converts_the_model_its_inputs_and_its_outputs(net: Serve) -> None:
    import numpy as np
    import torch

    model = net.load(simple(DTYPE="bfloat16"))
    module = model.instance.engine.model.eager
    assert module.linear.weight.dtype is torch.bfloat16
    x = np.linspace(0, 1, 8, dtype=np.float32).reshape(2, 4)
    y = model.infer(x=x)["y"]
    assert y.dtype == np.float32
    expected = module(torch.from_numpy(x).bfloat16()).float().numpy()
    np.testing.assert_array_equal(y, expected)
