"""What a probe found, in words."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from envbuilder.catalog.triton import find_release
from envbuilder.verification.live.evaluate import check_probe, environment_facts
from envbuilder.verification.live.evaluate_model import ModelFacts
from envbuilder.verification.live.run_probe import Probed
from envbuilder.verification.report import Check
from tests.helpers.environments import failures
from tests.helpers.probes import GOOD, MANIFEST, judged, served


def test_all_is_well() -> None:
    checks = judged(GOOD)
    assert [(check.id, check.status) for check in checks if check.status != "passed"] == []
    assert {check.id: check.found for check in checks} == {
        "contract.launch": "Python 3.11.7, launched sourced: isolated, locale C, no UTF-8 mode",
        "contract.isolation": "only the environment and the base system were accessible",
        "probe.import": "torch 2.13.0+cpu (without CUDA), NumPy 1.26.4, imported in 0.9 s",
        "probe.outside": "every module and library came from the environment or the base system",
        "probe.child": "/e/0/bin/python3 starts without ENV/lib on the loader's path",
        "probe.model": "the model answers: y [1, 16]",
        "probe.compile": "compiled by inductor and /usr/bin/g++; loaded in 12.3 s",
        "probe.answers": "batches of 1, 2, 8: the same as eager",
        "probe.recompiles": "2 graphs serve every batch size: 1, 2, 8",
    }
    assert {check.release for check in checks} == {"pytriton-0.7.0"}
    assert checks[0].seconds == 3.0


def test_no_answer() -> None:
    assert failures(judged(None)) == {
        "contract.launch": (
            "the environment's Python, launched sourced as pytriton-0.7.0 does: it exited with 1:\n  | no",
            "the last lines show what is missing",
        )
    }


def test_not_isolated_is_a_warning() -> None:
    (check,) = [check for check in judged(GOOD, isolated=False) if check.id == "contract.isolation"]
    assert (check.status, check.fix) == ("warning", "run as root, or allow user namespaces")
    assert check.found == (
        "this user may not create mount namespaces, so the files that the archive was built from stayed accessible"
    )


FAILURES = [
    (
        "runtime",
        "probe.import",
        "ImportError: x",
        "what the text names is missing from the environment, or has the wrong version",
    ),
    (
        "eager",
        "probe.model",
        "the model does not load or answer: ImportError: x",
        "the model itself fails: run it in plain Python with the inputs that config.pbtxt describes",
    ),
    (
        "compiled",
        "probe.compile",
        "torch.compile fails: ImportError: x",
        'eager works: TORCH_COMPILE_OPTIONAL_PARAMETERS {"disable": true}, or COMPILE_FALLBACK "eager"',
    ),
    (
        "answer",
        "probe.answers",
        "the model does not answer: ImportError: x",
        "it loads and compiles, but a request to it fails",
    ),
]


@pytest.mark.parametrize(("stage", "id", "text", "fix"), FAILURES)
def test_a_stage_that_failed(stage: str, id: str, text: str, fix: str) -> None:
    failed = {"stage": stage, "text": "ImportError: x", "trace": "…"}
    answer = {key: value for key, value in GOOD.items() if key not in ("CPU", "torch", "child")}
    if stage != "runtime":
        answer |= {"torch": GOOD["torch"], "child": GOOD["child"], "CPU": {}}
    checks = judged({**answer, "failed": failed})
    assert failures(checks) == {id: (text, fix)}


@pytest.mark.parametrize("stage", ["child", "probe"])
def test_no_failed_stage_goes_unsaid(stage: str) -> None:
    answer = {**GOOD, "failed": {"stage": stage, "text": "OSError: x", "trace": "…"}}
    answer = {key: value for key, value in answer.items() if key not in ("CPU", "child")}
    assert failures(judged(answer)) == {
        "probe.model": ("the probe did not reach the model: OSError: x", "fix what the text names")
    }


def test_another_torch() -> None:
    answer = {**GOOD, "torch": {**GOOD["torch"], "version": "2.12.0+cu130", "cuda": "13.0"}}
    assert failures(judged(answer)) == {
        "probe.import": (
            "torch 2.12.0+cu130 (CUDA 13.0), NumPy 1.26.4, imported in 0.9 s; the manifest says 2.13.0+cpu",
            "build it again",
        )
    }


def test_what_came_from_outside() -> None:
    answer = {**GOOD, "modules": ["yaml (/usr/lib/python3/yaml.py)"], "libraries": ["/opt/x/libssl.so.3"]}
    assert failures(judged(answer)) == {
        "probe.outside": (
            "loaded from outside the environment: yaml (/usr/lib/python3/yaml.py), /opt/x/libssl.so.3",
            "the environment must contain what it imports; a .pth file or PYTHONPATH may point outside it",
        )
    }


def test_a_child_that_does_not_start() -> None:
    child = {"executable": "/e/0/bin/python3", "returncode": "127", "output": "no libpython"}
    text, fix = failures(judged({**GOOD, "child": child}))["probe.child"]
    assert text == "/e/0/bin/python3 started as a child exited with 127: no libpython"
    assert fix is not None
    assert "$ORIGIN/../lib" in fix


def test_an_own_model_does_without_torch() -> None:
    answer = {key: value for key, value in served(own=True, compiled=False).items() if key != "torch"}
    checks = {check.id: check for check in judged({**answer, "numpy": "2.3.1"}, own=True)}
    assert {check.status for check in checks.values()} == {"passed"}
    assert checks["probe.import"].found == "no torch, which the model does not need; NumPy 2.3.1"
    probed = Probed(launch="sourced", answer={**answer, "numpy": "2.3.1"}, ended="", seconds=1)
    assert environment_facts([probed]) == {"python": "3.11.7", "numpy": "2.3.1"}


def test_what_an_environment_says_of_itself() -> None:
    probed = Probed(launch="sourced", answer=GOOD, ended="", seconds=1)
    assert environment_facts([Probed(launch="direct", answer=None, ended="", seconds=1), probed]) == {
        "python": "3.11.7",
        "torch": "2.13.0+cpu",
        "cuda": "None",
        "numpy": "1.26.4",
        "devices": "none",
        "import_seconds": "0.91",
    }
    assert environment_facts([]) == {}


def test_a_compiler_that_travels_along() -> None:
    checks = judged(served(compiler="/e/0/bin/g++"), compiler="bin/g++")
    found = {check.id: check.found for check in checks}
    assert [check.id for check in checks if check.status != "passed"] == []
    isolation = "only the environment and the base system were accessible, without a compiler of this machine"
    assert found["contract.isolation"] == isolation
    assert found["probe.compile"] == "compiled by inductor and /e/0/bin/g++; loaded in 12.3 s"


def test_a_library_that_came_from_outside() -> None:
    check = outside("pytriton-0.7.0", ["/opt/x/libssl.so.3"])
    assert (check.found, check.fix) == (
        "loaded from outside the environment: /opt/x/libssl.so.3",
        "the environment must contain what it loads; a RUNPATH or LD_LIBRARY_PATH points outside it",
    )


LENT = ["/usr/lib/x86_64-linux-gnu/libgomp.so.1.0.0", "/usr/lib/x86_64-linux-gnu/libGL.so.1.7.0"]


def test_what_a_model_makes_comes_from_itself() -> None:
    made = ["/tmp/tmpx/libtwo.so", "/dev/shm/a.so.1"]
    assert outside("pytriton-0.7.0", made).status == "passed"


def outside(
    release: str, libraries: list[str], system_libraries: tuple[str, ...] = (), **known: Any
) -> Check:
    probed = Probed(launch="sourced", answer={**GOOD, "libraries": libraries}, ended="", seconds=1.0)
    listed = dataclasses.replace(MANIFEST, system_libraries=system_libraries)
    checks = check_probe(probed, find_release(release), listed, True, subject=ModelFacts(**known))
    (check,) = [check for check in checks if check.id == "probe.outside"]
    return check


def test_what_came_from_the_system_of_the_server_itself() -> None:
    check = outside("pytriton-0.7.0", LENT)
    assert (check.status, check.found) == (
        "passed",
        "every module and library came from the environment or the base system; from this machine: "
        "libGL.so.1.7.0, libgomp.so.1.0.0",
    )


def test_what_came_from_this_machine_and_is_not_in_the_image() -> None:
    check = outside("24.10", LENT)
    assert (check.status, check.found, check.fix) == (
        "failed",
        "loaded from this machine, but missing from the image of 24.10: libGL.so.1",
        "build your own image with Debian's libgl1, set `system-libraries: [libGL.so.1]` in the recipe, then lock and "
        "build again",
    )
    assert outside("24.10", LENT, system_libraries=("libGL.so.1",)).status == "passed"


def test_what_was_opened_by_name_may_not_be_needed() -> None:
    # Pillow goes on without libfribidi; what an ELF file is linked to cannot be missing.
    libraries = ["/usr/lib/x86_64-linux-gnu/libfribidi.so.0.4.0"]
    check = outside("24.10", libraries, needs=frozenset(("libc.so.6",)))
    assert check.status == "warning"
    assert check.found.endswith("linked to it: whether the model needs it is not known")
    assert check.fix is not None
    assert "`system-libraries: [libfribidi.so.0]`" in check.fix
    both = [*libraries, *LENT]
    for needs, status in (({"libfribidi.so.0"}, "failed"), ({"libGL.so.1"}, "failed"), (set(), "warning")):
        assert outside("24.10", both, needs=frozenset(needs)).status == status


def test_what_came_from_this_machine_and_may_be_in_the_image() -> None:
    check = outside("24.10", ["/usr/lib/x86_64-linux-gnu/libcudart.so.12.6"])
    assert (check.status, check.found, check.fix) == (
        "warning",
        "loaded from this machine, and possibly missing from the image of 24.10: libcudart.so.12",
        "verify in the image of 24.10",
    )
