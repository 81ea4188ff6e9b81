"""Determine version and build of torch from conda packages."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from envbuilder.catalog.torch import find_build, table
from envbuilder.recipe.conda import TORCH_PACKAGES
from envbuilder.recipe.importing.match_spec import Spec

CUDA_PACKAGES: Final = ("pytorch-cuda", "cuda-version", "cudatoolkit", "cuda-toolkit", "cuda-runtime")
"""Conda packages whose version is that of CUDA."""
MUTEX: Final = "pytorch-mutex"
"""The package whose build string selects the variant: ``1.0=cpu``, ``1.0=cuda``."""
CHOOSERS: Final = (*CUDA_PACKAGES, "cpuonly", MUTEX)
"""Conda packages that choose a build of torch."""
BUILD_PACKAGES: Final = (*TORCH_PACKAGES, *CHOOSERS)
"""Conda packages that `torch:` and `cuda:` replace."""
PARTS: Final = ("torchtriton", "triton", "libtorch")
"""Conda packages of libraries that torch's wheel contains or depends on."""


def compared(spec: Spec, cuda: str) -> str:
    """Return the remark on a package that selects a build, compared with the build that was chosen."""
    if spec.name == MUTEX:
        fits = not spec.build or ("cpu" in spec.build) == (cuda == "cpu")
    elif spec.name == "cpuonly" or not spec.version or not cuda.startswith("cu"):
        fits = (spec.name != "cpuonly") == (cuda != "cpu")
    else:
        fits = spec.allows(f"{cuda[2:4]}.{cuda[4:]}")
    return f"cuda: {cuda}" if fits else f"clash: cuda: {cuda} is taken instead"


def version_of(asked: Sequence[Spec]) -> str | None:
    """Return the newest known version that all of *asked* allow, or the one that they pin."""
    for spec in asked:
        exact = re.fullmatch(r"(?:==)?(\d+\.\d+\.\d+)(?:\.\*)?", spec.version)
        if exact is not None:
            return exact[1]
    if not any(spec.version for spec in asked):
        return None
    known = [build.version for build in table() if all(spec.allows(build.version) for spec in asked)]
    return known[-1] if known else None


def cuda_of(specs: Sequence[Spec], asked: Sequence[Spec], torch: str) -> str | None:
    """Return the variant that *specs* select, of which *asked* are torch's; None: they do not mention CUDA."""
    for spec in asked:
        built = re.search(r"(?:cuda|cu)_?(\d\d)\.?(\d)", spec.build)
        if built is not None:
            return f"cu{built[1]}{built[2]}"
        if "cpu" in spec.build:
            return "cpu"
    build = find_build(torch)
    known = build.cuda if build is not None else tuple({name for one in table() for name in one.cuda})
    newest_first = sorted(known, reverse=True)
    for spec in specs:
        if spec.name not in CUDA_PACKAGES or not spec.version:
            continue
        exact = re.fullmatch(r"(?:==)?(\d\d)\.(\d)(?:[.\d]*)(?:\.\*)?", spec.version)
        if exact is not None:
            return f"cu{exact[1]}{exact[2]}"
        for name in newest_first:
            if spec.allows(f"{name[2:4]}.{name[4]}"):
                return name
    if any(_wants_cuda(spec, asked) for spec in specs) and newest_first:
        return newest_first[0]
    names = {spec.name for spec in specs}
    return "cpu" if names & {"cpuonly", "pytorch-cpu"} or any(_wants_cpu(spec) for spec in specs) else None


def _wants_cuda(spec: Spec, asked: Sequence[Spec]) -> bool:
    if spec in asked or spec.name == MUTEX:
        return spec.name == "pytorch-gpu" or "cuda" in spec.build
    return spec.name in CUDA_PACKAGES


def _wants_cpu(spec: Spec) -> bool:
    return spec.name == MUTEX and "cpu" in spec.build
