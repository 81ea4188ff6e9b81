"""How to repair an environment that another tool packed: each hint names that tool's own commands."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from envbuilder.catalog.system import remedy
from envbuilder.catalog.triton import first_gcc

ACTIVATE = 'export PATH="$(dirname "$(readlink -f "${BASH_SOURCE[0]}")"):$PATH"'
"""The part of ``bin/activate`` that Triton needs: the environment's own Python comes first on PATH."""
IMPORT = "or create a recipe from it with `envbuilder import`, and a suitable archive with `envbuilder build`"


def pack_again(conda: bool, folder: str = "ENV") -> str:
    """Return how to pack an environment for Triton."""
    if conda:
        return f"pack it with conda-pack: `conda-pack --prefix {folder} --output NAME.tar.gz`"
    return f"pack the contents of its folder: `tar -C {folder} -czf NAME.tar.gz .`"


def write_activate(conda: bool) -> str:
    """Return how to get a ``bin/activate`` that works wherever it is extracted."""
    if conda:
        return f"{pack_again(True)}, which writes it"
    return f"write the line `{ACTIVATE}` into ENV/bin/activate, and {pack_again(False)}"


def unpack_and_pack(name: str, *, conda: bool) -> str:
    """Return how to convert an archive that Triton does not extract."""
    quoted = shlex.quote(name)
    how = f"unzip -q {quoted} -d env" if name.endswith(".zip") else f"tar -xf {quoted} -C env"
    again = f"`mkdir env && {how}`, then `tar -C env -czf NAME.tar.gz .`"
    return f"pack it with `conda-pack --format tar.gz`; or {again}" if conda else again


def other_python(pythons: Sequence[str], conda: bool, others: Sequence[str] = ()) -> str:
    """Return how to get the Python of a stub; *others* are releases that support the present one."""
    wanted = " or ".join(pythons)
    if conda:
        how = (
            f"create the environment with Python {wanted} (`conda create --name NAME python={pythons[-1]} …`) and pack "
            "it again with conda-pack"
        )
    else:
        how = f"create it with Python {wanted}, using conda-pack: a venv contains no libpython"
    return f"{how}{_or_another(others)}; {IMPORT}"


def newer_libstdcxx(wanted: str, package: str | None, *, image: bool) -> str:
    """Return how to get a libstdc++ with ``GLIBCXX_`` up to *wanted* into an environment.

    *package* is the conda package that has the one in ``lib/`` (None: no package of conda has it), *image* whether
    that of the server's system is new enough for everything.
    """
    least = first_gcc(wanted)
    ways = []
    if package is not None:
        ways.append(f"`conda install --channel conda-forge '{package}>={least}'`, and pack it again")
    elif not image:
        ways.append(f"copy the libstdc++.so.6 of GCC {least} or later into its lib/, and pack it again")
    if image and package is not None:
        ways.append(
            f"`conda remove --force {package}`, and pack it again: the server's own version is new enough"
        )
    elif image:
        ways.append(
            "delete lib/libstdc++.so.6* in it, and pack it again: the server's own version is new enough"
        )
    return "; or ".join(ways)


def fit_libstdcxx(
    wanted: str, file: tuple[str | None, bool], glibc: str, *, conda: bool, others: Sequence[str]
) -> str:
    """Return how to provide a file with the libstdc++ that it requires, with ``GLIBCXX_`` up to *wanted*.

    *file* is the package that has it, and whether that is conda's; *glibc* that of the server's system.
    """
    name, of_conda = file
    if conda:
        how = f"`conda install --channel conda-forge 'libstdcxx>={first_gcc(wanted)}'`"
    elif name is not None and not of_conda:
        how = f"install a version of {name} whose wheel is for {_manylinux(glibc)} or older"
    else:
        how = f"copy the libstdc++.so.6 of GCC {first_gcc(wanted)} or later into its lib/"
    return f"{how}, and pack it again{_or_another(others)}"


def numpy(demands: Sequence[str], conda: bool, others: Sequence[str]) -> str:
    """Return how to install what a release requires; *conda*: with conda instead of pip."""
    wanted = " ".join(f"'{one}'" for one in demands)
    how = f"`conda install {wanted}`" if conda else f"`ENV/bin/python3 -m pip install {wanted}`"
    return f"{how}, and pack it again{_or_another(others)}"


def get_library(soname: str, project: str | None, host: bool) -> str:
    """Return how to provide *project* with the library *soname*, on the host or in an image."""
    known = remedy(soname, project)
    ways = []
    if known.wheel is not None:
        ways.append(f"`pip install {known.wheel}` instead of {project} needs no such library")
    if known.debian is not None:
        where = "each machine that serves" if host else "an image of your own"
        ways.append(f"`apt-get install {known.debian}` on {where}")
    else:
        ways.append(f"install the conda package that has {soname} into the environment, and pack it again")
    return "; or ".join(ways)


def fit_glibc(file: tuple[str | None, bool], glibc: str, others: Sequence[str]) -> str:
    """Return how to replace a file that requires a newer *glibc* than the server's system has.

    *file* is the package that has it, and whether that is conda's; without a package it is the interpreter's.
    """
    name, of_conda = file
    if name is None:
        how = (
            f"create the environment on a system with glibc {glibc} or older, or with conda-forge's python, which "
            "runs everywhere"
        )
    elif of_conda:
        how = f"`CONDA_OVERRIDE_GLIBC={glibc} conda install {name}` selects a build that runs there"
    else:
        how = f"install a version of {name} whose wheel is for {_manylinux(glibc)} or older"
    return f"{how}, and pack it again{_or_another(others)}"


def other_folder(*, scripts: bool, conda: bool, unpack: bool) -> str:
    """Return what to do about *scripts*, or compiler settings, that name another folder.

    *unpack* says whether there is a ``bin/conda-unpack``, which was not run.
    """
    when = (
        "nothing to do, unless a model runs such a script"
        if scripts
        else "nothing to do, unless a model compiles extensions"
    )
    if unpack:
        how = (
            "extract it to its final folder, run `bin/python3 bin/conda-unpack` there, and set EXECUTION_ENV_PATH to "
            "that folder"
        )
    elif conda and scripts:
        how = pack_again(True) + ", which rewrites scripts"
    elif scripts:
        how = "let it run `python3 -m MODULE` instead, or create the venv with `uv venv --relocatable`"
    else:
        how = "set EXECUTION_ENV_PATH to the folder where it was created"
    return f"{when}; in that case {how}"


def links_out() -> str:
    """Return what to do about links that point outside an environment."""
    return (
        "copy the files that they point to into the environment (`tar --dereference` does), and pack it again; or "
        "test it on a real server: `envbuilder verify ARCHIVE --server`"
    )


def _or_another(releases: Sequence[str]) -> str:
    return f"; or serve it with {' or '.join(releases)}, which accepts it as it is" if releases else ""


def _manylinux(glibc: str) -> str:
    return f"manylinux_{glibc.replace('.', '_')}"
