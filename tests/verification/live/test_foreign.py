"""What is said to a person who did not use `envbuilder build`, of what ran."""

from __future__ import annotations

import pytest

from envbuilder.catalog.triton import find_release
from envbuilder.verification.live.child import RUNPATH
from envbuilder.verification.live.foreign import imported, probed
from envbuilder.verification.report import Check

OURS = "add the package that provides it to the recipe's dependencies, then lock and build again"


def made(id: str, found: str, fix: str | None = OURS) -> Check:
    return Check(id=id, status="failed", found=found, fix=fix)


@pytest.mark.parametrize(
    ("found", "release", "fix"),
    [
        (
            "opencv-python: libGL.so.1: cannot open shared object file",
            "24.10",
            "`pip install opencv-python-headless` instead of opencv-python needs no such library; or "
            "`apt-get install libgl1` on an image of your own",
        ),
        (
            "x: libGL.so.1: cannot open",
            "pytriton-0.7.0",
            "`apt-get install libgl1` on each machine that serves",
        ),
        (
            "x: libown.so.3: cannot open",
            "24.10",
            "install the conda package that has libown.so.3 into the environment, and pack it again",
        ),
        (
            "x: ModuleNotFoundError: No module named 'y.z'",
            "24.10",
            "install the project that has the module y.z into the environment, and pack it again",
        ),
        (
            "x: built for NumPy 2; the environment has NumPy 1.26",
            "24.10",
            "install a version of x that fits the environment's NumPy, or another NumPy, and pack again",
        ),
        ("x: ValueError", "24.10", "install another version of x, and pack the environment again"),
    ],
)
def test_what_became_of_importing_packages(found: str, release: str, fix: str) -> None:
    (one,) = imported([made("probe.packages", found)], find_release(release))
    assert one.fix == fix


def test_a_hint_that_needs_no_recipe_stays() -> None:
    one = made("probe.packages", "x: no GPU here", "verify it where there is one")
    assert list(imported([one], find_release("24.10"))) == [one]


def test_what_a_model_lacks_and_what_the_probe_lacks() -> None:
    lacking = made("probe.model", "the environment has no module 'sklearn', which the model imports: …")
    without = made("probe.import", "ModuleNotFoundError: No module named 'torch'")
    model, torch = probed([lacking, without], torch=False, base=None)
    assert model.fix == "install the project that provides it into the environment, and pack it again"
    assert (model.status, torch.status) == ("failed", "omitted")
    assert probed([without], torch=True, base=None) == [without]


def test_a_python_outside() -> None:
    outside = made("probe.outside", "loaded from outside the environment: /usr/lib/python3.11/json")
    (one,) = probed([outside], torch=True, base="/usr/bin/python3.11")
    assert (one.status, one.fix) == (
        "warning",
        "each machine that serves needs the same files; or use conda-pack, which packs the interpreter",
    )


@pytest.mark.parametrize(("compiled", "status"), [(True, "warning"), (False, "failed")])
def test_a_child_that_does_not_start_is_told_how_python_finds_its_library(
    compiled: bool, status: str
) -> None:
    checks = [made("probe.child", "exited with 127", fix=RUNPATH)]
    checks += [Check(id="probe.compile", status="passed", found="compiled")] if compiled else []
    one = probed(checks, torch=True, base=None)[0]
    assert one.status == status
    assert "`patchelf --set-rpath '$ORIGIN/../lib' ENV/bin/python3.X`" in str(one.fix)
