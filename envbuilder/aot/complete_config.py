"""Complete a configuration from the model itself, so that the server need not infer the rest."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from envbuilder.aot.model_sandbox import ModelSandbox
from envbuilder.archive.manifest import Manifest
from envbuilder.deployment.config import CONFIG, read_config
from envbuilder.deployment.model_directory import model_files
from envbuilder.deployment.pbtxt import quote
from envbuilder.deployment.tree import link_file
from envbuilder.deployment.versions import version_folders
from envbuilder.errors import DeployError
from envbuilder.progress import SILENT, Reporter
from envbuilder.util.documents import Grammar, Record

_DATA_TYPE: Final = Grammar(pattern=re.compile(r"[A-Z]+[0-9]*"), expected="a data type of Triton's")


def complete_model(
    environment: Path,
    manifest: Manifest,
    model: Path,
    scratch: Path,
    *,
    isolate: bool = True,
    reporter: Reporter = SILENT,
) -> Path:
    """Return a model directory with a complete config.pbtxt: *model* itself if nothing is missing.

    Inputs are found in an exported program, outputs (names, data types, dims) by running the model in *environment*.
    Existing fields of config.pbtxt are kept.

    Args:
        environment: an archive, or the folder that one is unpacked into.
        manifest: of that environment.
        model: a directory with config.pbtxt and version folders. It is only read.
        scratch: an empty folder.
        isolate: run the model in a mount namespace if this user may create one.

    Raises:
        DeployError: the model does not load, or the missing fields cannot be determined.
    """
    config = read_config(model)
    message = config.message
    added = []
    if not message.input or not message.output:
        reporter.step(f"Asking {model.name} for its inputs and outputs")
        (scratch / "stage").mkdir()
        stage = ModelSandbox.make(environment, model, scratch / "stage", isolate=isolate)
        stage.lay_out()
        versions = version_folders(model)
        if not versions:
            raise DeployError(
                f"{model} has no version folder", hint="put the model's files into a folder named 1"
            )
        found = stage.ask(versions[-1].name, "describe")
        for kind in ("input", "output"):
            if fields := found.records(f"{kind}s", most=1000):
                added.append(_fields(kind, fields))
    if not message.instance_group:
        kind = "KIND_CPU" if manifest.cuda == "cpu" else "KIND_GPU"
        added.append(f"instance_group [ {{ count: 1 kind: {kind} }} ]\n")
    if not added:
        return model
    copy = scratch / (message.name or model.resolve().name)
    for path in model_files(model):
        target = copy / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if path != CONFIG:
            link_file(str((model / path).resolve()), str(target))
    text = config.text if config.text.endswith("\n") or not config.text else f"{config.text}\n"
    (copy / CONFIG).write_text(text + "".join(added))
    read_config(copy)
    return copy


def _fields(kind: str, fields: Sequence[Record]) -> str:
    lines = [
        f"  {{ name: {quote(field.text('name'))} data_type: TYPE_{field.text('data_type', _DATA_TYPE)} "
        f"dims: {[*field.integers('dims', most=100)]} }}"
        for field in fields
    ]
    return f"{kind} [\n" + ",\n".join(lines) + "\n]\n"
