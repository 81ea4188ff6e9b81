"""py-rattler as the solver: which conda packages a base is made of, for the release and not for this machine."""

from __future__ import annotations

import datetime
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from packaging.requirements import Requirement

from envbuilder.catalog.torch import find_build
from envbuilder.config.channels import Channel, channels_of
from envbuilder.config.condarc import Condarc, read_condarc
from envbuilder.config.rattler_client import make_client
from envbuilder.errors import RecipeError, ResolveError
from envbuilder.lockfile.model import CondaPackage, LockedInterpreter
from envbuilder.recipe.channels import PLATFORMS
from envbuilder.recipe.conda import TORCH_PACKAGES, spec_name
from envbuilder.recipe.location import where
from envbuilder.recipe.model import Recipe
from envbuilder.store.session import Session
from envbuilder.util.rattler import rattler, said, wait
from envbuilder.util.urls import public

COMPILER: Final = "gxx"
"""The package that ``compiler: bundled`` brings in, with the compiler and the sysroot that it depends on."""
_KERNEL: Final = "4.18"
"""What ``__linux`` is taken to be, as pixi does: a release says nothing of the kernel."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Virtual:
    """A virtual package: what the solver may take for granted of the system."""

    name: str
    version: str
    build: str = "0"


@dataclass(frozen=True, kw_only=True, slots=True)
class CondaQuestion:
    """What the solver is asked."""

    specs: tuple[str, ...]
    constraints: tuple[str, ...]
    """Match specs of what need not be there, but must be so if it is."""
    virtual: tuple[Virtual, ...]
    exclude_newer: datetime.date | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Solved:
    """What the solver answered."""

    packages: tuple[CondaPackage, ...]
    """In an order that installs."""
    python: tuple[CondaPackage, ...]
    """Those of them that depend on Python: only they may contain Python projects."""


def conda_question(recipe: Recipe) -> CondaQuestion:
    """Return what the solver is asked for *recipe*: nothing of it is detected on this machine."""
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
        specs=(*release.conda_demands(recipe.python), *compiler, *recipe.conda),
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
    """Return the CUDA version of *recipe* (``12.6``), or None where it has none."""
    if recipe.cuda == "pypi":
        build = find_build(recipe.torch)
        return build.pypi if build is not None else None
    return None if recipe.cuda == "cpu" else f"{recipe.cuda[2:-1]}.{recipe.cuda[-1]}"


def solve_conda(recipe: Recipe, session: Session, *, keep: Sequence[CondaPackage] = ()) -> Solved:
    """Find the conda packages that *recipe* needs, those in *keep* where they still fit.

    Raises:
        RecipeError: a match spec is none.
        ResolveError: there are none, or a channel does not answer; the message says why.
    """
    _check_specs(recipe)
    condarc = read_condarc()
    channels = channels_of(recipe, condarc)
    names = ", ".join(channel.name for channel in channels)
    question = conda_question(recipe)
    session.reporter.step(f"Solving {len(question.specs)} specs of recipe {recipe.name} in {names}")
    solver = _Solver(question, session, condarc)
    while True:
        try:
            records = wait(solver.solve(channels, keep))
            break
        except _Unreachable as error:
            if len(error.channel.urls) == 1:
                raise ResolveError(
                    f"recipe {recipe.name}: the channel {error.channel.name} ({public(error.channel.urls[0])}) "
                    f"does not answer, or answers nonsense:\n  {error.text}",
                    hint="addresses, mirrors and credentials come from the conda configuration"
                    + (f" ({condarc.origin})" if condarc.origin else ""),
                ) from error
            mirror = replace(error.channel, urls=error.channel.urls[1:])
            session.reporter.note(
                f"{public(error.channel.urls[0])} passed over: {error.text.splitlines()[0]}"
            )
            channels = tuple(mirror if channel == error.channel else channel for channel in channels)
        except _Refused as error:
            raise _explain(error, recipe, names) from error
    packages = tuple(_package(record, channels) for record in records)
    pairs = zip(packages, records, strict=True)
    return Solved(packages=packages, python=tuple(one for one, record in pairs if _needs_python(record)))


def _check_specs(recipe: Recipe) -> None:
    """Refuse what py-rattler cannot read.

    Raises:
        RecipeError: one of the recipe's match specs is none.
    """
    module = rattler()
    for spec in recipe.conda:
        try:
            module.MatchSpec(spec)
        except module.exceptions.InvalidMatchSpecError as error:
            raise RecipeError(
                f"{where(recipe, 'conda', spec)}: {spec!r} is no match spec: {said(error)}",
                hint="for instance: ffmpeg, ffmpeg >=6, conda-forge::ffmpeg 6.1.*",
            ) from error


def _needs_python(record: Any) -> bool:
    needs = {spec_name(spec) for spec in record.depends}
    return bool(needs & {"python", "python_abi"}) or bool(record.noarch.python)


def conda_interpreter(packages: Iterable[CondaPackage]) -> LockedInterpreter:
    """Return the interpreter among *packages*.

    Raises:
        ResolveError: there is none.
    """
    python = next((package for package in packages if package.name == "python"), None)
    if python is None:
        raise ResolveError("there is no package python among the conda packages", hint="write the lock again")
    return LockedInterpreter(version=python.version, origin=f"conda:{python.filename}", digest=python.sha256)


class _Unreachable(Exception):
    """A channel does not answer as one."""

    def __init__(self, channel: Channel, text: str) -> None:
        super().__init__(text)
        self.channel = channel
        self.text = text


class _Refused(Exception):
    """There is no solution."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class _Solver:
    """One question, asked of one set of places after another."""

    def __init__(self, question: CondaQuestion, session: Session, condarc: Condarc) -> None:
        module = rattler()
        store = session.store
        store.find("tools", "rattler")  # notes that it was used, so that it is not the first to be evicted
        cache = store.entry_path("tools", "rattler")
        cache.mkdir(parents=True, exist_ok=True)
        self._module = module
        self._question = question
        self._gateway = module.Gateway(
            cache_dir=cache, client=make_client(condarc, session.settings.timeout), show_progress=False
        )

    async def solve(self, channels: Sequence[Channel], keep: Sequence[CondaPackage]) -> list[Any]:
        """Return the records of the packages, each after those that it depends on."""
        module, question = self._module, self._question
        sources = [module.Channel(channel.urls[0]) for channel in channels]
        errors = module.exceptions
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of the gateway, about what a channel says of other channels
                kept = await self._kept(sources, keep)
                records = await module.solve(
                    sources,
                    # As _check_specs read them: of texts, the solver takes fewer (not name=version=build).
                    [module.MatchSpec(_placed(spec, channels)) for spec in question.specs],
                    gateway=self._gateway,
                    platforms=list(PLATFORMS),
                    locked_packages=kept,
                    virtual_packages=[self._virtual(one) for one in question.virtual],
                    exclude_newer=_end_of(question.exclude_newer),
                    constraints=list(question.constraints),
                    channel_relations="disabled",  # nothing from a channel that the recipe does not name
                    timestamp_policy="allow-missing",
                )
        except (errors.GatewayError, errors.FetchRepoDataError) as error:
            raise await self._unreachable(channels, error) from error
        except errors.SolverError as error:
            raise _Refused(said(error)) from error
        order = {
            record.name.normalized: number
            for number, record in enumerate(module.PackageRecord.sort_topologically(records))
        }
        return sorted(records, key=lambda record: order[record.name.normalized])

    async def _unreachable(self, channels: Sequence[Channel], error: Exception) -> _Unreachable:
        """Say which channel it was: py-rattler names none where the answer is nonsense."""
        errors, text = self._module.exceptions, said(error)
        for channel in channels:
            if f"{public(channel.urls[0])}/" in text:
                return _Unreachable(channel, text)
        for channel in channels:
            source = self._module.Channel(channel.urls[0])
            try:
                await self._gateway.query([source], list(PLATFORMS), ["python"], recursive=False)
            except (errors.GatewayError, errors.FetchRepoDataError) as own:
                return _Unreachable(channel, said(own))
        return _Unreachable(channels[0], text)

    async def _kept(self, sources: Sequence[Any], keep: Sequence[CondaPackage]) -> list[Any]:
        """Return the records of the packages that were locked before, if their channel still has the same bytes."""
        if not keep:
            return []
        hashes = {package.sha256 for package in keep}
        specs = [f"{package.name} =={package.version} {package.build}" for package in keep]
        found = await self._gateway.query(
            sources, list(PLATFORMS), specs, recursive=False, channel_relations="disabled"
        )
        records = [record for records in found for record in records]
        return [record for record in records if record.sha256 is not None and record.sha256.hex() in hashes]

    def _virtual(self, virtual: Virtual) -> Any:
        module = self._module
        return module.GenericVirtualPackage(
            module.PackageName(virtual.name),
            module.Version(virtual.version),
            module.BuildString(virtual.build),
        )


def _placed(spec: str, channels: Sequence[Channel]) -> str:
    """Return *spec* with the address of the channel that it names: to py-rattler a name is one of its own alias."""
    name, colons, rest = spec.rpartition("::")
    url = next((channel.urls[0] for channel in channels if colons and channel.name == name), None)
    return spec if url is None else f"{url}::{rest}"


def _end_of(day: datetime.date | None) -> datetime.datetime | None:
    if day is None:
        return None
    after = day + datetime.timedelta(days=1)
    return datetime.datetime(after.year, after.month, after.day) - datetime.timedelta(milliseconds=1)


def _package(record: Any, channels: Sequence[Channel]) -> CondaPackage:
    url = public(record.url)
    channel = next((one for one in channels if url.startswith(f"{public(one.urls[0])}/")), None)
    name = record.name.normalized
    if channel is None:
        raise ResolveError(f"the solver took {name} from {url}, which is no channel of the recipe")
    if record.sha256 is None or record.size is None:
        raise ResolveError(
            f"{record.file_name}: the channel {channel.name} does not say its {'size' if record.sha256 else 'sha256'}",
            hint="a lock names every package by both: index the channel again",
        )
    return CondaPackage(
        name=name,
        version=str(record.version),
        build=str(record.build),
        channel=channel.name,
        subdir=str(record.subdir),
        filename=record.file_name,
        sha256=record.sha256.hex(),
        size=record.size,
    )


def _explain(refused: _Refused, recipe: Recipe, channels: str) -> ResolveError:
    """Say in the recipe's terms why there is no solution."""
    text = refused.text
    demanded = recipe.release.conda_demands(recipe.python)
    asked = [spec for spec in demanded if spec_name(spec) in _words(text)]
    hints = []
    if asked:
        hints.append(f"{', '.join(asked)} is what Triton {recipe.release.name} itself demands")
    if recipe.compiler == "bundled" and COMPILER in _words(text):
        hints.append(f"{COMPILER} is asked for by `compiler: bundled`")
    if "__glibc" in _words(text):
        hints.append(f"__glibc is taken to be {recipe.release.wheel_glibc}, for Triton {recipe.release.name}")
    if "__cuda" in _words(text):
        version = cuda_version(recipe)
        hints.append(
            f"__cuda is {f'taken to be {version}' if version else 'not there'} with `cuda: {recipe.cuda}`"
        )
    if set(TORCH_PACKAGES) & _words(text):
        hints.append(f"pytorch is to be {recipe.torch} for {recipe.cuda}, as `torch` and `cuda` say")
    return ResolveError(
        f"recipe {recipe.name}: no set of packages of {channels} fulfils it:\n  {text}",
        hint="; ".join(hints) or None,
    )


def _words(text: str) -> set[str]:
    return set(text.replace(",", " ").split())
