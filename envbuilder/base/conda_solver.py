"""Solve for the conda packages of a base with py-rattler, for the release and not for this machine."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from packaging.requirements import Requirement

from envbuilder.base.conda_process import Exhausted, Found, Refused, Unreachable, ask
from envbuilder.catalog.torch import find_build
from envbuilder.config.channels import Channel, channels_of
from envbuilder.config.condarc import Condarc, read_condarc
from envbuilder.errors import RecipeError, ResolveError
from envbuilder.lockfile.model import CondaPackage, LockedInterpreter
from envbuilder.recipe.channels import PLATFORMS
from envbuilder.recipe.conda import TORCH_PACKAGES, spec_name
from envbuilder.recipe.location import where
from envbuilder.recipe.model import Recipe
from envbuilder.store.session import Session
from envbuilder.util.process import CommandError
from envbuilder.util.rattler import error_text, rattler
from envbuilder.util.urls import public

COMPILER: Final = "gxx"
"""The package that ``compiler: bundled`` adds; it depends on the compiler and the sysroot."""
_KERNEL: Final = "4.18"
"""The assumed ``__linux``, as in pixi: a release does not specify the kernel."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Virtual:
    """A virtual package: what the solver may assume about the system."""

    name: str
    version: str
    build: str = "0"


@dataclass(frozen=True, kw_only=True, slots=True)
class CondaQuestion:
    """The input of the solver."""

    specs: tuple[str, ...]
    constraints: tuple[str, ...]
    """Match specs of optional packages: constraints that hold if the package is installed."""
    virtual: tuple[Virtual, ...]
    exclude_newer: datetime.date | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Solved:
    """The solver's answer."""

    packages: tuple[CondaPackage, ...]
    """In installation order."""
    python: tuple[CondaPackage, ...]
    """The packages that depend on Python: only they may contain Python projects."""


def conda_question(recipe: Recipe) -> CondaQuestion:
    """Return the solver's input for *recipe*: nothing is detected on this machine."""
    release = recipe.release
    cuda = cuda_version(recipe)
    virtual = [
        Virtual(name="__unix", version="0"),
        Virtual(name="__linux", version=_KERNEL),
        Virtual(name="__glibc", version=release.wheel_glibc),
        Virtual(name="__archspec", version="1", build="x86_64"),
    ]
    if cuda is not None:
        virtual.append(Virtual(name="__cuda", version=cuda))
    demands = [Requirement(text) for text in release.demands]
    constraints = [f"{demand.name} {demand.specifier}" for demand in demands if demand.specifier]
    torch = f"=={recipe.torch}" + _torch_build(recipe.cuda)
    constraints += [f"{name} {torch}" for name in TORCH_PACKAGES[:1]]
    # What the compiler links against must be in the image that runs it.
    constraints.append(f"sysroot_linux-64 <={release.wheel_glibc}")
    compiler = (COMPILER,) if recipe.compiler == "bundled" else ()
    return CondaQuestion(
        specs=(*release.conda_requirements(recipe.python), *compiler, *recipe.conda),
        constraints=tuple(constraints),
        virtual=tuple(virtual),
        exclude_newer=recipe.exclude_newer,
    )


def _torch_build(cuda: str) -> str:
    """Return the pattern of build strings of torch for *cuda*, as conda-forge writes them: ``cuda126_…``, ``cpu_…``."""
    if cuda == "pypi":
        return ""
    return " *cpu*" if cuda == "cpu" else f" *cuda{cuda[2:]}*"


def cuda_version(recipe: Recipe) -> str | None:
    """Return the CUDA version of *recipe* (``12.6``), or None if it has none."""
    if recipe.cuda == "pypi":
        build = find_build(recipe.torch)
        return build.pypi if build is not None else None
    return None if recipe.cuda == "cpu" else f"{recipe.cuda[2:-1]}.{recipe.cuda[-1]}"


def solve_conda(recipe: Recipe, session: Session, *, keep: Sequence[CondaPackage] = ()) -> Solved:
    """Solve for the conda packages of *recipe*; prefer those in *keep*.

    Raises:
        RecipeError: a match spec is invalid.
        ResolveError: there is no solution, or a channel cannot be read; the message says why.
    """
    _check_specs(recipe)
    condarc = read_condarc()
    channels = channels_of(recipe, condarc)
    names = ", ".join(channel.name for channel in channels)
    question = conda_question(recipe)
    session.reporter.step(f"Solving {len(question.specs)} specs of recipe {recipe.name} in {names}")
    while True:
        try:
            found = ask(_document(question, channels, condarc, keep), session)
            break
        except Unreachable as error:
            channel = channels[error.number]
            if len(channel.urls) == 1:
                raise ResolveError(
                    f"recipe {recipe.name}: the channel {channel.name} ({public(channel.urls[0])}) "
                    f"does not respond, or returns invalid data:\n  {error.text}",
                    hint=error.limit
                    or "addresses, mirrors and credentials come from the conda configuration"
                    + (f" ({condarc.origin})" if condarc.origin else ""),
                ) from error
            mirror = replace(channel, urls=channel.urls[1:])
            session.reporter.note(f"{public(channel.urls[0])} skipped: {error.text.splitlines()[0]}")
            channels = tuple(mirror if one == channel else one for one in channels)
        except Refused as error:
            raise _explain(error.text, recipe, names) from error
        except Exhausted as error:
            raise _too_much(error, recipe, channels, condarc, session) from error
        except CommandError as error:
            raise ResolveError(f"recipe {recipe.name}: py-rattler failed:\n{error.message}") from error
    packages = tuple(_package(one, channels) for one in found)
    pairs = zip(packages, found, strict=True)
    return Solved(packages=packages, python=tuple(one for one, answer in pairs if _needs_python(answer)))


def _document(
    question: CondaQuestion, channels: Sequence[Channel], condarc: Condarc, keep: Sequence[CondaPackage] = ()
) -> dict[str, Any]:
    """Return *question* to *channels* as :mod:`envbuilder.base.conda_child` reads it."""
    return {
        "channels": [channel.urls[0] for channel in channels],
        "platforms": list(PLATFORMS),
        "specs": [_placed(spec, channels) for spec in question.specs],
        "constraints": list(question.constraints),
        "virtual": [asdict(virtual) for virtual in question.virtual],
        "exclude_newer": question.exclude_newer.isoformat() if question.exclude_newer else None,
        "keep": {f"{one.name} =={one.version} {one.build}": one.sha256 for one in keep},
        "ssl_verify": condarc.ssl_verify,
        "proxies": dict(condarc.proxies),
    }


def _too_much(
    error: Exhausted, recipe: Recipe, channels: Sequence[Channel], condarc: Condarc, session: Session
) -> ResolveError:
    """Return an error that names the channel whose listing is too large, found by reading each one alone."""
    large = list(channels)
    if len(channels) > 1:
        nothing = CondaQuestion(specs=("python",), constraints=(), virtual=())
        large = [one for one in channels if _is_too_much(_document(nothing, [one], condarc), session)]
    named = ", ".join(f"{one.name} ({public(one.urls[0])})" for one in large or channels)
    return ResolveError(
        f"recipe {recipe.name}: py-rattler {error} to read the listing of {named}",
        hint="conda-forge's own takes far less: leave that channel out, or name a mirror of it "
        "(mirrored_channels in the conda configuration)",
    )


def _is_too_much(document: dict[str, Any], session: Session) -> bool:
    try:
        ask(document, session)
    except Exhausted:
        return True
    except (Unreachable, Refused, CommandError):
        return False
    return False


def _check_specs(recipe: Recipe) -> None:
    """Reject match specs that py-rattler cannot parse.

    Raises:
        RecipeError: one of the recipe's match specs is invalid.
    """
    module = rattler()
    for spec in recipe.conda:
        try:
            module.MatchSpec(spec)
        except module.exceptions.InvalidMatchSpecError as error:
            raise RecipeError(
                f"{where(recipe, 'conda', spec)}: invalid match spec {spec!r}: {error_text(error)}",
                hint="for example ffmpeg, ffmpeg >=6, or conda-forge::ffmpeg 6.1.*",
            ) from error


def _needs_python(found: Found) -> bool:
    needs = {spec_name(spec) for spec in found.depends}
    return bool(needs & {"python", "python_abi"}) or found.noarch_python


def conda_interpreter(packages: Iterable[CondaPackage]) -> LockedInterpreter:
    """Return the interpreter among *packages*.

    Raises:
        ResolveError: there is none.
    """
    python = next((package for package in packages if package.name == "python"), None)
    if python is None:
        raise ResolveError("the conda packages do not include python", hint="write the lock again")
    return LockedInterpreter(version=python.version, origin=f"conda:{python.filename}", digest=python.sha256)


def _placed(spec: str, channels: Sequence[Channel]) -> str:
    """Return *spec* with the URL of the channel it names: py-rattler would resolve a name by its own alias."""
    name, colons, rest = spec.rpartition("::")
    url = next((channel.urls[0] for channel in channels if colons and channel.name == name), None)
    return spec if url is None else f"{url}::{rest}"


def _package(found: Found, channels: Sequence[Channel]) -> CondaPackage:
    channel = next((one for one in channels if found.url.startswith(f"{public(one.urls[0])}/")), None)
    if channel is None:
        raise ResolveError(
            f"the solver took {found.name} from {found.url}, which is not a channel of the recipe"
        )
    if found.sha256 is None or found.size is None:
        raise ResolveError(
            f"{found.filename}: the channel {channel.name} has no {'size' if found.sha256 else 'sha256'} for it",
            hint="locks need both: re-index the channel",
        )
    return CondaPackage(
        name=found.name,
        version=found.version,
        build=found.build,
        channel=channel.name,
        subdir=found.subdir,
        filename=found.filename,
        sha256=found.sha256,
        size=found.size,
    )


def _explain(text: str, recipe: Recipe, channels: str) -> ResolveError:
    """Explain in the recipe's terms why there is no solution."""
    demanded = recipe.release.conda_requirements(recipe.python)
    asked = [spec for spec in demanded if spec_name(spec) in _words(text)]
    hints = []
    if asked:
        hints.append(f"{', '.join(asked)} is required by Triton {recipe.release.name}")
    if recipe.compiler == "bundled" and COMPILER in _words(text):
        hints.append(f"{COMPILER} is required by `compiler: bundled`")
    if "__glibc" in _words(text):
        hints.append(
            f"__glibc is assumed to be {recipe.release.wheel_glibc} for Triton {recipe.release.name}"
        )
    if "__cuda" in _words(text):
        version = cuda_version(recipe)
        hints.append(
            f"__cuda is {f'assumed to be {version}' if version else 'absent'} with `cuda: {recipe.cuda}`"
        )
    if set(TORCH_PACKAGES) & _words(text):
        hints.append(f"pytorch must be {recipe.torch} for {recipe.cuda}, as set by `torch` and `cuda`")
    return ResolveError(
        f"recipe {recipe.name}: no set of packages from {channels} satisfies it:\n  {text}",
        hint="; ".join(hints) or None,
    )


def _words(text: str) -> set[str]:
    return set(text.replace(",", " ").split())
