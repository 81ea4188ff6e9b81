"""The base of an environment made of conda packages: installed by py-rattler, described by conda-pack.

Nothing is detected on this machine, and ``conda`` is not used. Hashes are checked when packages enter the store
and again before they are installed: py-rattler does not check those of local channels.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from envbuilder.archive.entry import Entry
from envbuilder.archive.exclude import PackRules
from envbuilder.archive.kept import find_kept
from envbuilder.archive.links import Tree
from envbuilder.archive.segment import Excluded
from envbuilder.base.clobbered import own_path, put_back
from envbuilder.base.conda_package import PackageContent, check_links, name_packages, read_package
from envbuilder.base.prefixes import NOWHERE, PREFIXES_PATH, prefixes_text, rewrite_prefixes
from envbuilder.base.provider import Base, described_by_conda_pack
from envbuilder.errors import AssembleError
from envbuilder.lockfile.model import CondaPackage, LockedInterpreter
from envbuilder.progress import SILENT, Reporter
from envbuilder.store.damage import DamagedArtifactError
from envbuilder.store.local import Store
from envbuilder.util.documents import LISTING, load_json
from envbuilder.util.process import CommandError, run
from envbuilder.util.rattler import error_text, rattler, wait

CONDA_BASE: Final = "conda-base-3"
"""Part of the key of such a base: increment it when the same packages would give different bytes."""

_TRIES: Final = 5
_IN_EACH_OTHERS_WAY: Final = "os error 21"
"""EISDIR: py-rattler links packages side by side, and one makes a folder at the moment that another has a link there.

Whichever is first otherwise, :func:`put_back` makes the same of it.
"""


@dataclass(kw_only=True, slots=True)
class CondaBase:
    """A base made of conda packages. Thread-safe."""

    interpreter: LockedInterpreter
    packages: tuple[CondaPackage, ...]
    link_scripts: tuple[str, ...]
    """Packages whose post-link script may run."""
    fetch: Callable[[], Mapping[CondaPackage, Path]]
    """Fetches the packages into the store."""
    store: Store
    scratch: Path
    """A folder that exists for as long as this is used."""
    reporter: Reporter = SILENT
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _installed: Path | None = None
    _failure: Exception | None = None

    @property
    def version(self) -> str:
        """``3.11.7``."""
        return self.interpreter.version

    @property
    def minor(self) -> str:
        """``3.11``."""
        return ".".join(self.version.split(".")[:2])

    @property
    def key(self) -> str:
        """The key of its segment: the list of its packages' hashes."""
        parts = [*(package.sha256 for package in self.packages), *sorted(self.link_scripts)]
        return hashlib.sha256(f"{CONDA_BASE} {' '.join(parts)}".encode()).hexdigest()

    def executable(self) -> Path:
        """Return its Python; install it if it is not yet."""
        return self._prefix() / "bin" / f"python{self.minor}"

    def lay_out(self, folder: Path, rules: PackRules, wanted: Mapping[str, str] | None = None) -> Base:
        """Install the packages, and describe their contribution to an environment.

        What its modules, or those of wheels (*wanted*), import while they are imported stays.

        Raises:
            FetchError, IntegrityError: a package cannot be downloaded.
            AssembleError: one cannot be installed, or contains forbidden content.
        """
        prefix = self._prefix()
        laid_out = described_by_conda_pack(prefix)
        entries = _packed(laid_out.entries, prefix)
        left_out = {entry.path: pattern for entry in entries if (pattern := rules.excluded_by(entry.path))}
        sources = {entry.path: _reader(entry) for entry in entries if entry.link is None}
        kept = find_kept(
            {path: read for path, read in sources.items() if path not in left_out},
            {path: read for path, read in sources.items() if path in left_out and rules.yields(path)},
            rules=rules,
            minor=self.minor,
            python=self.executable,
            wanted=wanted,
        )
        packed: list[Entry] = []
        sizes: dict[str, list[int]] = {}
        for entry in entries:
            if entry.path in left_out and entry.path not in kept.paths:
                sizes.setdefault(left_out[entry.path], []).append(entry.size)
                continue
            packed.append(entry)
        _check_links_of(packed)
        return Base(
            entries=tuple(packed),
            activation=laid_out.activation,
            excluded=tuple(Excluded(pattern, len(one), sum(one)) for pattern, one in sizes.items()),
            kept=kept.paths,
        )

    def owner(self, path: str) -> CondaPackage | None:
        """Return the package that *path* of the environment comes from."""
        for package, content in self._contents().items():
            if path in content.paths:
                return package
        return None

    # -- installing --------------------------------------------------------------------------------

    def _prefix(self) -> Path:
        with self._lock:
            if self._failure is not None:
                raise self._failure
            if self._installed is None:
                try:
                    self._installed = self._install()
                except Exception as error:  # said to everybody who waits, not found out again
                    self._failure = error
                    raise
            return self._installed

    def _install(self) -> Path:
        paths = self._checked_packages()
        self.reporter.step(f"Installing {len(paths)} conda packages")
        folder = self.scratch / "conda"
        folder.mkdir()
        named = name_packages(paths, folder / "packages")
        contents = {package: read_package(package, path, self.minor) for package, path in named.items()}
        check_links(contents)
        prefix = folder / "prefix"
        module = rattler()
        for tries_left in reversed(range(_TRIES)):
            try:
                wait(link_packages(module, list(named.values()), prefix, folder / "cache"))
                break
            except (
                module.exceptions.InstallerError,
                module.exceptions.LinkError,
                OSError,
                ValueError,
            ) as error:
                if tries_left and _IN_EACH_OTHERS_WAY in str(error):
                    shutil.rmtree(prefix, ignore_errors=True)
                    continue
                raise AssembleError(
                    f"the conda packages cannot be installed:\n  {error_text(error)}"
                ) from error
        put_back(contents, prefix, self.reporter)
        self._run_scripts(contents, prefix)
        uses = rewrite_prefixes(prefix)
        for use in uses:
            if use.outcome == "reported":
                self.reporter.note(
                    f"{use.path} contains conda's prefix, which cannot be made relative: {use.how}"
                )
        _normalize_records(prefix, self.packages)
        listed = prefix / PREFIXES_PATH
        listed.parent.mkdir(parents=True, exist_ok=True)
        listed.write_text(prefixes_text(uses))
        return prefix

    def _checked_packages(self) -> Mapping[CondaPackage, Path]:
        paths = self.fetch()
        for package in paths:
            if not self.store.trust_artifact(package.sha256):
                raise DamagedArtifactError(package)
        return paths

    def _contents(self) -> dict[CondaPackage, PackageContent]:
        paths = self._checked_packages()
        with self.store.scratch("named") as folder:
            return {
                package: read_package(package, path, self.minor)
                for package, path in name_packages(paths, folder).items()
            }

    def _run_scripts(self, contents: Mapping[CondaPackage, PackageContent], prefix: Path) -> None:
        """Run the post-link scripts that the recipe allows by name; note which are not run."""
        for package, content in contents.items():
            for script in content.scripts:
                if package.name in self.link_scripts:
                    _run_script(package, prefix / script, prefix)
                else:
                    self.reporter.note(
                        f"{package.filename} has a post-link script that was not run; "
                        f"`link-scripts: [{package.name}]` in the recipe runs it"
                    )


async def link_packages(module: Any, paths: Sequence[Path], prefix: Path, cache: Path) -> None:
    """Install the packages *paths* into *prefix*."""
    records = [await module.RepoDataRecord.from_package_archive(path) for path in paths]
    await module.install(
        records,
        prefix,
        cache_dir=cache,
        installed_packages=[],
        platform=module.Subdir("linux-64"),
        execute_link_scripts=False,
        show_progress=False,
        alternative_target_prefix=NOWHERE,
    )


def _run_script(package: CondaPackage, script: Path, prefix: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in prefix.rglob("*") if path.is_file()}
    env = {
        "PREFIX": str(prefix),
        "PKG_NAME": package.name,
        "PKG_VERSION": package.version,
        "PKG_BUILDNUM": package.build.rpartition("_")[2],
        "PATH": f"{prefix}/bin:{os.defpath}",
        "LC_ALL": "C.UTF-8",
    }
    try:
        run(["/bin/sh", str(script)], env=env, cwd=prefix, timeout=600)
    except CommandError as error:
        raise AssembleError(f"the post-link script of {package.filename} failed: {error.message}") from error
    # It was told where the base is made: what it wrote of that would be another text each time.
    for path in prefix.rglob("*"):
        if path.is_file() and not path.is_symlink() and before.get(path) != path.stat().st_mtime_ns:
            data = path.read_bytes()
            if os.fsencode(prefix) in data:
                path.write_bytes(data.replace(os.fsencode(prefix), NOWHERE.encode()))


def _normalize_records(prefix: Path, packages: Sequence[CondaPackage]) -> None:
    """Remove from ``conda-meta`` what differs between machines, and where the packages were downloaded from."""
    by_file = {package.filename: package for package in packages}
    for path in sorted((prefix / "conda-meta").glob("*.json")):
        record = dict(load_json(path, cap=LISTING).value)
        package = by_file[record["fn"]]
        record |= {
            "channel": package.channel,
            "url": f"{package.channel}/{package.subdir}/{package.filename}",
            "link": {"source": "", "type": 1},
            "extracted_package_dir": "",
            "package_tarball_full_path": "",
        }
        record["files"] = sorted({_real_path(own_path(file), prefix) for file in record["files"]})
        for row in record.get("paths_data", {}).get("paths", []):
            row["_path"] = _real_path(own_path(row["_path"]), prefix)
            row.pop("original_path", None)
            row.pop("sha256_in_prefix", None)  # of the files before they were made relative
        path.unlink()
        path.write_text(json.dumps(record, indent=2, sort_keys=True) + "\n")
    (prefix / "conda-meta" / "history").write_text("")


# -- describing ------------------------------------------------------------------------------------


def _packed(entries: Sequence[Entry], prefix: Path) -> list[Entry]:
    """Return the entries for an archive, each by its real path."""
    found: dict[str, Entry] = {}
    paths = {entry.path for entry in entries}
    for entry in entries:
        if _is_bytecode(entry.path, paths):
            continue  # compiled again: this one contains the time stamp of its source, and a path
        path = _real_path(entry.path, prefix)
        found.setdefault(path, Entry(path, entry.mode, data=entry.data, source=entry.source, link=entry.link))
    return list(found.values())


def _reader(entry: Entry) -> Callable[[], bytes]:
    return entry.source.read_bytes if entry.source is not None else lambda: entry.data or b""


def _is_bytecode(path: str, paths: set[str]) -> bool:
    folder, _, name = path.rpartition("/")
    if not folder.endswith("__pycache__") or not name.endswith(".pyc"):
        return path.endswith("/CACHEDIR.TAG") or path == "CACHEDIR.TAG"
    return f"{folder.rpartition('/')[0]}/{name.partition('.')[0]}.py" in paths


def _real_path(path: str, prefix: Path) -> str:
    """Return *path* without symlinked folders: 26.06 and later reject members written through one."""
    folder, _, name = path.rstrip("/").rpartition("/")
    real = os.path.relpath(os.path.realpath(prefix / folder), os.path.realpath(prefix))
    return (name if real == "." else f"{real}/{name}") + ("/" if path.endswith("/") else "")


def _check_links_of(entries: Collection[Entry]) -> None:
    tree = Tree()
    for entry in entries:
        if entry.link is not None:
            tree.add_link(entry.path, entry.link)
        elif not entry.path.endswith("/"):
            tree.add_file(entry.path)
    for entry in entries:
        if entry.link is not None and tree.resolve_link(entry.path).escapes:
            raise AssembleError(
                f"the link {entry.path} points to {entry.link}, outside the environment",
                hint="a package's script created it: remove the package from link-scripts",
            )
