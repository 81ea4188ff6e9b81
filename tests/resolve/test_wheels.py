from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from envbuilder.errors import ResolveError
from envbuilder.lockfile.pylock import lock_text, parse_lock
from envbuilder.lockfile.upgrade import Upgrade
from envbuilder.store.local import Store
from tests.helpers.indexes import LINUX, Notes, Server, Sources, lock, versions, write_recipe


def refuse(*args: Any, **options: Any) -> tuple[str, str | None]:
    with pytest.raises(ResolveError) as caught:
        lock(*args, **options)
    assert caught.value.exit_code == 4
    return caught.value.message, caught.value.hint


# -- where what comes from -------------------------------------------------------------------------


def test_torch_comes_from_pytorchs_index_and_the_rest_from_the_package_index(
    tmp_path: Path, sources: Sources, store: Store
) -> None:
    recipe = write_recipe(tmp_path, "numpy>=1", "safetensors", cuda="cu126", triton="25.06", python=None)
    sources.publish(
        "pytorch/cu126", "torch", "2.7.1+cu126", requires=["numpy"], tag="cp312-cp312-linux_x86_64"
    )
    locked = lock(recipe, sources.settings(), store)
    assert versions(locked) == {"numpy": "2.1.0", "safetensors": "0.8.0", "torch": "2.7.1+cu126"}
    assert (locked.torch, locked.cuda, locked.python) == ("2.7.1+cu126", "cu126", "3.12")
    assert (locked.release, locked.demands) == ("25.06", ("numpy",))


def test_each_artifact_has_the_hash_and_size_of_its_file(
    tmp_path: Path, sources: Sources, store: Store
) -> None:
    locked = lock(write_recipe(tmp_path), sources.settings(), store)
    (torch,) = [artifact for artifact in locked.artifacts if artifact.name == "torch"]
    data = (sources.root / "pytorch" / "cpu" / "torch" / torch.filename).read_bytes()
    assert (torch.sha256, torch.size) == (hashlib.sha256(data).hexdigest(), len(data))
    assert torch.filename == f"torch-2.7.1+cpu-{LINUX}.whl"


def test_no_build_for_another_cuda_is_taken_instead(tmp_path: Path, sources: Sources, store: Store) -> None:
    """Neither the package index's own build, nor one in a further index, nor one in a wheelhouse."""
    (sources.root / "pytorch" / "cu126" / "torch" / f"torch-2.7.1+cu126-{LINUX}.whl").unlink()
    (sources.root / "pytorch" / "cu126" / "torch" / "index.html").write_text("<!DOCTYPE html>")
    house = sources.house("house", "torch", "2.7.1+cpu")
    recipe = write_recipe(tmp_path, cuda="cu126")
    options = {"find_links": (house,), "extra_index_urls": (sources.url("pytorch/cpu"),)}
    message, hint = refuse(recipe, sources.settings(**options), store)
    assert message == f"there is no torch 2.7.1+cu126 for Python 3.11 on {sources.url('pytorch/cu126')}"
    assert hint == "it is required by `torch` and `cuda` in mine.yaml"


def test_what_depends_on_the_torch_family_gets_it_from_pytorchs_index(
    tmp_path: Path, sources: Sources, store: Store
) -> None:
    """Also where the package index has a newer one, which uv would take for what is not required directly."""
    sources.publish("pypi", "needs-vision", "1.0", requires=["torchvision"])
    sources.publish("pypi", "torchvision", "0.30.0", requires=["torch"], tag=LINUX)
    locked = lock(write_recipe(tmp_path, "needs-vision", cuda="cu126"), sources.settings(), store)
    assert versions(locked)["torchvision"] == "0.22.1+cu126"


def test_a_member_of_the_family_that_only_pytorchs_index_has(
    tmp_path: Path, sources: Sources, store: Store
) -> None:
    requires = ["numpy", "pytorch-triton==3.3.1"]
    sources.publish("pytorch/cu126", "torch", "2.7.1+cu126", requires=requires, tag=LINUX)
    sources.publish("pytorch/cu126", "pytorch-triton", "3.3.1", tag=LINUX)
    locked = lock(write_recipe(tmp_path, cuda="cu126"), sources.settings(), store)
    assert versions(locked)["pytorch-triton"] == "3.3.1"


def test_pypi_means_the_package_indexs_own_build(tmp_path: Path, sources: Sources, store: Store) -> None:
    house = sources.house("house", "torch", "2.7.1+cpu")  # ==2.7.1 would allow it
    sources.publish("pypi", "needs-vision", "1.0", requires=["torchvision"])
    recipe = write_recipe(tmp_path, "needs-vision", cuda="pypi")
    locked = lock(recipe, sources.settings(find_links=(house,)), store)
    assert (versions(locked)["torch"], versions(locked)["torchvision"]) == ("2.7.1", "0.22.1")


def test_pypi_means_no_build_of_a_further_index(tmp_path: Path, sources: Sources, store: Store) -> None:
    (sources.root / "pypi" / "torch" / "index.html").write_text("<!DOCTYPE html>")
    settings = sources.settings(extra_index_urls=(sources.url("pytorch/cu126"),))
    message, _ = refuse(write_recipe(tmp_path, cuda="pypi"), settings, store)
    assert message == "recipe mine requires torch 2.7.1, but the solver chose 2.7.1+cu126"


def test_pytorchs_index_is_asked_for_torch_alone(
    tmp_path: Path, served: tuple[Sources, Server], store: Store
) -> None:
    sources, server = served
    recipe = write_recipe(tmp_path, "safetensors", "torchvision", cuda="cu126")
    locked = lock(recipe, sources.settings(), store)
    assert versions(locked) == {
        "numpy": "1.26.4",
        "safetensors": "0.8.0",
        "torch": "2.7.1+cu126",
        "torchvision": "0.22.1+cu126",
    }
    pages = {path.split()[1] for path in server.asked if path.endswith("/")}
    assert {page for page in pages if page.startswith("/pytorch")} == {
        "/pytorch/cu126/torch/",
        "/pytorch/cu126/torchvision/",
    }
    assert {page for page in pages if page.startswith("/pypi")} == {"/pypi/numpy/", "/pypi/safetensors/"}


def test_sizes_are_asked_for_where_the_index_does_not_say_them(
    tmp_path: Path, served: tuple[Sources, Server], store: Store
) -> None:
    sources, _ = served
    locked = lock(write_recipe(tmp_path, cuda="cu126"), sources.settings(), store)
    for artifact in locked.artifacts:
        place = "pytorch/cu126" if artifact.name == "torch" else "pypi"
        file = sources.root / place / artifact.name / artifact.filename
        assert artifact.size == file.stat().st_size


def test_an_index_without_hashes(tmp_path: Path, served: tuple[Sources, Server], store: Store) -> None:
    sources, _ = served
    sources.hashes = False
    file = sources.publish("pypi", "bare", "1.0")
    locked = lock(write_recipe(tmp_path, "bare"), sources.settings(), store)
    (bare,) = [artifact for artifact in locked.artifacts if artifact.name == "bare"]
    assert bare.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()


# -- wheelhouses -----------------------------------------------------------------------------------


def test_a_wheelhouse_makes_pytorchs_index_unnecessary(
    tmp_path: Path, served: tuple[Sources, Server], store: Store
) -> None:
    sources, server = served
    house = sources.house("house", "torch", "2.7.1+cpu", requires=["numpy"])
    settings = sources.settings(find_links=(house,), pytorch_index="http://127.0.0.1:9/whl")
    assert versions(lock(write_recipe(tmp_path), settings, store))["torch"] == "2.7.1+cpu"
    assert not [path for path in server.asked if path.startswith("/pytorch")]


def test_a_wheelhouse_counts_before_any_index(tmp_path: Path, sources: Sources, store: Store) -> None:
    house = sources.house("house", "numpy", "1.25.0")
    recipe = write_recipe(tmp_path, "safetensors")
    assert versions(lock(recipe, sources.settings(find_links=(house,)), store))["numpy"] == "1.25.0"
    assert versions(lock(recipe, sources.settings(), store))["numpy"] == "1.26.4"


def test_what_does_not_fit_in_a_wheelhouse_does_not_count(
    tmp_path: Path, sources: Sources, store: Store
) -> None:
    sources.house("house", "torch", "2.7.1+cpu", tag="cp312-cp312-manylinux_2_28_x86_64")
    sources.house("house", "torch", "2.7.0+cpu")
    house = sources.house("house", "numpy", "2.1.0")
    locked = lock(write_recipe(tmp_path), sources.settings(find_links=(house,)), store)
    assert versions(locked) == {"numpy": "1.26.4", "torch": "2.7.1+cpu"}


def test_a_wheelhouse_is_enough(tmp_path: Path, sources: Sources, store: Store) -> None:
    sources.house("house", "torch", "2.7.1+cpu", requires=["numpy"])
    house = sources.house("house", "numpy", "1.25.0")
    nowhere = "http://127.0.0.1:9"
    settings = sources.settings(find_links=(house,), no_index=True, index_url=nowhere, pytorch_index=nowhere)
    assert versions(lock(write_recipe(tmp_path), settings, store)) == {
        "numpy": "1.25.0",
        "torch": "2.7.1+cpu",
    }


def test_no_index_and_no_wheelhouse_is_nothing(tmp_path: Path, sources: Sources, store: Store) -> None:
    recipe = write_recipe(tmp_path, cuda="pypi")
    message, _ = refuse(recipe, sources.settings(no_index=True), store)
    assert message == "there is no torch 2.7.1 for Python 3.11 in the wheelhouses"


def test_a_file_saved_under_the_name_in_its_url(tmp_path: Path, sources: Sources, store: Store) -> None:
    house = Path(sources.house("house", "torch", "2.7.1+cpu", requires=["numpy"]))
    (house / f"torch-2.7.1+cpu-{LINUX}.whl").rename(house / f"torch-2.7.1%2Bcpu-{LINUX}.whl")
    settings = sources.settings(find_links=(str(house),), pytorch_index="http://127.0.0.1:9")
    locked = lock(write_recipe(tmp_path), settings, store)
    (torch,) = [artifact for artifact in locked.artifacts if artifact.name == "torch"]
    assert torch.filename == f"torch-2.7.1+cpu-{LINUX}.whl"


def test_a_wheelhouse_that_is_not_there_is_noted_as_pip_does(
    tmp_path: Path, sources: Sources, store: Store
) -> None:
    notes = Notes()
    settings = sources.settings(find_links=(str(tmp_path / "nowhere"),))
    assert versions(lock(write_recipe(tmp_path), settings, store, reporter=notes))["torch"] == "2.7.1+cpu"
    assert notes.notes == [f"there is no wheelhouse {tmp_path / 'nowhere'}"]


def test_a_wheelhouse_on_the_network_that_does_not_answer(
    tmp_path: Path, sources: Sources, store: Store
) -> None:
    settings = sources.settings(find_links=("http://user:secret@127.0.0.1:9/house/",))
    message, hint = refuse(write_recipe(tmp_path), settings, store)
    assert message.startswith("wheelhouse http://")
    assert "secret" not in message
    assert (
        hint == "named by --find-links, envbuilder.toml, UV_FIND_LINKS, PIP_FIND_LINKS or pip's configuration"
    )


def test_a_member_of_the_family_in_a_wheelhouse_whose_version_does_not_fit(
    tmp_path: Path, sources: Sources, store: Store
) -> None:
    house = sources.house("house", "torchvision", "0.15.0+cpu", requires=["torch==2.0.0"])
    recipe = write_recipe(tmp_path, "torchvision")
    locked = lock(recipe, sources.settings(find_links=(house,)), store)
    assert versions(locked)["torchvision"] == "0.22.1+cpu"


def test_a_member_of_the_family_by_its_place(tmp_path: Path, sources: Sources, store: Store) -> None:
    house = sources.house("mine", "torchvision", "0.22.0+patched", requires=["torch"])
    wheel = f"{house}/torchvision-0.22.0+patched-{LINUX}.whl"
    locked = lock(write_recipe(tmp_path, wheel), sources.settings(), store)
    assert versions(locked)["torchvision"] == "0.22.0+patched"


def test_a_wheelhouse_may_be_a_page_of_links(
    tmp_path: Path, served: tuple[Sources, Server], store: Store
) -> None:
    sources, server = served
    house = Path(sources.house("house", "torch", "2.7.1+cpu", requires=["numpy"]))
    name = f"torch-2.7.1%2Bcpu-{LINUX}.whl"
    (house / "index.html").write_text(f'<!DOCTYPE html><a href="{name}">{name}</a>')
    settings = sources.settings(find_links=(f"{server.base}/house/",), pytorch_index="http://127.0.0.1:9")
    assert versions(lock(write_recipe(tmp_path), settings, store))["torch"] == "2.7.1+cpu"


def test_a_further_index_counts_for_what_the_first_does_not_have(
    tmp_path: Path, sources: Sources, store: Store
) -> None:
    sources.publish("extra", "mine-only", "1.0")
    sources.publish("extra", "safetensors", "9.0")
    settings = sources.settings(extra_index_urls=(sources.url("extra"),))
    locked = lock(write_recipe(tmp_path, "safetensors", "mine-only"), settings, store)
    assert (versions(locked)["mine-only"], versions(locked)["safetensors"]) == ("1.0", "0.8.0")


# -- what counts besides ---------------------------------------------------------------------------


def test_what_the_release_demands_goes_in_unasked(tmp_path: Path, sources: Sources, store: Store) -> None:
    sources.publish("pytorch/cpu", "torch", "2.7.1+cpu", tag=LINUX)
    locked = lock(write_recipe(tmp_path), sources.settings(), store)
    assert versions(locked) == {"numpy": "1.26.4", "torch": "2.7.1+cpu"}
    assert locked.demands == ("numpy<2",)


def test_constraints_count_but_for_a_cap_on_torch_itself(
    tmp_path: Path, sources: Sources, store: Store
) -> None:
    file = tmp_path / "constraints.txt"
    file.write_text("# of this machine\ntorch<=2.6\nnumpy<1.26  # for now\n-r other.txt\n")
    locked = lock(write_recipe(tmp_path), sources.settings(constraints=(file,)), store)
    assert versions(locked) == {"numpy": "1.25.0", "torch": "2.7.1+cpu"}


def test_constraints_that_cannot_be_read(tmp_path: Path, sources: Sources, store: Store) -> None:
    file = tmp_path / "constraints.txt"
    file.write_text("numpy =< 2\n")
    message, _ = refuse(write_recipe(tmp_path), sources.settings(constraints=(file,)), store)
    assert message == f"constraints file {file}: 'numpy =< 2' is not a requirement"


def test_markers_are_those_of_the_release(tmp_path: Path, sources: Sources, store: Store) -> None:
    for name in ("on-windows", "on-3-10", "on-this-one"):
        sources.publish("pypi", name, "1.0")
    recipe = write_recipe(
        tmp_path,
        'on-windows; sys_platform == "win32"',
        'on-3-10; python_version < "3.11"',
        'on-this-one; python_full_version == "3.11.7" and platform_machine == "x86_64"',
    )
    assert set(versions(lock(recipe, sources.settings(), store))) == {"numpy", "on-this-one", "torch"}


def test_the_best_wheel_for_the_release_is_taken(tmp_path: Path, sources: Sources, store: Store) -> None:
    for tag in (
        "py3-none-any",
        "cp311-cp311-manylinux_2_17_x86_64",
        "cp311-cp311-manylinux_2_34_x86_64",
        "cp311-cp311-manylinux_2_39_x86_64",
        "cp311-cp311-musllinux_1_2_x86_64",
        "cp312-cp312-manylinux_2_17_x86_64",
    ):
        sources.publish("pypi", "fast", "1.0", tag=tag)
    locked = lock(write_recipe(tmp_path, "fast"), sources.settings(), store)
    (fast,) = [artifact.filename for artifact in locked.artifacts if artifact.name == "fast"]
    assert fast == "fast-1.0-cp311-cp311-manylinux_2_34_x86_64.whl"  # 2.39 is newer than the server needs


def test_as_of_a_day_what_has_no_date_is_not_there_but_for_torch(
    tmp_path: Path, sources: Sources, store: Store
) -> None:
    recipe = write_recipe(tmp_path, more="exclude-newer: 2026-10-01")
    house = sources.house("house", "numpy", "1.25.0")
    locked = lock(recipe, sources.settings(find_links=(house,)), store)
    assert versions(locked) == {"numpy": "1.25.0", "torch": "2.7.1+cpu"}
    message, _ = refuse(recipe, sources.settings(), store)
    assert "hint: `numpy` was filtered by `exclude-newer` to only include packages uploaded before" in message


def test_the_users_own_uv_settings_do_not_count_twice(
    tmp_path: Path, sources: Sources, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "uv.toml").write_text("[pip]\nno-index = true\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("UV_INDEX_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("UV_NO_INDEX", "1")
    monkeypatch.setenv("UV_PRERELEASE", "allow")
    config = tmp_path / "home" / ".config" / "uv"
    config.mkdir(parents=True)
    (config / "uv.toml").write_text("no-index = true\n")
    assert versions(lock(write_recipe(tmp_path), sources.settings(), store))["torch"] == "2.7.1+cpu"


def test_a_torch_newer_than_the_table_is_noted(tmp_path: Path, sources: Sources, store: Store) -> None:
    sources.publish("pytorch/cpu", "torch", "9.9.9+cpu", tag=LINUX)
    notes = Notes()
    lock(write_recipe(tmp_path, torch="9.9.9"), sources.settings(), store, reporter=notes)
    assert notes.notes == ["torch 9.9.9 is newer than the known versions (up to 2.14.1): not checked"]


# -- previous locks --------------------------------------------------------------------------------


def test_versions_are_kept_until_an_upgrade(tmp_path: Path, sources: Sources, store: Store) -> None:
    recipe, settings = write_recipe(tmp_path, "safetensors"), sources.settings()
    first = lock(recipe, settings, store)
    sources.publish("pypi", "numpy", "1.27.0")
    sources.publish("pypi", "safetensors", "0.9.0")
    fresh = Store(root=tmp_path / "store-2")  # uv keeps the pages of an index for a while
    kept = lock(recipe, settings, fresh, previous=first)
    assert lock_text(kept) == lock_text(first)
    one = lock(recipe, settings, fresh, previous=first, upgrade=Upgrade(packages=("SafeTensors",)))
    assert (versions(one)["numpy"], versions(one)["safetensors"]) == ("1.26.4", "0.9.0")
    both = lock(recipe, settings, fresh, previous=first, upgrade=Upgrade(everything=True))
    assert (versions(both)["numpy"], versions(both)["safetensors"]) == ("1.27.0", "0.9.0")


def test_a_kept_version_that_no_longer_fits_is_given_up(
    tmp_path: Path, sources: Sources, store: Store
) -> None:
    first = lock(write_recipe(tmp_path), sources.settings(), store)
    locked = lock(write_recipe(tmp_path, "numpy<1.26"), sources.settings(), store, previous=first)
    assert versions(locked)["numpy"] == "1.25.0"


def test_the_same_inputs_give_the_same_bytes_on_another_machine(
    tmp_path: Path, sources: Sources, served: tuple[Sources, Server], store: Store
) -> None:
    """Other folders, another store, indexes at another address."""
    texts = []
    for number, (place, at) in enumerate([("one", sources), ("two/deep", served[0])]):
        folder = tmp_path / place
        folder.mkdir(parents=True)
        recipe = write_recipe(folder, "safetensors", "torchvision", cuda="cu126")
        texts.append(lock_text(lock(recipe, at.settings(), Store(root=tmp_path / f"store-{number}"))))
    assert texts[0] == texts[1]
    assert "127.0.0.1" not in texts[1]
    assert str(tmp_path) not in texts[0]
    assert parse_lock(texts[0].encode()).tools[0][0] == "uv"


# -- bad input -------------------------------------------------------------------------------------

DEMAND = "numpy<2 is required by Triton pytriton-0.7.0"


def test_conflicting_dependencies(tmp_path: Path, sources: Sources, store: Store) -> None:
    sources.publish("pypi", "old", "1.0", requires=["shared<2"])
    sources.publish("pypi", "new", "1.0", requires=["shared>=2"])
    for version in ("1.0", "2.0"):
        sources.publish("pypi", "shared", version)
    message, hint = refuse(write_recipe(tmp_path, "old", "new"), sources.settings(), store)
    assert message == (
        "recipe mine: no set of packages satisfies it:\n"
        "  Because all versions of new depend on shared>=2 and all versions of old depend on shared<2, "
        "we can conclude that all versions of new and all versions of old are incompatible.\n"
        "  And because the recipe depends on old and new, we can conclude that your requirements are unsatisfiable."
    )
    assert hint is None


def test_a_conflict_is_said_where_pytorchs_index_is_out_of_reach(
    tmp_path: Path, sources: Sources, store: Store
) -> None:
    sources.house("house", "torch", "2.7.1+cpu")
    house = sources.house("house", "torchvision", "0.22.1+cpu", requires=["torch==2.7.1", "numpy>=2"])
    settings = sources.settings(find_links=(house,), pytorch_index="http://127.0.0.1:9")
    message, hint = refuse(write_recipe(tmp_path, "torchvision"), settings, store)
    assert message.splitlines()[0] == "recipe mine: no set of packages satisfies it:"
    assert "all versions of torchvision depend on numpy>=2" in message
    assert hint == DEMAND


def test_a_conflict_with_what_the_release_demands(tmp_path: Path, sources: Sources, store: Store) -> None:
    message, hint = refuse(write_recipe(tmp_path, "numpy>=2"), sources.settings(), store)
    assert message == (
        "recipe mine: no set of packages satisfies it:\n"
        "  Because the recipe depends on numpy>=2 and numpy<2, we can conclude that your requirements are "
        "unsatisfiable."
    )
    assert hint == DEMAND


def test_a_dependency_that_is_not_there(tmp_path: Path, sources: Sources, store: Store) -> None:
    message, _ = refuse(write_recipe(tmp_path, "nope"), sources.settings(), store)
    assert message.splitlines()[0] == "recipe mine: no set of packages satisfies it:"
    assert "nope was not found in the package registry" in message or "no versions of nope" in message


def test_a_dependency_with_no_wheel_for_that_python(tmp_path: Path, sources: Sources, store: Store) -> None:
    sources.publish("pypi", "oldpy", "1.0", tag="cp310-cp310-manylinux_2_17_x86_64")
    message, _ = refuse(write_recipe(tmp_path, "oldpy"), sources.settings(), store)
    assert message == (
        "recipe mine: no set of packages satisfies it:\n"
        "  Because oldpy==1.0 has no wheels with a matching Python ABI tag (e.g., `cp311`) and only oldpy==1.0 is "
        "available, we can conclude that all versions of oldpy cannot be used.\n"
        "  And because the recipe depends on oldpy, we can conclude that your requirements are unsatisfiable.\n"
        "  hint: You require CPython 3.11 (`cp311`), but we only found wheels for `oldpy` (v1.0) with the following "
        "Python ABI tag: `cp310`"
    )


def test_a_dependency_for_a_newer_system(tmp_path: Path, sources: Sources, store: Store) -> None:
    sources.publish("pypi", "newsys", "1.0", tag="cp311-cp311-manylinux_2_39_x86_64")
    message, _ = refuse(write_recipe(tmp_path, "newsys"), sources.settings(), store)
    assert "has no wheels with a matching platform tag (e.g., `manylinux_2_34_x86_64`)" in message


@pytest.mark.parametrize(("cuda", "place"), [("cpu", "pytorch/cpu"), ("pypi", "pypi")])
def test_torch_that_does_not_exist(
    tmp_path: Path, sources: Sources, store: Store, cuda: str, place: str
) -> None:
    recipe = write_recipe(tmp_path, torch="9.9.9", cuda=cuda)
    message, hint = refuse(recipe, sources.settings(), store)
    assert message == f"there is no torch {recipe.torch_version} for Python 3.11 on {sources.url(place)}"
    assert hint == "it is required by `torch` and `cuda` in mine.yaml"


def test_an_index_that_does_not_answer(tmp_path: Path, sources: Sources, store: Store) -> None:
    url = "http://user:secret@127.0.0.1:9/simple"
    message, hint = refuse(write_recipe(tmp_path), sources.settings(index_url=url), store)
    assert message.splitlines()[0] == "a source does not respond:"
    assert "Failed to fetch: http://127.0.0.1:9/simple/numpy/" in message
    assert "Connection refused" in message
    assert "secret" not in message
    assert hint == "check the address, proxy and certificates, or use a wheelhouse with --find-links"


def test_a_torchvision_that_only_pytorchs_index_has(tmp_path: Path, sources: Sources, store: Store) -> None:
    house = (sources.root / "pytorch" / "cpu" / "torch").as_posix()
    settings = sources.settings(find_links=(house,), pytorch_index="http://127.0.0.1:9/whl")
    _, hint = refuse(write_recipe(tmp_path, "torchvision"), settings, store)
    assert hint is not None
    assert hint.startswith("builds of torchvision for a CPU are on PyTorch's index only; ")
    command = "`pip download --no-deps --index-url http://127.0.0.1:9/whl/cpu torchvision==0.22.1`"
    assert command in hint
    assert hint.endswith("(cuda: pypi): they run on a CPU as well, and the archive is some GB larger")


def test_a_refusal_leaves_nothing_behind(tmp_path: Path, sources: Sources, store: Store) -> None:
    refuse(write_recipe(tmp_path, "nope"), sources.settings(), store)
    assert list((store.root / "tmp").iterdir()) == []
    assert not (tmp_path / "home").exists()


def test_constraints_limit_what_others_bring_along(tmp_path: Path, sources: Sources, store: Store) -> None:
    for version in ("1.0", "2.0"):
        sources.publish("pypi", "brought", version)
    sources.publish("pypi", "brings", "1.0", requires=["brought"])
    recipe = write_recipe(tmp_path, "brings", more='constraints: ["brought<2", "never-asked-for==1"]')
    found = versions(lock(recipe, sources.settings(), store))
    assert (found["brought"], "never-asked-for" in found) == ("1.0", False)


@pytest.mark.parametrize(("more", "version"), [("", "1.0"), ("prereleases: true", "2.0rc1")])
def test_pre_releases(tmp_path: Path, sources: Sources, store: Store, more: str, version: str) -> None:
    for one in ("1.0", "2.0rc1"):
        sources.publish("pypi", "early", one)
    assert (
        versions(lock(write_recipe(tmp_path, "early", more=more), sources.settings(), store))["early"]
        == version
    )
