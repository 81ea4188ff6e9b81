"""What became of packages, as checks: the cause of each failure, and a hint that cures it."""

from __future__ import annotations

from pathlib import Path

import pytest

from envbuilder.catalog.triton import find_release
from envbuilder.verification import hints
from envbuilder.verification.live.evaluate_packages import PackageEvaluator, UvTried, soname_candidates
from envbuilder.verification.live.packages import Imported, ModuleOutcome, PackageOutcome, import_packages
from envbuilder.verification.report import Check
from envbuilder.verification.static import loader
from envbuilder.verification.static.needs import system_of
from tests.helpers.environments import Tree
from tests.helpers.packages import distribution, opened

Judged = list[tuple[str, str, "str | None"]]


@pytest.fixture(autouse=True)
def _a_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose loader knows no more than every one has."""
    monkeypatch.setattr(loader, "host_libraries", lambda: frozenset({"libgomp.so.1"}))


def unknown(package: str, module: str) -> bool | None:
    return None


def judged(
    tree: Tree,
    folder: Path,
    found: dict[str, PackageOutcome] | None = None,
    *,
    release: str = "pytriton-0.7.0",
    uv: UvTried = unknown,
    wanted: set[str] | None = None,
    used: tuple[str, ...] = (),
    **packed: tuple[str, ...],
) -> Judged:
    """The checks of what is *found*, or of what really becomes of the packages of *tree*."""
    folder.mkdir(exist_ok=True)
    archive, place = opened(tree, folder, **packed)
    if found is None:
        imported = import_packages(place, "sourced", archive.installed, archive.contents.members)
    else:
        modules = {name: tuple(one.modules) for name, one in found.items()}
        imported = Imported(launch="sourced", found=found, modules=modules, ended="", seconds=0.0)
    its = find_release(release)
    evaluator = PackageEvaluator(
        archive=archive, release=its, system=system_of(archive, its), uv=uv, wanted=wanted, used=used
    )
    checks: list[Check] = list(evaluator.checks(imported))
    assert {check.id for check in checks} == {"probe.packages"}
    return [(check.status, check.found, check.fix) for check in checks]


def failing(name: str, text: str, error: str = "ImportError", *causes: str) -> dict[str, PackageOutcome]:
    return {
        name: PackageOutcome(modules={name: ModuleOutcome(done=False, error=error, text=text, causes=causes)})
    }


GL = "libGL.so.1: cannot open shared object file: No such file or directory"
ALL_WELL: Judged = [("passed", "1 package imported, 1 module", None)]


def raising(text: str) -> str:
    return f"raise ImportError({text!r})"


def test_all_is_well(tmp_path: Path) -> None:
    assert judged(distribution("a", {"a.py": ""}), tmp_path) == ALL_WELL


# -- each hint, and what following it does ---------------------------------------------------------


def test_what_build_left_out(tmp_path: Path) -> None:
    files = {"a/__init__.py": "import a.tests.helper", "a/tests/__init__.py": "", "a/tests/helper.py": ""}
    tests = ("a/tests/__init__.py", "a/tests/helper.py")
    tree = distribution("a", files, left_out=tests)
    assert judged(tree, tmp_path / "1", exclude=("**/tests/**", "**/*.a")) == [
        (
            "failed",
            "a: ModuleNotFoundError: No module named 'a.tests'; `build` left it out (**/tests/**)",
            "remove '**/tests/**' from `pack: {exclude: …}` in the recipe, then lock and build again",
        )
    ]
    assert judged(distribution("a", files), tmp_path / "2", exclude=("**/*.a",)) == ALL_WELL


def test_a_file_that_build_left_out(tmp_path: Path) -> None:
    code = "import os\nopen(os.path.join(os.path.dirname(__file__), 'table.csv'))"
    files = {"a/__init__.py": code, "a/table.csv": ""}
    (one,) = judged(
        distribution("a", files, left_out=("a/table.csv",)), tmp_path / "1", exclude=("**/*.csv",)
    )
    assert one[0] == "failed"
    assert one[1].endswith("table.csv'; `build` left it out (**/*.csv)")
    assert one[2] == "remove '**/*.csv' from `pack: {exclude: …}` in the recipe, then lock and build again"
    assert judged(distribution("a", files), tmp_path / "2") == ALL_WELL


def test_a_library_of_the_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = distribution("opencv-python", {"cv2.py": raising(GL)})
    assert judged(tree, tmp_path / "1") == [
        (
            "failed",
            f"opencv-python: ImportError: {GL}",
            "opencv-python-headless instead of opencv-python in the recipe's dependencies does not need this library; "
            "or `apt-get install libgl1` on each machine that serves",
        )
    ]
    assert judged(tree, tmp_path / "2", release="24.10")[0][2] == (
        "opencv-python-headless instead of opencv-python in the recipe's dependencies does not need this library; "
        "or build your own image with Debian's libgl1, set `system-libraries: [libGL.so.1]` in the recipe, "
        "then lock and build again"
    )
    # Following it: the other wheel, or the word of the recipe.
    assert judged(distribution("opencv-python-headless", {"cv2.py": ""}), tmp_path / "3") == ALL_WELL
    text = f"opencv-python: ImportError: {GL}; the recipe lists it as a library of the system: not known here"
    for number, release in enumerate(("pytriton-0.7.0", "24.10")):
        folder = tmp_path / f"own{number}"
        assert judged(tree, folder, release=release, system_libraries=("libGL.so.1",)) == [
            ("omitted", text, None)
        ]


def test_a_library_that_nobody_is_known_to_have(tmp_path: Path) -> None:
    found = failing("a", "libnowhere.so.3: cannot open shared object file: No such file or directory")
    fix = judged(distribution("a", {"a.py": ""}), tmp_path, found)[0][2]
    assert fix == (
        "use a version of a whose wheel contains libnowhere.so.3, or list it in the recipe's "
        "`system-libraries`, if each machine that serves has it"
    )


FOUND_BY_THEMSELVES = [
    ("sounddevice", "PortAudio library not found", "libportaudio2"),
    ("pyzbar", "Unable to find zbar shared library", "libzbar0"),
    ("python-magic", "failed to find libmagic.  Check your installation", "libmagic1"),
    (
        "weasyprint",
        "cannot load library 'libpango-1.0-0': libpango-1.0-0: cannot open shared object file: No such file",
        "libpango-1.0-0",
    ),
    (
        "pyvips",
        "cannot load library 'libvips.so.42': libvips.so.42: cannot open shared object file",
        "libvips42",
    ),
]


@pytest.mark.parametrize(("package", "text", "debian"), FOUND_BY_THEMSELVES)
def test_a_library_that_a_package_looks_for_by_itself(
    tmp_path: Path, package: str, text: str, debian: str
) -> None:
    found = failing(package, text, "OSError")
    ((status, _, fix),) = judged(distribution(package, {f"{package}.py": ""}), tmp_path, found)
    assert (status, fix) == ("failed", f"`apt-get install {debian}` on each machine that serves")


def test_a_library_that_this_machine_lacks_and_the_image_has(tmp_path: Path) -> None:
    found = failing("a", "libcurl.so.4: cannot open shared object file: No such file or directory")
    assert judged(distribution("a", {"a.py": ""}), tmp_path, found, release="24.10") == [
        (
            "warning",
            "a: ImportError: libcurl.so.4: cannot open shared object file: No such file or directory; "
            "the image of 24.10 has it: not known here",
            "install it with `apt-get` on this machine, or verify in the image of 24.10",
        )
    ]


@pytest.mark.parametrize(("release", "fails"), [("24.10", True), ("pytriton-0.7.0", False)])
@pytest.mark.parametrize("used", [(), ("a",)])
def test_a_library_that_only_this_machine_has(
    tmp_path: Path, release: str, fails: bool, used: tuple[str, ...]
) -> None:
    libraries = ("/usr/lib/x86_64-linux-gnu/libGL.so.1.7.0", "/usr/lib/x86_64-linux-gnu/libz.so.1.2.13")
    found = {"a": PackageOutcome(modules={"a": ModuleOutcome(done=True)}, libraries=libraries)}
    checks = judged(distribution("a", {"a.py": ""}), tmp_path, found, release=release, used=used)
    if fails:
        assert checks[0][:2] == (
            "failed",
            f"a: {libraries[0]} of this machine was loaded, and the image of 24.10 has no libGL.so.1",
        )
    else:
        assert checks == ALL_WELL


NUMPY = [
    "pyarrow requires NumPy 2.0 or newer, found 1.26.4",
    "module was compiled against NumPy C-API version 0x12 (NumPy 2.0) but the running NumPy has C-API version 0x10.",
]


@pytest.mark.parametrize("text", NUMPY)
def test_a_package_for_another_numpy(tmp_path: Path, text: str) -> None:
    # What following it does is shown with the solver: tests/resolve/test_numpy_abi.py.
    assert judged(distribution("pyarrow", {"pyarrow.py": raising(text)}), tmp_path) == [
        (
            "failed",
            f"pyarrow: ImportError: {text}; the environment has NumPy 1.26.4",
            "lock again: the solver then avoids versions of pyarrow that are built for NumPy 2; or target release "
            "24.11 or later, which supports NumPy 2",
        )
    ]


@pytest.mark.parametrize(
    "text",
    ["libcuda.so.1: cannot open shared object file: No such file", "Found no NVIDIA driver on your system"],
)
def test_no_gpu_here(tmp_path: Path, text: str) -> None:
    assert judged(distribution("a", {"a.py": raising(text)}), tmp_path) == [
        (
            "warning",
            f"a: ImportError: {text}; this machine has no GPU: not known",
            "verify it on a machine with an NVIDIA GPU",
        )
    ]


def test_an_old_driver_here(tmp_path: Path) -> None:
    text = "CUDA driver version is insufficient for CUDA runtime version"
    assert judged(distribution("a", {"a.py": raising(text)}), tmp_path) == [
        (
            "warning",
            f"a: ImportError: {text}; the NVIDIA driver of this machine is too old for it: not known",
            "update the driver here, and look at the one where it is served",
        )
    ]


ADD = "add the project that has the module nowhere to the recipe's dependencies"
KEEP = "keep everything with `pack: {exclude: []}` in the recipe; if that does not help, please report it"
UV = [
    (None, "failed", "", ADD),
    (False, "failed", "; it also fails in uv's own installation of the lock", ADD),
    (True, "failed", "; in uv's own installation of the lock, the import works", KEEP),
]


@pytest.mark.parametrize(("uv", "status", "more", "fix"), UV)
def test_a_module_that_is_nowhere(tmp_path: Path, uv: bool | None, status: str, more: str, fix: str) -> None:
    tree = distribution("a", {"a.py": "import nowhere"})
    text = f"a: ModuleNotFoundError: No module named 'nowhere'{more}"
    assert judged(tree, tmp_path / "1", uv=lambda package, module: uv) == [(status, text, fix)]
    both = {**tree, **distribution("nowhere", {"nowhere.py": ""})}
    assert judged(both, tmp_path / "2") == [("passed", "2 packages imported, 2 modules", None)]


def test_what_fails_in_uv_too_fails_where_a_model_imports_it(tmp_path: Path) -> None:
    # Beside the module that has the package's name lies one that no model imports.
    tree = {
        **distribution("a", {"a.py": "", "a_extra.py": "import nowhere"}),
        **distribution("b", {"b.py": "import nowhere"}, requires=("a",)),
    }

    def in_uv(package: str, module: str) -> bool:
        return False

    found = judged(tree, tmp_path, uv=in_uv, wanted={"a", "b"})
    assert [(text.partition(":")[0], status) for status, text, _ in found] == [
        ("a", "warning"),
        ("b", "failed"),
    ]
    (_, b) = judged(tree, tmp_path / "2", uv=in_uv, wanted={"a"})
    assert (b[0], "no package that the recipe requires imports it" in b[1]) == ("warning", True)


def test_what_the_verified_model_imports_all_the_same_is_a_warning(tmp_path: Path) -> None:
    # keras imports tensorflow, which nobody has, unless a model sets KERAS_BACKEND before.
    tree = {
        **distribution("keras", {"keras.py": "import nowhere"}),
        **distribution("b", {"b.py": "import nowhere"}),
    }
    b, keras = judged(tree, tmp_path, wanted={"keras", "b"}, used=("keras", "torch"))
    assert keras == (
        "warning",
        "keras: ModuleNotFoundError: No module named 'nowhere'; the verified model imports it nevertheless",
        "let other models that import it do the same before",
    )
    assert b[0] == "failed"


def test_what_no_other_package_comes_to_is_a_warning(tmp_path: Path) -> None:
    tree = {
        **distribution("a", {"a.py": ""}, requires=("b", 'c; extra == "more"')),
        **distribution("b", {"b.py": raising(GL)}),
    }
    ((status, found, _),) = judged(tree, tmp_path)
    assert (status, found) == (
        "warning",
        f"b: ImportError: {GL}; no package that the recipe requires imports it",
    )


def test_what_another_package_comes_to_is_a_failure(tmp_path: Path) -> None:
    tree = {
        **distribution("a", {"a.py": "import b"}, requires=("b",)),
        **distribution("b", {"b.py": raising(GL)}),
    }
    assert [check[0] for check in judged(tree, tmp_path)] == ["failed", "failed"]


def test_no_time(tmp_path: Path) -> None:
    found = {"a": PackageOutcome(modules={"a": ModuleOutcome(done=False)}, timeout=True)}
    assert judged(distribution("a", {"a.py": ""}), tmp_path, found) == [
        ("warning", "a: a was not imported in time: not known", "verify it on a less busy machine")
    ]


def test_a_process_that_dies(tmp_path: Path) -> None:
    code = "import os\nprint('Illegal instruction', flush=True)\nos.kill(os.getpid(), 4)"
    ((status, found, fix),) = judged(distribution("a", {"a.py": code}), tmp_path)
    assert (status, found) == ("failed", "a: importing a was killed by signal 4: Illegal instruction")
    assert fix == "use another version of a, or add what the text names"


def test_a_torchvision_of_another_torch(tmp_path: Path) -> None:
    code = "raise RuntimeError('operator torchvision::nms does not exist')"
    ((status, _, fix),) = judged(distribution("torchvision", {"torchvision.py": code}), tmp_path)
    assert status == "failed"
    assert fix == hints.MATCH_TORCHVISION


def test_the_sonames_that_a_file_may_have() -> None:
    assert soname_candidates("libgomp.so.1.0.0") == ["libgomp.so.1.0.0", "libgomp.so.1.0", "libgomp.so.1"]
    assert soname_candidates("libx.so") == ["libx.so"]
    assert soname_candidates("ld-2.31") == ["ld-2.31"]
