from __future__ import annotations

import dataclasses
import datetime
import subprocess
import sys
from pathlib import Path

import jsonschema  # type: ignore[import-untyped]  # ships no types
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from envbuilder.errors import RecipeError
from envbuilder.recipe.load import find_recipe, load_recipe, schema, template
from envbuilder.recipe.model import PackOptions, Recipe
from envbuilder.util.resources import shipped_recipes
from tests.recipe.conftest import PLAIN, refuse, write

any_folder = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def load(folder: Path, text: str | bytes) -> Recipe:
    return load_recipe(write(folder, text))


def names_its_file(path: Path) -> bool:
    """Say whether *path* is a recipe, or refused by an error that names it."""
    try:
        return load_recipe(path).path == path
    except RecipeError as error:
        return error.message.startswith(str(path))


# -- what can be written ---------------------------------------------------------------------------


def test_every_key_is_read(tmp_path: Path) -> None:
    recipe = load(
        tmp_path,
        """\
triton: pytriton-0.7.0
torch: "2.13"
cuda: cpu
python: "3.10"
dependencies: [numpy, "safetensors>=0.4"]
provider: cpython
compiler: system
exclude-newer: 2026-10-01
pack: {bytecode: false, level: 9, uncompressed: true, exclude: ["**/tests/**"]}
verify: {model: ../models/x, compile: {dynamic: true, mode: reduce-overhead}, server: false,
  inputs: ../x.npz, expected: y.json, rtol: 1.0e-3, atol: 0}
""",
    )
    assert (recipe.name, recipe.path) == ("mine", tmp_path / "mine.yaml")
    assert (recipe.triton, recipe.torch, recipe.cuda, recipe.python) == (
        "pytriton-0.7.0",
        "2.13.0",
        "cpu",
        "3.10",
    )
    assert recipe.dependencies == ("numpy", "safetensors>=0.4")
    assert (recipe.provider, recipe.compiler) == ("cpython", "system")
    assert recipe.exclude_newer == datetime.date(2026, 10, 1)
    assert recipe.pack == PackOptions(bytecode=False, level=9, uncompressed=True, exclude=("**/tests/**",))
    assert recipe.verify.model == tmp_path.parent / "models" / "x"
    assert recipe.verify.compile == {"dynamic": True, "mode": "reduce-overhead"}
    assert recipe.verify.server is False
    assert recipe.verify.inputs == tmp_path.parent / "x.npz"
    assert recipe.verify.expected == tmp_path / "y.json"
    assert recipe.verify.tolerance == {"rtol": 0.001, "atol": 0.0}
    assert recipe.torch_version == "2.13.0+cpu"


def test_the_release_decides_python_and_the_rest_has_defaults(tmp_path: Path) -> None:
    recipe = load(tmp_path, PLAIN)
    assert recipe.python == "3.12"
    assert recipe.release.demands == ("numpy",)
    assert (recipe.dependencies, recipe.pack, recipe.compiler) == ((), PackOptions(), "none")
    assert recipe.exclude_newer is None


def test_where_the_release_leaves_a_choice_torch_decides(tmp_path: Path) -> None:
    text = 'triton: pytriton-0.7.0\ntorch: "{}"\ncuda: cpu\n'
    assert load(tmp_path, text.format("2.13.0")).python == "3.12"
    assert load(tmp_path, text.format("2.0.1")).python == "3.11"


def test_torch_of_the_package_index_has_no_local_version(tmp_path: Path) -> None:
    assert load(tmp_path, PLAIN.replace("cu126", "pypi")).torch_version == "2.7.1"


def test_torch_newer_than_the_table_is_let_through(tmp_path: Path) -> None:
    assert load(tmp_path, PLAIN.replace("2.7.1", "9.9.9").replace("cu126", "cu999")).torch == "9.9.9"


def test_a_local_wheel_is_found_beside_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "wheels").mkdir()
    wheel = tmp_path / "wheels" / "my_ops-1.0-py3-none-any.whl"
    wheel.touch()
    by_path = load(tmp_path, PLAIN + "dependencies: [./wheels/my_ops-1.0-py3-none-any.whl]\n")
    by_name = load(tmp_path, PLAIN + 'dependencies: ["my-ops @ ./wheels/my_ops-1.0-py3-none-any.whl"]\n')
    assert by_path.dependencies == (f"my-ops @ {wheel.as_uri()}",)
    assert by_name.digest() == by_path.digest()


def test_a_recipe_may_begin_with_a_mark_and_end_its_lines_with_two_characters(tmp_path: Path) -> None:
    plain = load(tmp_path, PLAIN)
    assert load(tmp_path, b"\xef\xbb\xbf" + PLAIN.replace("\n", "\r\n").encode()) == plain


# -- digest ----------------------------------------------------------------------------------------


def test_the_digest_is_of_what_a_lock_depends_on(tmp_path: Path) -> None:
    digest = load(tmp_path, PLAIN).digest()
    for same in ("# a comment\n", "verify: {server: false}\n", "python: '3.12'\n", "pack: {level: 4}\n"):
        assert load(tmp_path, PLAIN + same).digest() == digest, same
    for other in (
        "dependencies: [numpy]\n",
        "compiler: system\n",
        "exclude-newer: 2026-10-01\n",
        "pack: {level: 5}\n",
    ):
        assert load(tmp_path, PLAIN + other).digest() != digest, other
    assert load(tmp_path, PLAIN.replace("25.06", "25.07")).digest() != digest


def test_the_digest_knows_what_the_release_demands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = load(tmp_path, PLAIN)
    digest = recipe.digest()
    more = dataclasses.replace(recipe.release, demands=("numpy", "ml-dtypes"))
    monkeypatch.setattr("envbuilder.recipe.model.find_release", lambda name: more)
    assert recipe.digest() != digest


def test_the_digest_does_not_know_the_folder(tmp_path: Path) -> None:
    digests = set()
    for name in ("one", "other"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "x-1.0-py3-none-any.whl").touch()
        digests.add(load(folder, PLAIN + "dependencies: [numpy, ./x-1.0-py3-none-any.whl]\n").digest())
    assert len(digests) == 1


def test_the_digest_does_not_know_the_order_of_dependencies(tmp_path: Path) -> None:
    one = load(tmp_path, PLAIN + "dependencies: [numpy, SafeTensors]\n").digest()
    assert load(tmp_path, PLAIN + "dependencies: [safetensors, numpy]\n").digest() == one


def test_the_digest_is_the_same_in_another_process(tmp_path: Path) -> None:
    path = write(tmp_path, PLAIN + "dependencies: [numpy, safetensors]\n")
    code = "import sys, pathlib, envbuilder.recipe.load as r; print(r.load_recipe(pathlib.Path(sys.argv[1])).digest())"
    said = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        check=True,
        capture_output=True,
        text=True,
        env={"PYTHONHASHSEED": "7"},
    )
    assert said.stdout.strip() == load_recipe(path).digest()


# -- bad input -------------------------------------------------------------------------------------


def test_a_local_wheel_that_is_not_there(tmp_path: Path) -> None:
    said, _ = refuse(tmp_path, PLAIN + "dependencies: [./x-1.0-py3-none-any.whl]\n")
    assert (
        said == f":4: 'x @ ./x-1.0-py3-none-any.whl': there is no file {tmp_path / 'x-1.0-py3-none-any.whl'}"
    )


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe(tmp_path / "mine.yaml")
    assert caught.value.message == f"{tmp_path / 'mine.yaml'}: cannot be read: No such file or directory"


def test_a_name_that_no_lock_can_have(tmp_path: Path) -> None:
    path = write(tmp_path, PLAIN, "my.recipe.yaml")
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    assert caught.value.message == (
        f"{path}: a recipe's name may contain letters, digits, - and _, because it also names the lock"
    )


@any_folder
@given(data=st.binary(max_size=400))
def test_any_bytes_are_a_recipe_or_an_error(tmp_path: Path, data: bytes) -> None:
    assert names_its_file(write(tmp_path, data))


_keys = st.sampled_from(
    ["triton", "torch", "cuda", "python", "dependencies", "pack", "verify", "exclude-newer", "x", "channels"]
)
_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=12)
    | st.dates()
    | st.sampled_from(["25.06", "2.7.1", "cu126", "cpu", "3.12", "numpy", "conda", "./x-1-py3-none-any.whl"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(_keys | st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=12,
)


@any_folder
@given(document=st.dictionaries(_keys, _values, max_size=8))
def test_any_document_is_a_recipe_or_an_error(tmp_path: Path, document: dict[str, object]) -> None:
    path = tmp_path / "mine.yaml"
    with path.open("w", encoding="utf-8", errors="surrogatepass") as file:
        YAML(typ="safe", pure=True).dump(document, file)
    assert names_its_file(path)


# -- finding ---------------------------------------------------------------------------------------


def test_recipes_are_found_by_name_and_by_path(tmp_path: Path) -> None:
    (tmp_path / "recipes").mkdir()
    path = write(tmp_path / "recipes", PLAIN, "resnet.yaml")
    assert find_recipe("resnet", tmp_path).path == path
    assert find_recipe(str(path), tmp_path / "elsewhere").name == "resnet"
    with pytest.raises(RecipeError) as caught:
        find_recipe("resnt", tmp_path)
    assert caught.value.message == f"no recipe 'resnt' in {tmp_path / 'recipes'}, did you mean `resnet`?"
    assert caught.value.hint == "recipes here: resnet"


def test_where_there_are_no_recipes_it_says_how_to_begin(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        find_recipe("mine", tmp_path)
    assert caught.value.hint == "`envbuilder init mine` writes one"


# -- schema and template ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["cpu", "cuda"])
def test_the_recipes_that_come_along_load_and_fulfil_the_schema(name: str) -> None:
    path = shipped_recipes() / f"{name}.yaml"
    assert load_recipe(path).verify.compile == {"dynamic": True}
    jsonschema.validate(YAML(typ="safe").load(path), schema())


@pytest.mark.parametrize(
    "text", ['triton: "25.13"', "cuda: cuda12", "python: '4'", "dependencies: numpy", "x: 1"]
)
def test_the_schema_refuses_what_the_parser_refuses(tmp_path: Path, text: str) -> None:
    key = text.split(":")[0]
    lines = [line for line in PLAIN.splitlines() if not line.startswith(f"{key}:")]
    path = write(tmp_path, "\n".join([*lines, text, ""]))
    with pytest.raises(RecipeError):
        load_recipe(path)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(YAML(typ="safe").load(path), schema())


@pytest.mark.parametrize(
    ("triton", "torch", "cuda"),
    [
        (None, None, None),
        ("25.06", None, "cu128"),
        ("23.10", "2.3.1", "cu121"),
        ("26.06", None, "pypi"),
        ("25.06", None, "cu118"),
        ("27.01", None, "cu132"),
    ],
)
def test_the_template_is_a_recipe(
    tmp_path: Path, triton: str | None, torch: str | None, cuda: str | None
) -> None:
    text = template("mine", triton, torch, cuda)
    recipe = load(tmp_path, text)
    assert recipe.dependencies == ("numpy", "safetensors")
    assert triton in (None, recipe.triton)
    assert torch in (None, recipe.torch)
    assert (cuda or "cpu") == recipe.cuda
    uncommented = "\n".join(
        line.removeprefix("# ")
        for line in text.splitlines()
        if not line.endswith("`.")
        and "$schema" not in line
        and "PEP 508" not in line
        and "itself adds" not in line
    )
    every = load(tmp_path, uncommented)
    assert every.exclude_newer == datetime.date(2026, 10, 1)
    assert every.verify.model == tmp_path.parent / "models" / "mine"


# -- system libraries ------------------------------------------------------------------------------


def test_system_libraries_are_sonames(tmp_path: Path) -> None:
    recipe = load(tmp_path, f"{PLAIN}system-libraries: [libGL.so.1, libEGL.so.1, libGL.so.1]")
    assert recipe.system_libraries == ("libEGL.so.1", "libGL.so.1")


def test_system_libraries_are_part_of_what_a_lock_is_of(tmp_path: Path) -> None:
    plain, more = load(tmp_path, PLAIN), load(tmp_path, f"{PLAIN}system-libraries: [libGL.so.1]")
    assert plain.digest() != more.digest()
    assert dataclasses.replace(more, system_libraries=()).digest() == plain.digest()
    assert load(tmp_path, f"{PLAIN}system-libraries: []").digest() == plain.digest()


@pytest.mark.parametrize("name", ["libgl1", "/usr/lib/libGL.so.1", "libGL.so.", "libGL", ""])
def test_what_is_no_soname(tmp_path: Path, name: str) -> None:
    message, hint = refuse(tmp_path, f'{PLAIN}system-libraries: ["{name}"]')
    assert message == f":4: `system-libraries` has {name!r}, which is not a soname"
    assert hint == "expected the loader's name, libGL.so.1 (not a path or the package libgl1)"
