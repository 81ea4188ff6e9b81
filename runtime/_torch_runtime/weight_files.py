"""Determine which files of a version folder hold weights: one rule for the runtime and for deployment.

It needs the standard library only. ``envbuilder/deployment/weight_files.py`` is a link to this file: so what the
runtime would refuse is refused before it is deployed.
"""

from __future__ import annotations

import json
import os
import re
import zipfile
from collections.abc import Iterable
from typing import Any, NamedTuple

SAFETENSORS = ".safetensors"
SUFFIXES = (SAFETENSORS, ".pt", ".pth", ".ckpt")
"""Suffixes of files that hold weights regardless of their content, so that a broken one is reported, not ignored."""
PROGRAM = ".pt2"
INDEX = (".safetensors.index.json", ".bin.index.json")
_LIBRARIES = (".h5", ".hdf5", ".keras", ".msgpack", ".npz", ".npy", ".gguf", ".onnx", ".tflite", ".pb", ".t7")
_PICKLES = (".pkl", ".pickle", ".bin", ".tar", ".joblib", ".dill", ".nemo", ".mar")
_GENERAL = (".weights", ".ot", ".pdparams", ".params", ".caffemodel", ".distcp", ".engine", ".plan")
UNREADABLE = (*_LIBRARIES, *_PICKLES, *_GENERAL)
"""Suffixes of weights in other frameworks' formats, which count only if a model has no other weights."""
CONFIG = "config.json"
MODULES = "modules.json"
"""The file of sentence-transformers that lists the modules of a sentence embedding."""
ADAPTER = "adapter_config.json"
MOST_INDEX = 64 * 2**20
"""Largest index that is read, in bytes."""
MOST_DIRECTORY = 32 * 2**20
"""Largest zip directory that is read, in bytes: torch writes one member for each tensor, this is 700,000."""
TRAINING = re.compile(
    r"(training_args|optimizer.*|scheduler.*|scaler|rng_state.*|random_states.*)\.(bin|pt|pth|pkl)"
)
"""Files that trainers write beside the weights to resume training."""
_SHARD = re.compile(
    r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})(?P<suffix>\.safetensors|\.bin|\.pt|\.pth)"
)
_NEWER = re.compile(r"model(-\*-of-\d{5})?\.safetensors(\.index\.json)?")
_OLDER = re.compile(r"pytorch_model(-\*-of-\d{5})?\.bin(\.index\.json)?")
_PICTURES = (".png", ".jpg", ".jpeg", ".gif", ".svg", ".pdf")
_NO_POINTER = (*_PICTURES, ".mp4", ".wav", ".csv", ".parquet", ".ipynb", ".spm")
"""Suffixes of files in Git LFS that are not weights."""
_NOTHING = "it is a link to nothing: copy the file itself into the version folder"
_TEXT = re.compile(rb"[\t\n\r\x20-\x7e]{12,}")
"""Matches the beginning of a text; what hubs answer, and what points to a file, is longer than this."""
_OTHER = "it is text"
LFS = b"version https://git-lfs"
_TOKENIZER = re.compile(r"(spiece|tokenizer|sentencepiece.*|spm|bpe)\.model")
_NEVER = (".py", ".pyc", ".json", ".txt", ".md", ".yaml", ".yml", ".so", ".pbtxt", ".jinja", ".zip")
LEGACY = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19"
"""The first bytes of a file of torch.save before 1.6."""
_OURS = ("compiled.",)


class WeightSet(NamedTuple):
    """Weights of one model: a file, or the shards of one."""

    name: str
    """The file, or the index of the shards, relative to the version folder."""
    files: tuple[str, ...]
    """The files that hold them, relative to the version folder."""
    problem: str | None = None
    """Why they cannot be read, if they cannot."""
    key: str | None = None
    """Which of several state_dicts in the file is meant: the part of MODEL_WEIGHTS after ``#``."""

    @property
    def is_program(self) -> bool:
        """Whether it contains the whole model: an exported program or a package."""
        return self.name.endswith(PROGRAM)


def find_weights(folder: str, leave_out: Iterable[str] = ()) -> list[WeightSet]:
    """Return the weights directly in *folder*, by name; *leave_out* are names of files to ignore."""
    left_out = set(leave_out)
    names = sorted(
        entry.name
        for entry in os.scandir(folder)
        if not entry.name.startswith((".", *_OURS))
        and entry.name not in left_out
        and (not os.path.isdir(entry.path) or is_named(entry.name))
    )
    found = [read_index(folder, name) for name in names if name.endswith(INDEX)]
    taken = {file for one in found for file in one.files}
    examined = {name: examine(os.path.join(folder, name)) for name in names if name not in taken}
    rest = {name: problem for name, (holds, problem) in examined.items() if holds}
    shards = [match for match in map(_SHARD.fullmatch, rest) if match]
    groups = sorted({(match["stem"], match["count"], match["suffix"]) for match in shards})
    for stem, count, suffix in groups:
        if any(one.name == f"{stem}{suffix}.index.json" and not one.files for one in found):
            continue  # they belong to an index that is broken
        parts: tuple[str, ...] = tuple(
            f"{stem}-{number:05}-of-{count}{suffix}" for number in range(1, int(count) + 1)
        )
        problems = [f"{part}: {rest[part]}" for part in parts if rest.get(part)]
        problems += [f"{part} is not there" for part in parts if part not in names]
        index = next(
            (one for one in found if not taken.isdisjoint(parts) and not set(one.files).isdisjoint(parts)),
            None,
        )
        if index:  # these are its shards, but it does not name all of them
            rest_of = next(part for part in parts if part not in index.files)
            found.remove(index)
            found.append(
                index._replace(
                    problem=index.problem or f"it does not name {rest_of}, which is one of its shards"
                )
            )
            continue
        found.append(WeightSet(f"{stem}-*-of-{count}{suffix}", parts, problems[0] if problems else None))
    grouped = {match.string for match in shards}
    found += [WeightSet(name, (name,), problem) for name, problem in rest.items() if name not in grouped]
    return sorted(found, key=lambda one: one.name)


def preferred(folder: str, sets: Iterable[WeightSet]) -> tuple[WeightSet, ...]:
    """Return *sets* as ``from_pretrained`` chooses: no pytorch_model.bin beside model.safetensors, if it is its folder.

    Downloads have both. Where a library did not write *folder*, it remains unclear which is meant.
    """
    found = tuple(sets)
    newer = any(_NEWER.fullmatch(one.name) for one in found) and is_pretrained(folder)
    return tuple(one for one in found if not (newer and _OLDER.fullmatch(one.name)))


def is_pretrained(folder: str) -> bool:
    """Return whether ``save_pretrained`` of a Hugging Face library, or timm's ``save_for_hf``, wrote *folder*."""
    config = read_json(os.path.join(folder, CONFIG))
    known = isinstance(config, dict) and ("model_type" in config or "architectures" in config)
    return known or describes_timm(config) or os.path.isfile(os.path.join(folder, MODULES))


def is_timm(folder: str) -> bool:
    """Return whether timm's ``save_for_hf`` wrote *folder*."""
    return describes_timm(read_json(os.path.join(folder, CONFIG)))


def describes_timm(config: Any) -> bool:
    """Return whether timm wrote *config*: ``architecture`` and ``pretrained_cfg``, whose keys 0.9 had at the top."""
    if not isinstance(config, dict) or "model_type" in config or "architectures" in config:
        return False
    return isinstance(config.get("architecture"), str) and (
        "pretrained_cfg" in config or "input_size" in config
    )


def read_json(path: str) -> Any:
    """Return the content of the JSON file at *path*; None if there is none."""
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file) if os.fstat(file.fileno()).st_size <= MOST_INDEX else None
    except (OSError, ValueError, RecursionError, MemoryError):
        return None


def without_model(folder: str) -> str:
    """Return what to do about weights in *folder* without anything that defines their model."""
    if os.path.isfile(os.path.join(folder, ADAPTER)):
        return "they are an adapter of PEFT: merge it into its model (merge_and_unload), and save_pretrained the whole"
    if os.path.isfile(os.path.join(folder, CONFIG)):
        is_json = read_json(os.path.join(folder, CONFIG)) is not None
        said = "names no model_type, and no architectures" if is_json else "is not JSON"
        return f"add the model.py that defines it; {CONFIG} is not one of transformers': it {said}"
    return "add the model.py that defines it"


def read_index(folder: str, name: str) -> WeightSet:
    """Return the shards that the index *name* in *folder* names; they must be next to it."""
    path = os.path.join(folder, name)
    try:
        if os.path.getsize(path) > MOST_INDEX:
            return WeightSet(name, (), f"it is larger than {MOST_INDEX // 2**20} MiB")
        with open(path, encoding="utf-8") as file:
            index: Any = json.load(file)
        shards = sorted(set(index["weight_map"].values()), key=str)
        if not shards:
            return WeightSet(name, (), "its weight_map is empty")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, MemoryError) as error:
        return WeightSet(name, (), f"it is not an index of weights: {type(error).__name__}: {error}")
    for shard in shards:
        if (
            not isinstance(shard, str)
            or os.path.basename(shard) != shard
            or shard in ("", ".", "..")
            or "\0" in shard
        ):
            return WeightSet(name, (), f"it names {shard!r}, which is not a file beside it")
    absent = [shard for shard in shards if not os.path.isfile(os.path.join(folder, shard))]
    more = f", nor are {len(absent) - 1} others" if len(absent) > 1 else ""
    problem = f"it names {absent[0]}, which does not exist{more}" if absent else None
    return WeightSet(name, tuple(shards), problem)


def holds_weights(path: str) -> bool:
    """Return whether the file at *path* holds weights, or should, by its suffix or content."""
    return examine(path)[0]


def is_named(name: str) -> bool:
    """Return whether *name* is that of a weights file, whatever the file holds."""
    name = name.lower()
    return name.endswith((*SUFFIXES, PROGRAM)) or bool(re.fullmatch(r"pytorch_model.*\.bin", name))


def examine(path: str) -> tuple[bool, str | None]:
    """Return whether the file at *path* holds weights, or should, and why they cannot be read, if they cannot.

    A truncated file, an LFS pointer and a dangling link count: without them a model would have random weights.
    """
    name = os.path.basename(path).lower()
    if TRAINING.fullmatch(name) or name.endswith(_NEVER):
        return False, None
    named = is_named(name)
    likely = named or name.endswith(".bin")
    if os.path.isdir(path):
        return likely, "it is a folder, not a file: put the file itself into the version folder"
    if not os.path.isfile(path):
        return likely, _NOTHING if os.path.islink(path) else "it is not a regular file"
    try:
        with open(path, "rb") as file:
            head = file.read(64)
    except OSError as error:
        return likely, f"{error.strerror or error}; it must be readable for the server"
    problem = not_weights(head)
    if head.startswith(LFS):
        other = name.endswith((*_NO_POINTER, *UNREADABLE)) and not likely
        return not other and not _TOKENIZER.fullmatch(name), problem
    if likely and problem and (named or not problem.startswith(_OTHER)):  # words.bin may be a list of words
        return True, problem
    if head.startswith(b"PK\x03\x04") and not named:
        return _torch_zip(path, foreign=name.endswith((".npz", ".keras")))
    length = int.from_bytes(head[:8], "little")
    by_content = LEGACY in head[:16] or (1 < length <= 100_000_000 and head[8:10] == b'{"')
    return named or by_content, None


def not_weights(head: bytes) -> str | None:
    """Return why a file that begins with *head* cannot hold weights, whatever its name; None: it may."""
    if not head:
        return "it is empty: copy or download it again"
    if head.startswith(LFS):
        return "it is a Git LFS pointer, not the file itself: `git lfs pull` fetches that"
    if head.lstrip()[:14].lower().startswith((b"<!doctype html", b"<html", b"<?xml")):
        return "it is a web page, not weights: a download that failed; download it again"
    if _TEXT.fullmatch(head):  # what hubs answer in place of a file, or pointers to one
        said = head[:32].decode().strip()
        return f"{_OTHER} that begins with {said!r}, not weights: a download that failed; download it again"
    return None


def _torch_zip(path: str, foreign: bool) -> tuple[bool, str | None]:
    """Return whether torch.save wrote a zip archive: its pickle is in a folder, and so are its storages.

    One that cannot be looked into because of its size counts, and is refused when it is loaded; so does a damaged one,
    unless it has a *foreign* name: that of another format which is a zip archive.
    """
    try:
        names = [member.filename for member in zip_members(path)]
    except OversizedZip:
        return True, None
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return (
            not foreign,
            "it is truncated or damaged: a zip archive without its end; copy or download it again",
        )
    return any(name.count("/") == 1 and name.endswith("/data.pkl") for name in names), None


class OversizedZip(ValueError):
    """The directory of a zip archive is larger than any that torch writes."""


def zip_members(path: str) -> list[zipfile.ZipInfo]:
    """Return the members of the zip archive at *path*, whose directory is read into memory.

    Raises:
        OversizedZip: that would be more than :data:`MOST_DIRECTORY`.
    """
    with open(path, "rb") as file:
        # The library's own look at the end says how much it would read.
        end: Any = zipfile._EndRecData(file)  # type: ignore[attr-defined]  # noqa: SLF001
        if end and end[5] > MOST_DIRECTORY:
            raise OversizedZip(f"its directory has {end[5]:,} bytes, of {MOST_DIRECTORY:,} at most")
        with zipfile.ZipFile(file) as archive:
            return archive.infolist()


def choose_named(folder: str, wanted: str) -> WeightSet:
    """Return the weights that MODEL_WEIGHTS names: a file of the version folder, or an index of shards."""
    file, mark, key = wanted.rpartition("#")
    if mark and key and not os.path.lexists(os.path.join(folder, wanted)):
        return choose_named(folder, file)._replace(name=wanted, key=key)
    clean = os.path.normpath(wanted)
    if not wanted.strip() or os.path.isabs(clean) or clean.split(os.sep)[0] == ".." or "\0" in wanted:
        return WeightSet(wanted, (), "it is not a file in the version folder")
    if clean.endswith(INDEX) and os.path.isfile(os.path.join(folder, clean)):
        inside, name = os.path.split(clean)
        found = read_index(os.path.join(folder, inside), name)
        files = tuple(os.path.join(inside, file) for file in found.files)
        return WeightSet(clean, files, found.problem)
    for one in find_weights(folder):
        if one.name == clean:
            return one
    there = os.path.isfile(os.path.join(folder, clean))
    return WeightSet(clean, (clean,), None if there else "no such file")


def unclear(sets: Iterable[WeightSet]) -> str:
    """Return the text that *sets* are ambiguous, and what to do."""
    return f"{', '.join(one.name for one in sets)}; keep one, or name it with MODEL_WEIGHTS"
