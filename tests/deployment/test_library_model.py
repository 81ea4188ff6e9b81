"""The configuration of a model that needs no code of its own."""

from __future__ import annotations

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from envbuilder.deployment.architectures import Tensor
from envbuilder.deployment.library_model import LibraryModel

IMAGE = Tensor(name="image", data_type="FP32", dims=(3, 224, 224))
WORDS = Tensor(name="words", data_type="STRING", dims=(-1,))
SCORES = Tensor(name="scores", data_type="FP16", dims=(10,))


def test_its_configuration_is_one_that_a_server_reads() -> None:
    kwargs = '{"name": "a \\"b\\""}'
    model = LibraryModel(
        what="a model", inputs=(IMAGE, WORDS), outputs=(SCORES,), dependencies=(), parameters={"K": kwargs}
    )
    read = text_format.Parse(model.config(), model_config_pb2.ModelConfig())
    kinds = model_config_pb2.DataType
    assert [(one.name, kinds.Name(one.data_type), list(one.dims)) for one in (*read.input, *read.output)] == [
        ("image", "TYPE_FP32", [3, 224, 224]),
        ("words", "TYPE_STRING", [-1]),
        ("scores", "TYPE_FP16", [10]),
    ]
    assert read.parameters["K"].string_value == kwargs
    assert read.max_batch_size > 1
    assert read.HasField("dynamic_batching")


def test_what_is_not_copied_is_named_up_to_a_few() -> None:
    names = tuple(f"{number}.bin" for number in range(8))
    model = LibraryModel(what="a model", inputs=(), outputs=(), dependencies=(), left_out=names)
    assert "# not copied: 0.bin, 1.bin, 2.bin, 3.bin, 4.bin, 5.bin and 2 more" in model.config()
    few = LibraryModel(what="a model", inputs=(), outputs=(), dependencies=(), left_out=("\x1b",))
    assert "\x1b" not in few.config()
