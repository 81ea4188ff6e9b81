"""torch.compile: compile a model while it is loaded, for every size that requests will have."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import torch

from .answers import name_outputs
from .fields import Field
from .loaded import LoadedModel
from .log import Log
from .package_key import KEY_FILE, environment_digest
from .sealed import UNCOMPILED, Seal


class Compiler:
    """Compiles one model, and counts the graphs that Dynamo compiles after warm-up."""

    def __init__(self, model: LoadedModel) -> None:
        """Let torch.compile wrap *model*; the work itself is done by the first calls."""
        self._model, parameters, device = model, model.parameters, model.device
        self._options = {k: v for k, v in parameters.compile_options.items() if k != "disable"}
        self._limit = parameters.recompile_limit
        self._prefix = StablePrefix()
        self._static = parameters.compile_options.get("dynamic") is False
        # On a CPU, freezing lays out constant weights for its matrix multiplications once. That is a copy of
        # them, the opposite of sharing; and each new shape costs a millisecond, too much where dims vary, too.
        self._freeze = device.type == "cpu" and not model.varied and not parameters.weight_sharing
        self._freeze &= self._options.get("options", {}).get("freezing", True)
        graphs = self._options.get("mode") in ("reduce-overhead", "max-autotune")
        graphs = graphs or bool(self._options.get("options", {}).get("triton.cudagraphs"))
        self._reuses_buffers = graphs and device.type == "cuda"
        self._seal: Seal | None = None
        self._compiled = self._compile(model.eager)

    def _compile(self, target: Callable[..., Any]) -> Callable[..., Any]:
        import torch._dynamo.utils
        import torch._inductor.config

        self._counters = torch._dynamo.utils.counters
        self._first = self._graphs = int(self._counters["stats"]["unique_graphs"])
        if self._limit is not None:
            config = torch._dynamo.config  # torch 2.7 renamed the limit
            name = "recompile_limit" if hasattr(config, "recompile_limit") else "cache_size_limit"
            setattr(config, name, self._limit)
        if self._options.get("backend", "inductor") == "inductor":
            self._prefix.use()
            torch._inductor.config.freezing = self._freeze  # Dynamo reads it instead of the call's options
        return torch.compile(bare_forward(target), **self._options)

    def seal(self) -> None:
        """Stop compiling: compiled code serves its shapes, the uncompiled model the rest."""
        self._seal = Seal()

    def close(self) -> None:
        """Let Dynamo compile again: this process may load another model."""
        if self._seal is not None:
            self._seal.open()

    def forward(self, tensors: list[Any]) -> list[Any]:
        """Return the outputs for *tensors*, each in the order of the configuration."""
        if self._seal is not None:
            result = self._seal.call(lambda: self._model.result(self._compiled, tensors), tensors)
            if result is UNCOMPILED:
                return self._model.forward(tensors)
            return self._outputs(result)
        try:
            result = self._model.result(self._compiled, tensors)
        except Exception:
            if not self._prefix.was_taken():
                raise
            # Another server removed the headers that a compiler was reading.
            result = self._model.result(self._compiled, tensors)
        return self._outputs(result)

    def _outputs(self, result: Any) -> list[Any]:
        outputs = name_outputs(result, self._model.outputs)
        if self._reuses_buffers:
            outputs = [value.clone() if isinstance(value, torch.Tensor) else value for value in outputs]
        return outputs

    def mark(self, tensors: list[Any]) -> None:
        """Mark the dims of examples that vary, unless each size is to have a separate graph."""
        if not self._static:
            mark_dynamic(tensors, self._model.inputs, self._model.batched)

    def denied(self) -> bool:
        """Return, once, whether the last call ran uncompiled because it would have had to compile."""
        return self._seal is not None and self._seal.take_denied()

    @property
    def graphs(self) -> int:
        """The number of graphs compiled since the last call of :meth:`new_graphs`."""
        return int(self._counters["stats"]["unique_graphs"]) - self._graphs

    @property
    def all_graphs(self) -> int:
        """The number of graphs compiled for the model so far."""
        return int(self._counters["stats"]["unique_graphs"]) - self._first

    def new_graphs(self) -> int:
        """Return the number of graphs compiled since the last call."""
        before, self._graphs = self._graphs, int(self._counters["stats"]["unique_graphs"])
        return self._graphs - before


@contextlib.contextmanager
def limits_said(log: Log) -> Iterator[list[str]]:
    """Log to the server when Dynamo reaches its limit of graphs: its own warning does not get there.

    Yields:
        A list to which each function that reached the limit is appended.
    """
    full: list[str] = []

    class Said(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            text = record.getMessage()
            if "recompile_limit" in text or "cache_size_limit" in text:
                lines = text.strip().split("\n")
                function = next((line.strip() for line in lines if "function:" in line), "a function")
                full.append(function)
                log.warn(
                    f"no more graphs for {function}: further shapes run uncompiled; RECOMPILE_LIMIT raises that"
                )

    handler = Said(logging.WARNING)
    logger = logging.getLogger("torch._dynamo")
    logger.addHandler(handler)
    try:
        yield full
    finally:
        logger.removeHandler(handler)


def bare_forward(target: Callable[..., Any]) -> Callable[..., Any]:
    """Return a module's forward if calling the module does nothing else, which saves several frames a call."""
    if not isinstance(target, torch.nn.Module) or type(target).__call__ is not torch.nn.Module.__call__:
        return target
    hooks = target._forward_hooks or target._forward_pre_hooks
    forward: Callable[..., Any] = target.forward
    return target if hooks else forward


def mark_dynamic(values: list[Any], fields: list[Field], batched: bool) -> None:
    """Mark the batch dimension and the ``-1`` dims of example *values*, so that one graph serves every size."""
    import torch._dynamo

    mark = getattr(torch._dynamo, "maybe_mark_dynamic", None) or torch._dynamo.mark_dynamic
    for value, field in zip(values, fields):
        sizes = ((-1,) if batched else ()) + field.dims
        for axis, size in enumerate(sizes):
            if value is not None and size == -1 and value.shape[axis] > 1:
                mark(value, axis)


def restore_caches(path: str) -> None:
    """Unpack the caches in the file at *path* to where Inductor looks for them; existing files are kept.

    Raises:
        OSError: the folder cannot be written, or is full.
        BadZipFile: a member cannot be read.
    """
    import torch._inductor.config
    from torch._inductor.codecache import cache_dir  # type: ignore[attr-defined]  # where all versions have it

    if hasattr(torch._inductor.config, "cpp_cache_precompile_headers"):  # their path is part of the cache key
        torch._inductor.config.cpp_cache_precompile_headers = False
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            parts = member.filename.split("/")
            place = os.path.join(cache_dir(), *parts)
            if member.filename == KEY_FILE or ".." in parts or os.path.exists(place):
                continue
            os.makedirs(os.path.dirname(place), exist_ok=True)
            draft = f"{place}.{os.getpid()}"
            try:
                content = archive.read(member)
            except (
                zlib.error,
                EOFError,
                RuntimeError,
            ) as error:  # damaged, encrypted, or packed in another way
                raise zipfile.BadZipFile(f"{member.filename} cannot be read: {error}") from error
            try:
                with open(draft, "wb") as file:
                    file.write(content)
                os.replace(draft, place)  # another server may be doing the same
            finally:
                if os.path.exists(draft):
                    os.remove(draft)


class StablePrefix:
    """A stable path for the environment: a link in the folder for temporary files.

    Triton extracts an archive into a new folder each time, and Inductor's cache keys contain the paths of headers:
    under another path everything would compile again. Under the stable name a restart with these caches took the
    sample models 2.2 (perceptron) and 3.5 (encoder) times less CPU time, and caches that were made ahead of time in
    another folder become usable.
    """

    def __init__(self) -> None:
        self._link = os.path.join(tempfile.gettempdir(), f"torch-environment-{environment_digest()[:16]}")
        self._used = False

    def use(self) -> None:
        """Give the compiler the stable path, if there is one."""
        import sysconfig

        import torch._inductor.cpp_builder
        import torch.utils.cpp_extension

        if not environment_digest() or not self._point():
            return
        self._used = True
        variables = sysconfig.get_config_vars()
        for name in ("installed_base", "LIBDIR"):
            variables[name] = self._stable(variables.get(name))
        for module in (torch.utils.cpp_extension, torch._inductor.cpp_builder):
            for name in ("_TORCH_PATH", "TORCH_LIB_PATH", "_LINKER_SCRIPT"):
                if hasattr(module, name):
                    setattr(module, name, self._stable(getattr(module, name)))
        try:  # the link may lead to another server's folder by then, which is removed when that server stops
            from torch._dynamo.callback import callback_handler

            callback_handler.register_start_callback(self._point_again)
        except (ImportError, AttributeError):  # torch before 2.4
            pass

    def _point_again(self, *_: Any) -> None:
        self._point()

    def _stable(self, path: Any) -> Any:
        """Return the stable form of *path*, if it is in the environment."""
        inside = isinstance(path, str) and (path + os.sep).startswith(sys.prefix + os.sep)
        return self._link + path[len(sys.prefix) :] if inside else path

    def was_taken(self) -> bool:
        """Return whether another server with this environment redirected the link to its own folder."""
        return self._used and not self._is_ours()

    def _is_ours(self) -> bool:
        return os.path.islink(self._link) and os.readlink(self._link) == sys.prefix

    def _point(self) -> bool:
        """Point the link to this environment; return whether the link can be trusted."""
        try:
            if not self._is_ours():
                draft = f"{self._link}.{os.getpid()}"
                os.symlink(sys.prefix, draft)
                os.replace(draft, self._link)
            return os.lstat(self._link).st_uid in (0, os.getuid())  # not another user's
        except OSError:
            return False
