"""Compiled code of a model: deployed beside it, kept from an earlier start, or compiled now."""

from __future__ import annotations

import fcntl
import os
import time
import zipfile
from typing import Any

from .dynamo import restore_caches
from .errors import ModelError, NotExportableError, in_words
from .export import Exported, export_variants, write_package
from .loaded import LoadedModel
from .package import Package
from .package_key import (
    REASON,
    compiled_file,
    digest_files,
    fitting_key,
    is_trusted,
    kept_package,
    key_difference,
    read_key,
    write_key,
)
from .weights import describe_weights


class Packages:
    """Finds or compiles the compiled code of one model."""

    def __init__(self, model: LoadedModel) -> None:
        self._model = model
        self.refused: list[str] = []
        """Compiled code that was found but is not used, with the reason."""

    def find(self) -> Package | None:
        """Return the package beside the model, if one fits."""
        path = self.path("pt2")
        key = self._fitting(path)
        if key is None:
            return None
        try:
            return Package(path, key, self._model)
        except Exception as error:  # whatever the loader raises, the model can still be compiled
            self.refuse(path, in_words(error, self._model.folder))
            return None

    def has_caches(self) -> bool:
        """Return whether Inductor's caches are next to the model, because it could not be exported."""
        return os.path.exists(self.path("zip"))

    def restore_caches(self) -> bool:
        """Unpack the caches beside the model to where Inductor finds them; return whether any are compatible."""
        path = self.path("zip")
        if self._fitting(path) is None:
            return False
        try:
            restore_caches(path)
        except (OSError, zipfile.BadZipFile) as error:
            self.refuse(path, str(error))
            return False
        return True

    def make(self) -> Package | None:
        """Return the model compiled to a package, now or by an earlier start; None: torch.compile has to do it.

        It is kept among Inductor's caches, and so is the reason why there cannot be one. Measured in one run on two
        CPUs with torch 2.13, against torch.compile with warm caches: the sample perceptron and encoder are ready 12
        and 7 times sooner (1.1 s for 13.5 s, 1.6 s for 10.7 s), and a call for one row takes 0.6 of the time. The
        convolution net, whose weights torch.compile lays out again, takes 1.4 of the time for one row, 0.9 for
        eight.
        """
        path = kept_package(self.key())
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path + ".lock", "w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)  # another instance may be compiling it
                if is_trusted(path + REASON):
                    with open(path + REASON, encoding="utf-8") as file:
                        raise NotExportableError(file.read())
                found = self._fitting(path) if is_trusted(path) else None
                if found is None:
                    self._compile(path)
                    found = self._fitting(path)
            return Package(path, found, self._model) if found else None
        except Exception as error:  # no compiler, a full disk: torch.compile works, or says why not
            self._model.log.info(f"left to torch.compile: {in_words(error, self._model.folder)}")
            return None

    def refuse(self, path: str, why: str) -> None:
        """Record why the compiled code at *path* is not used."""
        self.refused.append(f"{os.path.basename(path)} is not used: {why}")
        self._model.log.warn(f"{self.refused[-1]}; compiling instead")

    def keep_reason(self, path: str, why: str) -> None:
        """Write down why there is no package at *path*, so that the next start need not find out again."""
        with open(path + REASON, "w", encoding="utf-8") as file:
            file.write(why)

    def weights_digest(self) -> str:
        """Return the digest of the weight files, for code that contains the weights."""
        return digest_files(list(self._model.files.weights))

    def path(self, extension: str) -> str:
        """Return the path of compiled code next to the model: ``pt2``, a package; ``zip``, Inductor's caches."""
        return compiled_file(self._model.folder, self._model.device, extension)

    def key(self) -> dict[str, Any]:
        """Return the key that compiled code must have to fit here."""
        return fitting_key(self._model.folder, self._model.files, self._model.config, self._model.device)

    def _fitting(self, path: str) -> dict[str, Any] | None:
        """Return the key of the compiled code at *path* if it fits; otherwise record which part differs."""
        if not os.path.exists(path):
            return None
        try:
            key = read_key(path)
            fitting = self.key()
            if "weights file" in key:  # it contains its weights, so they must be the same
                fitting["weights file"] = self.weights_digest()
            differs = key_difference(key, fitting)
        except ModelError as error:
            differs = str(error)
        if differs is None:
            return key
        self.refuse(path, differs)
        return None

    def write(self, path: str, options: dict[str, Any]) -> dict[str, Any]:
        """Compile the model to a package at *path*, with *options* of Inductor; return its key.

        Raises:
            NotExportableError: it cannot be.
        """
        return self._write(path, export_variants(self._model), options)

    def _write(self, path: str, exported: Exported, options: dict[str, Any]) -> dict[str, Any]:
        programs, variants = exported
        if write_package(path, programs, options):
            weights: dict[str, Any] = {"weights": {}, "weights file": self.weights_digest()}
        else:
            weights = {"weights": describe_weights(self._model.weights())}
        return {**self.key(), **weights, "variants": variants}

    def load(self, path: str, key: dict[str, Any]) -> Package:
        """Load the package at *path* with this *key*.

        Raises:
            ModelError: it is for other weights.
        """
        return Package(path, key, self._model)

    def _compile(self, path: str) -> None:
        """Compile the model to a package at *path*."""
        began, draft = time.monotonic(), f"{path[: -len('.pt2')]}.draft.pt2"
        try:
            exported = export_variants(self._model)
        except NotExportableError as error:
            self.keep_reason(path, str(error))
            raise
        try:
            self._finish(path, draft, self._write(draft, exported, {}))
        finally:
            for left in (draft, draft + ".draft"):
                if os.path.exists(left):
                    os.remove(left)
        self._model.log.info(f"compiled to {path} in {time.monotonic() - began:.1f} s")

    def _finish(self, path: str, draft: str, key: dict[str, Any]) -> None:
        """Move the package that was written to *draft* into place, with its *key*."""
        for variant in key["variants"] if self._model.batched else ():
            for first, *_ in variant["dims"]:
                if variant["ranges"].get(first, [0])[0] == 2:
                    variant["ranges"][first][0] = 1  # a single row is tested, too, before the package serves
        write_key(draft, key)
        os.replace(draft, path)
