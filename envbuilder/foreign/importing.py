"""Convert an environment that another tool made to the common form of imported files.

Packages that the user requested become requirements, with their versions. Their dependencies become constraints if
pip installed them, and are left to the solver if conda did. Files of no package cannot be carried over.
"""

from __future__ import annotations

import base64
import posixpath
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from email.parser import BytesHeaderParser
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit
from urllib.request import url2pathname

from packaging.utils import canonicalize_name

from envbuilder.errors import RecipeError
from envbuilder.foreign.measured import MeasuredManifest, fitting_ranges, measure
from envbuilder.foreign.packages import CondaRecord, Packages, PipPackage, find_packages
from envbuilder.foreign.survey import Survey, is_environment, is_foreign, survey
from envbuilder.progress import SILENT, Reporter
from envbuilder.recipe.importing.convert import Choices
from envbuilder.recipe.importing.environment_yml import Environment
from envbuilder.recipe.importing.remark import Remark, SourceLine
from envbuilder.recipe.importing.wanted import Imported, Wanted, holds, parse
from envbuilder.util.files import open_regular
from envbuilder.util.text import counted

_MAGIC: Final = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"PK\x03\x04", b"\x28\xb5\x2f\xfd")
_TOOLS: Final = frozenset({"pip", "setuptools", "wheel", "conda-pack"})
"""Installation tools, which count only if another package requires them."""
_OF_TORCH: Final = re.compile(r"nvidia-.+|triton|cuda-bindings|cuda-pathfinder|cuda-toolkit")
"""Packages that a build of torch pins itself: other builds pin others."""
_OF_RELEASE: Final = re.compile(r"_libgcc_mutex|_openmp_mutex|lib(?:gcc|stdcxx|gomp)(?:-ng|-devel.*)?")
"""Packages that determine whether a stub starts: the release determines them."""
_OF_PACKERS: Final = re.compile(
    r"bin/(?:activate.*|Activate\.ps1|deactivate.*|conda-unpack|conda_unpack_progress\.py|python[\d.]*|pip[\d.]*)"
    r"|conda-meta/.*|pyvenv\.cfg|CACHEDIR\.TAG|\.gitignore|\.lock|lib64|\.condarc|\.nonadmin"
    r"|.*/site-packages/_virtualenv\.(?:pth|py)"
)
_REFERENCE: Final = re.compile(r"git\+(?:https|ssh):|https?:[^#?]+\.whl(?:[#?]|$)")
"""Addresses that a recipe can name; other version control, and source archives, it cannot."""
_SHOWN: Final = 20
"""How many files of no package are listed; more are grouped by folder."""


def is_environment_file(path: Path) -> bool:
    """Return whether *path* is an archive, or the folder of an environment."""
    if path.is_dir():
        return is_environment(path)
    try:
        with open_regular(path) as file:
            head = file.read(512)
    except OSError:
        return False
    return head.startswith(_MAGIC) or head[257:262] == b"ustar"


def read_environment_import(
    path: Path, choices: Choices | None = None, *, reporter: Reporter = SILENT
) -> tuple[Imported, Choices]:
    """Read the archive or folder *path*; return its requirements, and *choices* with a release that it fits.

    Raises:
        RecipeError: it is not an environment of another tool.
        IntegrityError: it cannot be read to its end.
    """
    found = survey(path, reporter=reporter)
    if not is_foreign(found.members):
        raise RecipeError(
            f"{path} contains no environment made by another tool",
            hint="archives of conda-pack, tar files of a venv, conda prefixes and venvs can be imported; the recipe of "
            "an archive of `envbuilder build` is named in its manifest",
        )
    manifest = measure(found, where=str(path))
    packages = find_packages(found.texts)
    reading = _Reading(path=path, packages=packages, requires=_requires(found.texts, packages))
    reading.take_pip()
    conda = reading.take_conda() if packages.conda else None
    reading.take_files(found)
    for why in packages.unread:
        reading.wanted.remarks.append(
            reading.whole.left_out(f"a package whose record cannot be understood: {why}")
        )
    choices = choices or Choices()
    if choices.triton is None:
        reading.wanted.remarks.append(_release(reading.whole, manifest, found))
        choices = replace(choices, triton=manifest.release)
    imported = Imported(
        path=path,
        kind=_kind(found, packages),
        name=found.name,
        wanted=reading.wanted,
        python=SourceLine(text=_minor(manifest), place=f"{path}: Python {manifest.python}"),
        cuda=_cuda(path, manifest),
        conda=conda,
    )
    return imported, choices


def _kind(found: Survey, packages: Packages) -> str:
    what = "conda environment" if packages.conda else "venv" if "pyvenv.cfg" in found.texts else "environment"
    if found.compression == "folder":
        return f"the folder of a {what}" if what != "environment" else "the folder of an environment"
    if "bin/conda-unpack" in found.members:
        return "an archive of conda-pack"
    return "an archive of an environment" if what == "environment" else f"an archive of a {what}"


def _release(whole: SourceLine, manifest: MeasuredManifest, found: Survey) -> Remark:
    fits = fitting_ranges(manifest, found.libstdcxx)
    has = (
        f"fits {', '.join(fits)}"
        if fits
        else f"fits no release as it is; its Python {_minor(manifest)} is taken"
    )
    return whole.changed(f'{has}: triton: "{manifest.release}"; --triton names a different release')


def _cuda(path: Path, manifest: MeasuredManifest) -> SourceLine | None:
    if not manifest.torch or "+" in manifest.torch:
        return None
    text = "cpu" if manifest.cuda == "cpu" else f"{manifest.cuda[2:-1]}.{manifest.cuda[-1]}"
    return SourceLine(text=text, place=f"{path}: torch/version.py")


def _minor(manifest: MeasuredManifest) -> str:
    return ".".join(manifest.python.split(".")[:2])


@dataclass(kw_only=True, slots=True)
class _Reading:
    """The conversion of each package and file."""

    path: Path
    packages: Packages
    requires: Mapping[str, frozenset[str]]
    """The installed requirements of each Python project."""
    wanted: Wanted = field(default_factory=Wanted)

    @property
    def whole(self) -> SourceLine:
        return SourceLine(text="", place=str(self.path))

    # -- pip's -------------------------------------------------------------------------------------

    def take_pip(self) -> None:
        """Add requirements for packages that the user requested from pip, and constraints for their dependencies."""
        pip = {canonicalize_name(one.package.name): one for one in self.packages.pip}
        required = {other for name in pip for other in self.requires[name] if other != name}
        for name, one in sorted(pip.items()):
            line = SourceLine(
                text=f"{one.package.name}=={one.package.version}", place=f"{self.path}: {one.metadata}"
            )
            asked = name not in required or name == "torch"
            if name in _TOOLS and asked:
                self._remark(line.left_out("an installation tool that no other package requires"))
            elif name != "torch" and _OF_TORCH.fullmatch(name):
                self._remark(line.left_out("determined by the build of torch"))
            elif one.editable:
                self._remark(line.left_out(_editable(one)))
            elif one.url is not None and _REFERENCE.match(one.url):
                reference = replace(line, text=f"{one.package.name} @ {one.url}")
                self.wanted.require(reference, reference.text)
            else:
                if one.url is not None and asked and name != "torch":
                    file = posixpath.basename(url2pathname(urlsplit(one.url).path))
                    self._remark(
                        line.changed(f"taken from an index in the same version: it was installed from {file}")
                    )
                (self.wanted.require if asked else self.wanted.constrain)(line, line.text)

    # -- conda's -----------------------------------------------------------------------------------

    def take_conda(self) -> Environment:
        records = self.packages.conda
        required = self._conda_required()
        specs, remarks = [], []
        for one in records:
            package = one.package
            line = SourceLine(
                text=f"{package.name} {package.version}",
                place=f"{self.path}: conda-meta/{package.filename.rpartition('-')[0]}",
            )
            if package.name == "python":
                continue  # its version is the recipe's `python:`
            if _OF_RELEASE.fullmatch(package.name):
                remarks.append(line.left_out("determined by the release and by the packages that need it"))
            elif one.requested or package.name not in required:
                specs.append(line)
            else:
                by = ", ".join(sorted(required[package.name])[:3])
                remarks.append(line.left_out(f"{by} depends on it; the solver chooses its version"))
        return Environment(
            path=self.path,
            name=self.path.name,
            channels=tuple(self._channels(records)),
            specs=tuple(specs),
            pip=(),
            remarks=tuple(remarks),
        )

    def _conda_required(self) -> dict[str, set[str]]:
        required: dict[str, set[str]] = {}
        for one in self.packages.conda:
            for name in one.depends:
                if name != one.package.name:
                    required.setdefault(name, set()).add(one.package.name)
        return required

    def _channels(self, records: Iterable[CondaRecord]) -> Iterator[SourceLine]:
        count = Counter(one.channel for one in records if one.channel)
        for channel, packages in count.most_common():
            text = url2pathname(urlsplit(channel).path) if channel.startswith("file:") else channel
            text = re.sub(r"^https://conda\.anaconda\.org/([^/]+)$", r"\1", text)
            yield SourceLine(text=text, place=f"{self.path}: conda-meta ({counted(packages, 'package')})")

    # -- files -------------------------------------------------------------------------------------

    def take_files(self, found: Survey) -> None:
        """Add remarks on files of no package, and on files that differ from their package."""
        owned: set[str] = set()
        for record in self.packages.conda:
            owned |= record.files
            self._compare(record.package.name, record.hashes, found, hexadecimal=True)
        for one in self.packages.pip:
            owned |= one.files
            self._compare(one.package.name, one.hashes, found, hexadecimal=False)
        stray = [path for path in sorted(found.members) if not _is_owned(path, owned)]
        if len(stray) <= _SHOWN:
            rows = [(path, "") for path in stray]
        else:
            folders = Counter("/".join(path.split("/")[:-1][:4]) or path for path in stray)
            rows = [(folder, f" ({counted(files, 'file')})") for folder, files in sorted(folders.items())]
        for path, how_many in rows:
            self._remark(
                SourceLine(text=f"{path}{how_many}", place=str(self.path)).left_out("belongs to no package")
            )

    def _compare(self, name: str, hashes: Mapping[str, str], found: Survey, *, hexadecimal: bool) -> None:
        for path, line in sorted(hashes.items()):
            member = found.members.get(path)
            if member is None or member.link is not None or path.endswith(".pyc"):
                continue
            digest = member.sha256 if hexadecimal else _base64(member.sha256)
            # Packers rewrite the first line of scripts.
            if digest != line and not path.startswith("bin/"):
                why = f"changed after {name} was installed: a build takes the package's own file"
                self._remark(SourceLine(text=path, place=str(self.path)).left_out(why))

    def _remark(self, remark: Remark) -> None:
        self.wanted.remarks.append(remark)


def _is_owned(path: str, owned: set[str]) -> bool:
    if path in owned or _OF_PACKERS.fullmatch(path):
        return True
    folder, name = posixpath.split(path)
    if posixpath.basename(folder) != "__pycache__":
        return False
    return posixpath.join(posixpath.dirname(folder), f"{name.partition('.')[0]}.py") in owned


def _base64(digest: str) -> str:
    return base64.urlsafe_b64encode(bytes.fromhex(digest)).rstrip(b"=").decode()


def _editable(one: PipPackage) -> str:
    place = url2pathname(urlsplit(one.url or "").path) or "a folder of its machine"
    return f"installed in editable mode from {place}: `{one.package.name} @ ./folder` in the dependencies has it built"


def _requires(texts: Mapping[str, bytes], packages: Packages) -> dict[str, frozenset[str]]:
    """Return the requirements of each of pip's packages, without extras."""
    found: dict[str, frozenset[str]] = {}
    for one in packages.pip:
        fields = texts[one.metadata].replace(b"\r\n", b"\n").partition(b"\n\n")[0]
        message = BytesHeaderParser().parsebytes(fields)
        names: set[str] = set()
        for text in message.get_all("Requires-Dist", []):
            requirement = parse(str(text))
            if isinstance(requirement, str):
                continue
            if "extra" not in str(requirement.marker or "") and holds(requirement.marker, "3.12"):
                names.add(canonicalize_name(requirement.name))
        found[canonicalize_name(one.package.name)] = frozenset(names)
    return found
