"""What comes with a model that somebody else made: its requests, its warm-up, its config.json. Read in this process."""

from __future__ import annotations

import io
import json
import os
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from envbuilder.deployment.from_library import describe_source
from envbuilder.errors import DeployError, IntegrityError, VerifyError
from envbuilder.fleet.patching.journal import NAME, read_journal
from envbuilder.verification.live.input_files import read_inputs
from envbuilder.verification.live.inputs import batch_sizes
from envbuilder.verification.live.questions import questions_for

CONFIG = 'input [ { name: "x" data_type: TYPE_FP32 dims: [ 4 ] } ]\n'
EVIL = "\x1b[2J\u202e\nerror: y"
BAD: list[Any] = [
    None,
    True,
    -1,
    0.5,
    float("inf"),
    10**400,
    "x",
    EVIL,
    [],
    {},
    [None],
    {"a": 1},
    [[[[]]]],
    "\ud800",
]
"""Values of every kind but the one that is wanted."""


def model(text: str) -> model_config_pb2.ModelConfig:
    return text_format.Parse(text, model_config_pb2.ModelConfig())


def array(header: str, data: bytes = b"") -> bytes:
    """Return an ``.npy`` with *header*."""
    text = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


def described(descr: str, shape: str, data: bytes = bytes(16)) -> bytes:
    return array(f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}", data)


def zipped(member: bytes, name: str = "x.npy") -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, member)
    return written.getvalue()


def large() -> bytes:
    """Return an ``.npz`` whose array would have two gigabytes; its directory says so, and that is enough."""
    data = bytearray(zipped(described("'<f4'", "(4,)")))
    at = data.rindex(b"PK\x01\x02")
    data[at + 24 : at + 28] = struct.pack("<I", 2 * 10**9)
    return bytes(data)


SOUND = zipped(described("'<f4'", "(4,)"))
ARRAYS = {
    "40 GB by its shape": zipped(described("'<f4'", "(10000000000,)")),
    "2 GB by its size": large(),
    "a negative shape": zipped(described("'<f4'", "(-4,)")),
    "a pickle": zipped(described("'|O'", "(1,)", b"cos\nabort\n(tR.")),
    "no type": zipped(described("5", "(1,)")),
    "types in types": zipped(described("[" * 5000, "(1,)")),
    "a header that is code": zipped(array("__import__('os').abort()")),
    "a header of zeros": zipped(array("\0\0")),
    "a header that does not end": zipped(array("{'descr': '''")),
    "times": zipped(described("'<M8[ns]'", "(4,)", bytes(32))),
    "no numbers": zipped(described("'|V4'", "(4,)")),
    "fields": zipped(described(f"[({EVIL!r}, '<f4')]", "(4,)")),
    "cut short": zipped(described("'<f4'", "(4,)", b"x")),
    "no array": zipped(b"hello"),
    "another version": zipped(b"\x93NUMPY\x09\x00" + bytes(90)),
    "another name": zipped(described("'<f4'", "(4,)"), f"{EVIL}.npy"),
    "encrypted": SOUND.replace(b"\x14\0\0\0\x08\0", b"\x14\0\x01\0\x08\0"),
    "compressed otherwise": SOUND.replace(b"\x14\0\0\0\x08\0", b"\x14\0\0\0\x63\0"),
    "no zip": b"PK\x03\x04",
}


@pytest.mark.parametrize("case", ARRAYS)
def test_arrays(tmp_path: Path, case: str) -> None:
    path = tmp_path / "in.npz"
    path.write_bytes(ARRAYS[case])
    with pytest.raises(VerifyError) as caught:
        read_inputs(path, model(CONFIG))
    assert caught.value.message.startswith(f"{path}")


def test_steps(tmp_path: Path) -> None:
    path = tmp_path / "in.json"
    steps: list[Any] = [{"x": bad} for bad in BAD]
    sound = {"content": [1, 2, 3, 4], "shape": [4]}
    steps += [{"x": {**sound, key: bad}} for key in sound for bad in BAD]
    steps += [{"x": {key: bad}} for key in ("shape", "b64") for bad in BAD]
    for step in steps:
        path.write_text(json.dumps({"data": [step]}))
        with pytest.raises(VerifyError) as caught:
            read_inputs(path, model(CONFIG))
        assert caught.value.message.startswith(f"{path}"), step


@pytest.mark.parametrize("name", ["in.json", "in.npz"])
@pytest.mark.parametrize("kind", ["fifo", "device", "folder", "loop"])
def test_what_is_no_file(tmp_path: Path, name: str, kind: str) -> None:
    path = tmp_path / name
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero" if kind == "device" else name)
    with pytest.raises(VerifyError, match=r"in\.\w+ cannot be read: "):
        read_inputs(path, model(CONFIG))


WARM = (
    'model_warmup [ { name: "w" batch_size: %s inputs { key: "x" value: { data_type: %s dims: %s %s } } } ]'
)
ASKED = {
    "a file elsewhere": (
        CONFIG + WARM % (1, "TYPE_FP32", "[ 4 ]", 'input_data_file: "../../x"'),
        "is not a file of the",
    ),
    "an absolute path": (
        CONFIG + WARM % (1, "TYPE_FP32", "[ 4 ]", 'input_data_file: "/dev/zero"'),
        "is not a file of the",
    ),
    "a warm-up of 40 GB": (
        CONFIG.replace("4 ]", "-1 ]") + WARM % (1, "TYPE_FP32", "[ 10000000000 ]", "zero_data: true"),
        "has more than",
    ),
    "a batch of 4 billion": (
        CONFIG + WARM % (4 * 10**9, "TYPE_FP32", "[ 4 ]", "random_data: true"),
        "has more than",
    ),
    "sizes below zero": (
        CONFIG + WARM % (1, "TYPE_FP32", "[ -7 ]", "random_data: true"),
        r"input 'x' is FP32\[-7\], and the model has FP32\[4\]",
    ),
    "sizes below zero where any will do": (
        CONFIG.replace("4 ]", "-1 ]") + WARM % (1, "TYPE_FP32", "[ -7 ]", "random_data: true"),
        "which is not a valid tensor",
    ),
    "no type": (
        CONFIG + WARM % (1, "TYPE_INVALID", "[ 4 ]", "zero_data: true"),
        r"input 'x' is INVALID\[4\], and the model has FP32\[4\]",
    ),
    "an input of 40 GB": (CONFIG.replace("4 ]", "10000000000 ]"), "describes a request of more than"),
    "an input of a negative size": (CONFIG.replace("4 ]", "-7 ]"), "which is not a valid tensor"),
}


@pytest.mark.parametrize("case", ASKED)
def test_what_a_configuration_asks(tmp_path: Path, case: str) -> None:
    text, told = ASKED[case]
    with pytest.raises(VerifyError, match=told):
        questions_for(model(text), tmp_path)


def test_batches_of_two_billion_are_left_out(tmp_path: Path) -> None:
    config = model("max_batch_size: 2147483647\n" + CONFIG)
    assert batch_sizes(config)[-1] == 2147483647
    assert [case.label for case in questions_for(config, tmp_path).cases][-1] == "128"


KEYS = (
    "hidden_size",
    "image_size",
    "num_channels",
    "num_labels",
    "vocab_size",
    "num_mel_bins",
    "vision_config",
)
ARCHITECTURES = (
    "BertModel",
    "ViTForImageClassification",
    "WhisperForConditionalGeneration",
    "CLIPModel",
    "ViTModel",
)
NUMBERS = dict.fromkeys((*KEYS[:-1], "projection_dim", "max_source_positions"), 4)


def tell(folder: Path) -> str:
    """Return what is said of *folder*: the configuration, which must be one, or why it cannot be told."""
    try:
        config = describe_source(str(folder)).config()
    except DeployError as error:
        return error.message
    text_format.Parse(config, model_config_pb2.ModelConfig())
    return config


def test_what_a_folder_of_hugging_face_says(tmp_path: Path) -> None:
    """What cannot be understood is refused, and nothing else is raised; no text of it becomes a line of its own."""
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "model.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    (tmp_path / "tokenizer.json").touch()
    for architecture in (*ARCHITECTURES, EVIL + "Model"):
        for key in (*KEYS, "architectures", "dtype", "id2label"):
            for bad in [*BAD, -(2**70), 2**31]:
                sound = {**NUMBERS, "architectures": [architecture], "vision_config": {"image_size": 4}}
                (tmp_path / "config.json").write_text(json.dumps({**sound, key: bad}))
                said = tell(tmp_path)
                assert "\x1b" not in said, (architecture, key, bad)
    modules = [{"type": "s.Transformer", "path": ""}, {"type": "s.Pooling", "path": "1_Pooling"}]
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    for bad in [*BAD, 2**31]:
        (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": bad}))
        (tmp_path / "config.json").write_text(json.dumps({"hidden_size": bad}))
        if bad not in (True, -1):
            with pytest.raises(DeployError, match="cannot be determined"):
                describe_source(str(tmp_path))


LOCKS = [
    "/etc/passwd",
    "pylock.x.toml",
    "/somewhere/other/pylock.mine.toml",
    "/somewhere/../etc/pylock.mine.toml",
]


@pytest.mark.parametrize(
    "wrong", [{"recipe": "/"}, {"recipe": "."}, {"before": "\ud800"}, {"after": "x\udcff"}], ids=str
)
def test_a_journal_of_a_patch_that_cannot_be(tmp_path: Path, wrong: dict[str, str]) -> None:
    entry = {"recipe": "/a/b.yaml", "lock": "/a/pylock.b.toml", "before": "x", "after": "y", "aliases": {}}
    patch = {"subject": "x", "repositories": [], "entries": [{**entry, **wrong}], "finished": True}
    (tmp_path / NAME).write_text(json.dumps({"format": 1, "patches": [patch]}))
    (key,) = wrong
    with pytest.raises(IntegrityError, match=rf"entries\[0\]\.{key}: "):
        read_journal(tmp_path)


@pytest.mark.parametrize("lock", LOCKS)
def test_a_journal_of_a_patch_that_would_write_elsewhere(tmp_path: Path, lock: str) -> None:
    entry = {"recipe": "/somewhere/mine.yaml", "lock": lock, "before": "x", "after": "y", "aliases": {}}
    patch = {"subject": "x", "repositories": [], "entries": [entry], "finished": True}
    (tmp_path / NAME).write_text(json.dumps({"format": 1, "patches": [patch]}))
    with pytest.raises(
        IntegrityError, match=r"patches\[0\]\.entries\[0\]\.lock: expected the lock beside the recipe"
    ):
        read_journal(tmp_path)
