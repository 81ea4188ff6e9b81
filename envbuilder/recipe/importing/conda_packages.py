"""Convert the conda packages and channels of an imported file to those of a recipe."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from packaging.requirements import Requirement

from envbuilder.recipe.channels import channel_name, is_anacondas
from envbuilder.recipe.conda import TORCH_PACKAGES
from envbuilder.recipe.importing.conda_torch import BUILD_PACKAGES, PARTS
from envbuilder.recipe.importing.environment_yml import Environment
from envbuilder.recipe.importing.match_spec import Spec, read_spec
from envbuilder.recipe.importing.remark import Remark, SourceLine
from envbuilder.recipe.importing.torch_choice import FAMILY, TorchChoice
from envbuilder.util.paths import expand_user
from envbuilder.util.urls import public

_COMPILERS: Final = ("gxx", "gxx_linux-64", "cxx-compiler", "compilers")
"""Conda packages that are or depend on a C++ compiler."""
_ENDED: Final = frozenset({"pytorch", "pytorch-nightly", "pytorch-test"})
"""PyTorch's own channels, which get no new builds."""


@dataclass(kw_only=True, slots=True)
class CondaPart:
    """``channels:``, ``conda:`` and ``compiler:`` of a recipe that is being written."""

    folder: Path
    """The recipe's folder, to which paths are relative."""
    channels: list[str] = field(default_factory=list)
    conda: list[str] = field(default_factory=list)
    wheels: list[tuple[SourceLine, str]] = field(default_factory=list)
    """Requirements converted from conda packages."""
    bundled: bool = False
    remarks: list[Remark] = field(default_factory=list)
    said_channels: list[tuple[SourceLine, str]] = field(default_factory=list)

    def read_specs(self, lines: Iterable[SourceLine]) -> list[Spec]:
        """Return the match specs in *lines*, without invalid ones and those that name no package.

        Raises:
            ResolveError: py-rattler, which reads them, is not installed.
        """
        found = []
        for line in lines:
            spec = read_spec(line)
            if isinstance(spec, Remark):
                self.remarks.append(spec)
            elif spec.name.startswith("__"):
                self.remarks.append(line.left_out("a virtual package: what the server's image has decides"))
            elif spec.name == "pip":
                why = "wheels are installed without pip; add it with `conda: [pip]`"
                self.remarks.append(line.left_out(why))
            else:
                found.append(spec)
        return found

    def read_channels(self, environment: Environment) -> None:
        """Take over the channels that a recipe can name."""
        names: set[str] = set()
        for line in environment.channels:
            if line.text == "nodefaults":
                self.remarks.append(line.carried())  # a recipe has no default channels
                continue
            channel = self._channel(line, environment.path.parent)
            if channel is None:
                continue
            if _name(channel) in names:
                self.remarks.append(line.left_out(f"there is a channel {_name(channel)} already"))
                continue
            names.add(_name(channel))
            self.channels.append(channel)
            self.said_channels.append((line, channel))

    def finish(self, whole: SourceLine) -> None:
        """Add remarks on the channels, once it is known whether any package comes from one."""
        if not self.conda and not self.bundled:
            self.channels.clear()
            self.remarks += [
                said.left_out("no package comes from a channel") for said, _ in self.said_channels
            ]
            return
        if not self.channels:
            self.channels.append("conda-forge")
            self.remarks.append(
                whole.changed("names no channel that can be used as it is: channels: [conda-forge]")
            )
        self.remarks += [said.carried() for said, _ in self.said_channels]

    def torch_from_channel(self, specs: Sequence[Spec], *, family: bool) -> bool:
        """Return whether torch comes from a maintained channel: PyTorch's own gets no new builds.

        A *family* of wheels from pip needs torch as a wheel, too: they share its C++ ABI.
        """
        if family:
            return False
        asked = [spec for spec in specs if spec.name in TORCH_PACKAGES]
        if any(spec.channel is not None for spec in asked):
            return not any(spec.channel in _ENDED for spec in asked)
        return bool(asked) and not _ENDED & {_name(channel) for channel in self.channels}

    def settle(self, spec: Spec, lines: Sequence[tuple[SourceLine, Requirement]]) -> bool:
        """Return whether conda's *spec* stays although pip's *lines* require the same package, with remarks."""
        if stays(spec, lines):
            why = f"clash: pip leaves conda's {spec.text} in place, which satisfies it"
            self.remarks += [said.left_out(why) for said, _ in lines]
            return True
        _, best = max(lines, key=lambda line: ("==" in str(line[1].specifier), line[1].url is not None))
        why = f"clash: pip replaces it by {best}, which is what that environment ended with"
        self.remarks.append(spec.line.left_out(why))
        return False

    def place(self, spec: Spec, choice: TorchChoice, *, from_channel: bool, minor: str) -> None:
        """Add *spec* to ``conda:`` or to the wheels."""
        if spec.name == "python":
            return
        if spec.name in TORCH_PACKAGES:
            self._torch(spec, choice, from_channel=from_channel)
        elif spec.name in FAMILY and not from_channel:
            version = spec.pep440()
            text = f"{spec.name}{version or ''}"
            why = "" if version is not None else ", in the version that torch requires"
            self.remarks.append(spec.line.changed(f"dependencies: {text}: a wheel{why}"))
            self.wheels.append((spec.line, text))
        elif spec.name in PARTS and not from_channel and (spec.name, choice.cuda) != ("triton", "cpu"):
            self.remarks.append(spec.line.left_out("torch's wheel contains it, or brings it along"))
        elif spec.name not in BUILD_PACKAGES:
            self._package(spec, minor)

    def _torch(self, spec: Spec, choice: TorchChoice, *, from_channel: bool) -> None:
        if choice.from_pip:
            return  # pip's replaces it, and has a remark already
        if from_channel:
            self.conda.append(self._with_channel(spec, spec.name))
            plain = not spec.version and not spec.build
            self.remarks.append(spec.line.carried() if plain else spec.line.changed(choice.summary))
        else:
            self.remarks.append(spec.line.changed(f"{choice.summary} (PyTorch's own wheel)"))

    def _package(self, spec: Spec, minor: str) -> None:
        if spec.name in _COMPILERS:
            self.bundled = True
            if not spec.version or spec.name != "gxx":
                self.remarks.append(spec.line.changed("compiler: bundled"))
                return
        text = spec.text
        built = re.search(r"py(3)\.?(\d+)", spec.build)
        if built is not None and minor and f"{built[1]}.{built[2]}" != minor:
            text = f"{spec.name} {spec.version}".strip()
            self.remarks.append(
                spec.line.changed(f"{text}, without its build, which is not for Python {minor}")
            )
        elif not self._says_channel(spec):
            self.remarks.append(spec.line.carried())
        self.conda.append(self._with_channel(spec, text))

    def _says_channel(self, spec: Spec) -> bool:
        return spec.channel is not None and is_anacondas(spec.channel)

    def _with_channel(self, spec: Spec, text: str) -> str:
        if spec.channel is None:
            return text
        if is_anacondas(spec.channel):
            self.remarks.append(spec.line.changed(f"{text}, from the channels of the recipe"))
            return text
        if spec.channel not in map(_name, self.channels):
            self.channels.append(spec.channel)
        return f"{spec.channel}::{text}"

    def _channel(self, line: SourceLine, folder: Path) -> str | None:
        channel = line.text
        if channel.startswith((".", "~")):
            place = os.path.relpath(folder / expand_user(channel), self.folder)
            return place if place.startswith(".") else f"./{place}"
        try:
            urlsplit(channel)
        except ValueError as error:
            self.remarks.append(line.left_out(f"not a channel: {error}"))
            return None
        if is_anacondas(channel):
            why = "its terms of service bind companies: name it with `anaconda-terms: accepted` if you may use it"
            self.remarks.append(line.left_out(why))
            return None
        if public(channel) != channel:
            why = "without its password or token, which belongs in .netrc or the conda configuration"
            self.remarks.append(line.changed(why))
        return public(channel)


def stays(spec: Spec, lines: Sequence[tuple[SourceLine, Requirement]]) -> bool:
    """Return whether pip leaves conda's *spec* in place for *lines* that require the same package.

    pip keeps an installed version that satisfies its requirements, and replaces any other.
    """
    exact = re.fullmatch(r"==([^*,]+)", spec.pep440() or "")
    return all(
        one.url is None
        and not one.extras
        and (not one.specifier or (exact is not None and one.specifier.contains(exact[1], prereleases=True)))
        for _, one in lines
    )


def _name(channel: str) -> str:
    """Return the name of *channel*, which may be a folder, in a lock."""
    return Path(channel).name if channel.startswith((".", "/", "~")) else channel_name(channel)
