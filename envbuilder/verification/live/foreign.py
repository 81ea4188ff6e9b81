"""Adapt a probe's checks to environments that another tool packed, with hints for that tool."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from envbuilder.catalog.triton import Release
from envbuilder.verification import foreign_hints as hints
from envbuilder.verification.live.child import RUNPATH
from envbuilder.verification.report import Check

_SONAME: Final = re.compile(r"(?P<soname>lib[\w.+-]+\.so[\w.]*)")
_OURS: Final = re.compile(r"recipe|lock (?:again|and)|`build`|solver")
_OURS_BUILT: Final = re.compile(r"lock and build")
_ECHO: Final = """\
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        answers = []
        for request in requests:
            x = pb_utils.get_input_tensor_by_name(request, "x").as_numpy()
            answers.append(pb_utils.InferenceResponse([pb_utils.Tensor("y", x + 1)]))
        return answers
"""
_ECHO_CONFIG: Final = """\
backend: "python"
max_batch_size: 8
input [ { name: "x" data_type: TYPE_FP32 dims: [ 4 ] } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ 4 ] } ]
instance_group [ { kind: KIND_CPU } ]
"""


def model_without_torch(folder: Path) -> Path:
    """Write a model that needs only NumPy, for an environment without torch."""
    model = folder / "sample" / "plain"  # a deployment locks its parent folder
    (model / "1").mkdir(parents=True)
    (model / "1" / "model.py").write_text(_ECHO)
    (model / "config.pbtxt").write_text(_ECHO_CONFIG)
    return model


def probed(checks: Sequence[Check], *, torch: bool, base: str | None) -> list[Check]:
    """Adapt *checks* of a probe to an environment that may be incomplete.

    Args:
        checks: of one model under one launch.
        torch: whether the environment has one.
        base: the Python outside of it with which it runs, if it contains none.
    """
    compiled = any(one.id == "probe.compile" and one.status == "passed" for one in checks)
    made = []
    for one in checks:
        if one.id == "probe.child":
            one = _child(one, compiled)
        elif one.id == "probe.import" and one.status == "failed" and not torch and "'torch'" in one.found:
            text = "the probe requires torch, which is missing: how a model behaves is not known without a server"
            one = replace(one, status="omitted", found=text, fix=None)
        elif one.id == "contract.isolation" and base is not None:
            text = f"it runs with {base}, outside the environment: files of this machine stayed accessible"
            one = replace(one, found=text, fix="verify it on the machine, or in the image, that serves")
        elif one.id == "probe.outside" and one.status == "failed" and base is not None:
            fix = "each machine that serves needs the same files; or use conda-pack, which packs the interpreter"
            one = replace(one, status="warning", fix=fix)
        elif one.id == "probe.model" and one.status == "failed" and _OURS.search(one.fix or ""):
            fix = "install the project that provides it into the environment, and pack it again"
            one = replace(one, fix=fix)
        made.append(one)
    return made


def settle_links(place: list[Check], said: Iterable[Check]) -> None:
    """Turn unknown results about links that point outside into warnings if all of a server's checks (*said*)
    passed."""
    served = [one for one in said if one.id.startswith("server.")]
    answered = any(one.id in ("server.http", "server.grpc") and one.status == "passed" for one in served)
    if not answered or any(one.status == "failed" for one in served):
        return
    for number, one in enumerate(place):
        if one.id == "paths.links" and one.status == "unknown":
            text = one.found.replace("is not known", "is not known, but this server answers")
            place[number] = replace(one, status="warning", found=text)


def _child(one: Check, compiled: bool) -> Check:
    if one.status != "failed":
        return one
    patch = (
        "its python must find its libraries through its own RUNPATH: `patchelf --set-rpath '$ORIGIN/../lib' "
        "ENV/bin/python3.X` before it is packed, or install conda-forge's python"
    )
    fix = patch if one.fix == RUNPATH else _OURS_BUILT.sub("pack the environment", one.fix or "")
    text = f"{one.found}; the model was served without it" if compiled else one.found
    return replace(one, status="warning" if compiled else "failed", found=text, fix=fix)


def imported(checks: Iterable[Check], release: Release) -> Iterator[Check]:
    """Yield *checks* of importing packages, with hints that need no recipe."""
    for one in checks:
        if one.fix is None or not _OURS.search(one.fix):
            yield one
            continue
        package = one.found.partition(":")[0]
        soname = _SONAME.search(one.found)
        missing = re.search(r"No module named '([\w.]+)'", one.found)
        if soname is not None:
            fix = hints.get_library(soname["soname"], package, release.glibc is None)
        elif missing is not None:
            fix = f"install the project that has the module {missing[1]} into the environment, and pack it again"
        elif "NumPy" in one.found:
            fix = f"install a version of {package} that fits the environment's NumPy, or another NumPy, and pack again"
        else:
            fix = f"install another version of {package}, and pack the environment again"
        yield replace(one, fix=fix)
