"""Files that a deployment would delete or overwrite although no deployment put them there: only with ``replace``."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from envbuilder.archive.manifest import MANIFEST_PATH, manifest_beside
from envbuilder.archive.names import ARCHIVE
from envbuilder.deployment.config import (
    CONFIG,
    ENVIRONMENT,
    MODEL_DIRECTORY,
    ModelConfig,
    read_config,
    same_but_for_serving,
)
from envbuilder.deployment.mark import DEPLOYED, read_mark
from envbuilder.deployment.record import SUFFIX, Record, placed_environments, read_record
from envbuilder.deployment.runtime_files import foreign_name, is_runtime_file
from envbuilder.deployment.tree import Copy, Entry, Text, has_same_bytes
from envbuilder.errors import DeployError
from envbuilder.util.documents import is_inside
from envbuilder.util.files import file_sha256
from envbuilder.util.printable import shown
from envbuilder.util.text import counted

_HINT: Final = (
    "deploy under another --name, or use --replace, which deletes files that the model directory lacks and overwrites "
    "the others"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Present:
    """The state of the model's folder in the repository before the deployment."""

    folder: Path
    config: ModelConfig | None
    """None: it is missing, or cannot be read."""
    deployed: bool
    """Whether a deployment wrote it."""
    copied: Mapping[str, str] = field(default_factory=dict)
    """The files that `apply` copied there, with their sha256."""

    def made(self, path: str) -> bool:
        """Whether the file *path* of the folder is unchanged since `apply` copied it."""
        said = self.copied.get(path)
        return said is not None and (self.folder / path).is_file() and file_sha256(self.folder / path) == said

    @property
    def named(self) -> str | None:
        """The environment in the folder itself that the configuration names."""
        return named_inside(self.config)


def named_inside(config: ModelConfig | None) -> str | None:
    """Return the name in the model's folder of the environment that *config* names, if it lies there."""
    value = config.environment if config is not None else None
    if value is None or not value.startswith(f"{MODEL_DIRECTORY}/"):
        return None
    name = value[len(MODEL_DIRECTORY) :].strip("/").split("/")[0]
    return name if _is_name(name) else None


def look_at(folder: Path, environments: Sequence[Path], backends: Path) -> Present:
    """Examine the model's folder *folder* in a repository.

    Args:
        folder: it need not be there.
        environments: folders in which deployments put environments for many models.
        backends: the folder of backends.
    """
    try:
        config = read_config(folder)
    except DeployError:
        config = None
    mark = read_mark(folder)
    deployed = bool(placed_environments(folder)) or mark == DEPLOYED
    if config is not None and not deployed:
        # An archive of `build`, or of another repository: its name may have been written by hand.
        repository = os.path.realpath(folder.parent)
        deployed = any(
            repository in record.repositories for record in _records(config, environments, backends)
        )
    return Present(
        folder=folder,
        config=config,
        deployed=deployed,
        copied=(mark.files if mark is not None else None) or {},
    )


def check_is_folder(target: Path) -> None:
    """Refuse to replace something that is not a folder.

    Raises:
        DeployError: *target* exists and is not a folder.
    """
    if os.path.lexists(target) and not target.is_dir():
        what = "is a link to nothing" if target.is_symlink() and not target.exists() else "is not a folder"
        raise DeployError(
            f"{target} {what}: a model's folder belongs there",
            hint="move it away, then run the command again",
        )


def _records(config: ModelConfig, environments: Sequence[Path], backends: Path) -> Iterator[Record]:
    """Yield the records of the environments outside of the model's folder that *config* may name."""
    named, backend = config.environment, config.message.backend
    if named is None:
        yield from placed_environments(backends / backend).values() if _is_name(backend) else ()
        return
    for place in _places(named, (), environments):
        record = read_record(place) if _is_name(place.name) else None
        if record is not None:
            yield record


def is_ours(named: str, models: Iterable[Path], environments: Iterable[Path]) -> bool:
    """Whether the EXECUTION_ENV_PATH *named* is an environment that a deployment placed, or that ``build`` made.

    Args:
        named: the value.
        models: folders that it may be relative to.
        environments: folders in which deployments put environments; a container may see them under another path.
    """
    return any(
        _is_name(place.name) and (read_record(place) is not None or _is_built(place))
        for place in _places(named, models, environments)
    )


def _places(named: str, models: Iterable[Path], environments: Iterable[Path]) -> list[Path]:
    if "\0" in named or not named.strip("/"):
        return []
    if named.startswith(f"{MODEL_DIRECTORY}/"):
        places = [model / named[len(MODEL_DIRECTORY) :].strip("/") for model in models]
    else:
        places = [Path(named.rstrip("/"))] if named.startswith("/") else []
    return places + [folder / named.rstrip("/").rsplit("/", 1)[-1] for folder in environments]


def _is_built(place: Path) -> bool:
    """Whether it is an archive where ``build`` put it, or a folder into which one was unpacked."""
    if ARCHIVE.fullmatch(place.name) is None:
        return False
    try:
        manifest = place / MANIFEST_PATH if place.is_dir() else manifest_beside(place)
        return place.exists() and manifest.is_file()
    except OSError:  # an invalid file name, or a folder without permission
        return False


def check_environment(
    config: ModelConfig,
    new: str | None,
    *,
    models: Sequence[Path],
    environments: Sequence[Path],
    replace: bool,
) -> str | None:
    """Refuse to replace an EXECUTION_ENV_PATH that no deployment set, unless *replace* is true.

    Returns: the value that is replaced although no deployment set it.

    Raises:
        DeployError: there is one, and *replace* is false.
    """
    named = config.environment
    if not named or named == new or is_ours(named, models, environments):
        return None
    if not replace:
        raise foreign_environment(str(config.path), named)
    return named


def foreign_environment(where: str, named: str) -> DeployError:
    """Return the error for an EXECUTION_ENV_PATH that no deployment set; *where* names the configuration."""
    return DeployError(
        f"{where} has an {ENVIRONMENT} that was not written by a deployment: {shown(named)}",
        hint="replace it with --replace",
    )


def check_files(folder: str, gone: Sequence[str], changed: Sequence[str] = (), *, hint: str = _HINT) -> None:
    """Refuse to delete *gone* and to overwrite *changed*, files of the model's folder that no deployment put there.

    Raises:
        DeployError: there are some.
    """
    for files, what in (
        (gone, "files that the model directory does not"),
        (changed, "files with other content"),
    ):
        if files:
            more = f" and {counted(len(files) - 1, 'other file')}" if len(files) > 1 else ""
            raise DeployError(
                f"{folder} was not deployed by envbuilder, and contains {what}: {shown(files[0])}{more}",
                hint=hint,
            )


def overwritten(present: Present, plan: Mapping[str, Entry], config: ModelConfig) -> Iterator[str]:
    """List the files in the model's folder that would change, and that no deployment put there.

    Edits that a deployment makes in the user's configuration do not count.

    Args:
        present: the folder.
        plan: what it will hold.
        config: the configuration that it will have.
    """
    for path, entry in plan.items():
        place = present.folder / path
        if not isinstance(entry, Copy | Text) or path.endswith(SUFFIX) or not os.path.lexists(place):
            continue
        if path == CONFIG and present.config is not None and place.is_file():
            same = same_but_for_serving(present.config, config)
        elif is_runtime_file(path):
            same = foreign_name(present.folder / path.split("/")[0]) is None
        else:
            same = place.is_file() and has_same_bytes(place, entry)
        if not same and not present.made(path):
            yield path


def _is_name(name: str) -> bool:
    return is_inside(name) and "/" not in name
