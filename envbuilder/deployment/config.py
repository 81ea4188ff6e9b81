"""A model's config.pbtxt: read as Triton reads it, changed only where a deployment must."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from envbuilder.deployment import pbtxt
from envbuilder.deployment.plain_model import defines_model
from envbuilder.deployment.versions import version_of
from envbuilder.errors import DeployError
from envbuilder.util.files import read_regular
from envbuilder.util.printable import printable_line

CONFIG = "config.pbtxt"
RUNTIME_FILE = "torch_runtime.py"
"""The runtime's name in a version folder: beside a user's own ``model.py``."""
ENVIRONMENT = "EXECUTION_ENV_PATH"
MODEL_DIRECTORY = "$$TRITON_MODEL_DIRECTORY"
PYTHON_BASED = "model.py"
"""``runtime`` of a model that a python-based backend serves."""
MAX_BYTES = 2**20
"""Largest configuration, in bytes: ten times the largest known, which lists a warm-up for each of many inputs."""
_BARE = 'backend: "python"\n'
"""The configuration that Triton assumes for a model without a config.pbtxt."""
_MAX_SAID = 300
"""Limit for protobuf's error messages, in characters."""
TORCH_PLATFORMS = ("pytorch", "pytorch_libtorch", "libtorch", "torch_aoti")
"""The platform handler of 23.08 and 23.09, and what Triton's PyTorch backend serves."""
_FOREIGN_HINT = 'envbuilder serves PyTorch models: set backend: "python", or omit backend'


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """A config.pbtxt that protobuf accepts."""

    path: Path
    text: str
    message: model_config_pb2.ModelConfig

    @property
    def environment(self) -> str | None:
        """The execution environment it names, if any."""
        if ENVIRONMENT not in self.message.parameters:
            return None
        return str(self.message.parameters[ENVIRONMENT].string_value)


@dataclass(frozen=True, kw_only=True, slots=True)
class Serving:
    """What a deployment sets in config.pbtxt."""

    backend: str
    runtime: str | None
    """``model.py`` for a python-based backend; None: remove the field."""
    model_file: str | None
    """``default_model_filename``; None: unchanged."""
    environment: str | None
    """``EXECUTION_ENV_PATH``; None: the backend's own environment, remove the parameter."""
    name: str | None = None
    """Another name for the model; None: unchanged."""


def read_config(model: Path) -> ModelConfig:
    """Read the config.pbtxt of the model directory *model*, or return what Triton takes in its place.

    Raises:
        DeployError: there is none, or it does not parse; the message names the line.
    """
    path = model / CONFIG
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        if completes_itself(model):
            return ModelConfig(path=path, text=_BARE, message=_parse(_BARE, str(path)))
        raise DeployError(
            f"{model} has no {CONFIG}",
            hint="a model directory contains config.pbtxt and version folders (1/, 2/, …); "
            "inputs and outputs cannot be derived from a model",
        ) from None
    except OSError:
        pass  # reading it says the same
    return read_config_file(path)


def completes_itself(model: Path) -> bool:
    """Whether *model* needs no config.pbtxt: Triton assumes the Python backend for a ``model.py``.

    Source: ``AutoCompleteBackendFields`` of Triton core's ``model_config_utils.cc``. Without a ``TritonPythonModel`` in
    it such a model does not load.
    """
    try:
        versions = [path for path in model.iterdir() if version_of(path.name) is not None]
    except OSError:
        return False
    return any(defines_model(version / PYTHON_BASED) for version in versions)


def read_config_file(path: Path) -> ModelConfig:
    """Read a model configuration in protobuf text format.

    Raises:
        DeployError: it cannot be read, or does not parse; the message names the line.
    """
    try:
        data = read_regular(path, most=MAX_BYTES + 1)
    except OSError as error:
        raise DeployError(f"{path} cannot be read: {error.strerror}") from None
    return parse_config(data, path)


def parse_config(data: bytes, path: Path, *, where: str | None = None) -> ModelConfig:
    """Parse *data*, read from *path*, as a configuration; *where* replaces the path in errors.

    Raises:
        DeployError: it is not a configuration; the message names the line.
    """
    said = where or str(path)
    if len(data) > MAX_BYTES:
        raise DeployError(f"{said} is larger than {MAX_BYTES // 2**20} MiB, the limit for configurations")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise DeployError(f"{said} is not UTF-8: byte {error.start}") from None
    return ModelConfig(path=path, text=text, message=_parse(text, said))


def edit_config(config: ModelConfig, serving: Serving) -> str:
    """Return the text of *config* with the fields of *serving* set; comments and order are kept.

    The edit is idempotent.

    Raises:
        DeployError: the text cannot be edited.
    """
    text = config.text
    try:
        if serving.name is not None:
            text = pbtxt.set_string(text, "name", serving.name)
        text = pbtxt.set_string(text, "backend", serving.backend, after=("name", "platform"))
        text = pbtxt.remove(text, "platform")
        if serving.runtime is None:
            text = pbtxt.remove(text, "runtime")
        else:
            text = pbtxt.set_string(text, "runtime", serving.runtime, after=("backend",))
        if serving.model_file is not None:
            text = pbtxt.set_string(
                text, "default_model_filename", serving.model_file, after=("backend", "runtime")
            )
        if serving.environment is None:
            text = pbtxt.remove_parameter(text, ENVIRONMENT)
        else:
            text = pbtxt.set_parameter(text, ENVIRONMENT, serving.environment)
        edited = _parse(text, str(config.path))
    except (pbtxt.TextFormatError, DeployError) as error:
        raise _not_editable(config.path) from error
    if edited != _expected(config.message, serving):
        raise _not_editable(config.path)
    return text


def same_but_for_serving(first: ModelConfig, second: ModelConfig) -> bool:
    """Whether two configurations are equal, comments included, apart from what a deployment writes into them."""
    neutral = Serving(
        name=None, backend="python", runtime=None, model_file=RUNTIME_FILE, environment=MODEL_DIRECTORY
    )
    try:
        return edit_config(first, neutral) == edit_config(second, neutral)
    except DeployError:  # one cannot be edited, so the rest cannot be compared
        return first.text == second.text


def migrated_from(config: ModelConfig) -> str | None:
    """Return the platform or backend from which *config* is migrated to the Python backend, if any.

    Raises:
        DeployError: it is a model that the runtime cannot serve.
    """
    message = config.message
    if message.HasField("ensemble_scheduling"):
        raise DeployError(f"{config.path} is an ensemble, which runs no Python code", hint=_FOREIGN_HINT)
    if message.runtime != PYTHON_BASED and message.backend not in ("", "python", "pytorch"):
        raise DeployError(f'{config.path} says backend: "{message.backend}"', hint=_FOREIGN_HINT)
    if message.platform not in ("", *TORCH_PLATFORMS):
        raise DeployError(f'{config.path} says platform: "{message.platform}"', hint=_FOREIGN_HINT)
    if message.platform:
        return f'platform: "{message.platform}"'
    return 'backend: "pytorch"' if message.backend == "pytorch" else None


def _parse(text: str, said: str) -> model_config_pb2.ModelConfig:
    message = model_config_pb2.ModelConfig()
    try:
        text_format.Parse(text, message)
    except ValueError as error:  # of a number in a field of an enum, which protobuf compares itself
        raise DeployError(f"{said}: {printable_line(str(error)[:_MAX_SAID])}") from None
    except text_format.ParseError as error:
        line = error.GetLine()
        where = said if line is None else f"{said}, line {line}"
        raise DeployError(
            f"{where}: {_reason(error)}", hint="the format is Triton's ModelConfig in protobuf text format"
        ) from None
    return message


def _reason(error: text_format.ParseError) -> str:
    text = str(error)
    position = f"{error.GetLine()}:{error.GetColumn()} : "
    said = text.removeprefix(position)  # it may quote a line of a megabyte
    return printable_line(said[:_MAX_SAID]) + ("…" if len(said) > _MAX_SAID else "")


def _expected(message: model_config_pb2.ModelConfig, serving: Serving) -> model_config_pb2.ModelConfig:
    expected = model_config_pb2.ModelConfig()
    expected.CopyFrom(message)
    if serving.name is not None:
        expected.name = serving.name
    expected.backend = serving.backend
    expected.platform = ""
    expected.runtime = serving.runtime or ""
    if serving.model_file is not None:
        expected.default_model_filename = serving.model_file
    if ENVIRONMENT in expected.parameters:
        del expected.parameters[ENVIRONMENT]
    if serving.environment is not None:
        expected.parameters[ENVIRONMENT].string_value = serving.environment
    return expected


def _not_editable(path: Path) -> DeployError:
    return DeployError(
        f"{path} cannot be edited safely",
        hint="write backend, default_model_filename and each parameter as a separate field, on its own lines",
    )
