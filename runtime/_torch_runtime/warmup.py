"""Choose the form in which a model is served, and compile it while loading, so that no request waits for that."""

from __future__ import annotations

import contextlib
import gc
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from .deadline import Deadline, OutOfTimeError
from .dynamo import Compiler, limits_said
from .equality import differences, largest_difference
from .errors import ModelError, describe, in_words
from .fields import FLOATS
from .half import half_as_float32
from .package import Package
from .parameters import COMPILE
from .threads import settle_threads

if TYPE_CHECKING:
    from .engine import Engine
    from .loaded import LoadedModel

NOT_ITS_ANSWERS = "its answers differ from the model's"


def warm_up(engine: Engine) -> None:
    """Choose the form in which the model of *engine* is served, compile and warm it.

    Raises:
        ModelError: the model fails, or cannot be compiled.
    """
    with engine.model.mode:
        WarmUp(engine).run()
    # Imported and compiled objects stay: the garbage collector need not scan them between requests. Only compiling
    # leaves enough garbage to be worth a collection.
    if "torch._dynamo" in sys.modules:
        gc.collect()
    gc.freeze()


def warm_other_branches(engine: Engine) -> None:
    """Call the model with more than the zeros of warm-up, so that compiled code for it gets into the caches."""
    with engine.model.mode:
        WarmUp(engine).warm_other_branches()


class WarmUp:
    """Chooses the form in which a model is served: a package, torch.compile, or eager."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self._model = engine, engine.model
        self._parameters, self._packages = engine.model.parameters, engine.packages
        disabled = self._parameters.compile_options.get("disable")
        self._compiles = not disabled and engine.model.can_compile
        self._stage = "loading compiled code"
        self._refused = ""
        self._said_rounding = False
        self._full: list[str] = []

    def run(self) -> None:
        """Choose, compile and warm, within COMPILE_TIMEOUT.

        Raises:
            ModelError: the model fails on inputs as its configuration describes them, or cannot be compiled.
        """
        if not self._compiles:
            self._run()
            return
        try:
            deadline = Deadline(self._parameters.compile_timeout, self._tell, self._makes_too_many)
            with limits_said(self._model.log) as self._full, deadline:
                self._run()
        except OutOfTimeError as error:
            self._out_of_time(error)
        if self._engine.compiler and self._parameters.denies_recompiles:
            self._engine.compiler.seal()

    def _tell(self, seconds: float) -> None:
        """Log the progress of compiling; runs on a separate thread."""
        compiler, most = self._engine.compiler, self._parameters.compile_timeout
        graphs = f", {compiler.graphs} graphs" if compiler else ""
        self._model.log.info(f"{self._stage}: {seconds:.0f} s{graphs}, of at most {most} s (COMPILE_TIMEOUT)")
        self._engine.metrics.compiled(seconds)

    def _makes_too_many(self) -> bool:
        """Return whether the model, or with RECOMPILE_LIMIT one of its functions, exceeds its limit of graphs."""
        compiler, parameters = self._engine.compiler, self._parameters
        too_many = compiler is not None and compiler.all_graphs > parameters.most_graphs
        return too_many or (parameters.recompile_limit is not None and bool(self._full))

    def _out_of_time(self, error: BaseException) -> None:
        """Handle a timeout: fall back to eager, or raise if the configuration asks for compilation."""
        import torch._dynamo

        compiler = self._engine.compiler
        done = f"{compiler.graphs} graphs" if compiler else ""
        if self._makes_too_many():
            limit, more, most = "RECOMPILE_LIMIT", "compile more", self._parameters.most_graphs
            what = f"{self._stage} needs more graphs than {most} ({limit}): {done} were compiled"
        else:
            limit, more, most = "COMPILE_TIMEOUT", "wait longer", self._parameters.compile_timeout
            what = f"{self._stage} was not done after {most} s ({limit}){f'; {done} were' if done else ''}"
        self._engine.serve(self._model)
        torch._dynamo.reset()
        if self._parameters.fails_late:
            raise ModelError(f'{what}; COMPILE_FALLBACK: "eager" serves it uncompiled') from error
        self._model.log.warn(
            f"{what}: served uncompiled. Increase {limit} to {more}; "
            f'{COMPILE}: {{"disable": true}} does not try'
        )

    def _run(self) -> None:
        began, engine = time.monotonic(), self._engine
        given = self._packages.find() if self._compiles else None
        if given and self._serves(given):
            return
        sizes = sizes_to_warm(self._model, self._compiles)
        runs = [absent for absent in self._model.absences if sizes and self._runs_eagerly(sizes[0], absent)]
        if self._may_export() and runs == list(self._model.absences):
            self._stage = "exporting and compiling to a package"
            with self._compiling():
                made = self._packages.make()
            if made and self._serves(made):
                engine.metrics.compiled(time.monotonic() - began)
                return
            if made:
                self._packages.keep_reason(made.path, self._refused or NOT_ITS_ANSWERS)
        if False in runs:
            self._settle_threads(min(sizes))
        self._stage = "torch.compile"
        serves = False in runs or not self._parameters.denies_recompiles
        restored = self._compile() if self._compiles and serves else False
        for dims in reversed(self._parameters.warmup["sets"]):  # examples keep using the first ones
            self._model.dims = dims
            for absent in runs:
                for size in sizes:
                    self._warm(size, absent)
        if restored:
            self.warm_other_branches()
        if engine.compiler:
            graphs, seconds = engine.compiler.new_graphs(), time.monotonic() - began
            engine.metrics.compiled(seconds)
            self._model.log.info(f"compiled {graphs} graphs in {seconds:.1f} s")

    def warm_other_branches(self) -> None:
        """Call a model that cannot be exported because it depends on its data with more than zeros."""
        for value in (1, -1):
            values = self._model.examples(min(2, self._model.max_batch) or 1)
            for example, field in zip(values, self._model.inputs):
                if field.data_type in (*FLOATS, "BOOL"):
                    example[...] = value
            try:
                self._call(values)
            except Exception as error:
                self._model.log.verbose(failure(self._model, f"inputs of {value}", error))

    def _may_export(self) -> bool:
        """Return whether to make a package: torch.compile is not requested, and making one has not failed before."""
        wanted = self._compiles and self._model.on_cpu and not self._parameters.asks_torch_compile
        return wanted and not self._packages.has_caches()

    def _serves(self, package: Package) -> bool:
        """Serve from *package*, unless it fails or its outputs differ from eager."""
        why: str | None = None
        try:
            tried = [self._agrees(package, absent) for absent in self._model.absences]
            why = self._refused if False in tried else None
        except Exception as error:
            tried, why = [], failure(self._model, "an example", error)
        if why is not None:
            self._packages.refuse(package.path, why)
            return False
        self._engine.serve(package)
        if True in tried:
            self._settle_threads(1)
        return True

    def _agrees(self, package: Package, absent: bool) -> bool | None:
        """Return whether *package* and the eager model agree; None if the model fails."""
        found: bool | None = None
        most = self._model.max_batch
        for size in (min(2, most), 1) if self._model.batched else (1,):
            values = self._model.examples(size, absent, varied=True)
            try:
                wanted = self._engine.arrays(self._model, values)
            except Exception:  # guessed sizes or absent inputs: they were tested when the package was made
                return found
            given = self._engine.arrays(package, values)
            differing = differences(given, wanted, self._model.rough)
            if differing and not self._is_rounding(values, given, wanted):
                self._refused = f"{NOT_ITS_ANSWERS}: {'; '.join(differing)}"
                return False
            found = True
        return found

    def _is_rounding(self, values: list[Any], given: dict[str, Any], wanted: dict[str, Any]) -> bool:
        """Return whether a package of a model in half precision is as close to float32 as eager is.

        Compiled code for a CPU computes in float32 between two stores, eager rounds after each operation; float32
        is the reference for both.
        """
        try:
            exact = half_as_float32(self._model, values)
        except Exception as error:  # the model does not run in float32, or there is no memory for it
            self._model.log.verbose(describe(error, self._model.folder))
            return False
        if exact is None or any(given[name].shape != wanted[name].shape for name in wanted):
            return False
        ours, eagers = largest_difference(given, exact), largest_difference(wanted, exact)
        if ours > 1.5 * eagers:
            return False
        if not self._said_rounding:
            self._said_rounding = True
            self._model.log.info(
                f"half precision: compiled, it is off from float32 by up to {ours:.3g}, eager by up to {eagers:.3g}; "
                f"the two differ by up to {largest_difference(given, wanted):.3g}"
            )
        return True

    def _runs_eagerly(self, size: int, absent: bool) -> bool:
        """Run the eager model and check its outputs; False if guessed inputs may be why it fails."""
        dims = self._parameters.warmup["dims"]
        guessed = [f.name for f in self._model.inputs if -1 in f.dims and f.name not in dims]
        try:
            self._engine.outputs(self._model, self._model.examples(size, absent))
        except Exception as error:
            if absent:
                why = failure(self._model, "an input without its optional parts", error)
                self._model.log.warn(f"not warmed for that: {why}")
            elif isinstance(error, ModelError):
                raise
            elif not guessed:
                what = "an input of zeros as the configuration describes it"
                raise ModelError(failure(self._model, what, error)) from error
            else:
                why = failure(self._model, "guessed sizes", error)
                hint = f'say WARMUP: {{"dims": {{...}}}} for {", ".join(guessed)}'
                if not self._compiles:
                    then = ""
                elif self._parameters.denies_recompiles:
                    then = ", and served uncompiled"
                else:
                    then = ", the first requests will compile"
                self._model.log.warn(f"not warmed{then}; {why}; {hint}")
            return False
        return True

    def _settle_threads(self, size: int) -> None:
        if self._model.on_cpu and not self._parameters.threads:
            settle_threads(self._model, self._engine.form, size)

    def _compile(self) -> bool:
        """Serve with torch.compile; return whether its caches existed already."""
        restored = self._packages.restore_caches()
        try:
            self._engine.serve(Compiler(self._model))
        except Exception as error:
            self._fall_back(error)
        return restored

    def _warm(self, size: int, absent: bool) -> None:
        values = self._model.examples(size, absent)
        try:
            with self._compiling():
                self._call(values)
            if self._makes_too_many():
                raise OutOfTimeError
            for _ in range(2):  # CUDA graphs and TorchScript's profiler settle in the third call
                self._call(values)
        except Exception as error:
            if self._engine.compiler is None:
                raise ModelError(failure(self._model, f"a batch of {size}", error)) from error
            self._fall_back(error)

    @contextlib.contextmanager
    def _compiling(self) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            self._engine.compile_seconds += time.monotonic() - began if self._compiles else 0.0

    def _call(self, values: list[Any]) -> None:
        """Call the served form with *values*; dims that vary are marked as dynamic."""
        tensors = self._model.tensors(values)
        if self._engine.compiler:
            self._engine.compiler.mark(tensors)
        self._engine.to_send(self._engine.form.forward(tensors))

    def _fall_back(self, error: BaseException) -> None:
        text = f"torch.compile failed: {describe(error, self._model.folder)}"
        if not self._parameters.fallback:
            raise ModelError(f'{text}; COMPILE_FALLBACK: "eager" serves it uncompiled') from error
        self._model.log.warn(f"{text}; served uncompiled")
        self._engine.serve(self._model)


def sizes_to_warm(model: LoadedModel, compiles: bool) -> list[int]:
    """Return the batch sizes to warm *model* with; the first is the one compiled for all sizes."""
    sizes, most = model.parameters.warmup["batch"], model.max_batch
    if sizes is not None:
        return list(sizes)
    if not model.batched:
        return [1]
    if compiles and model.parameters.compile_options.get("dynamic") is False:
        return list(range(1, most + 1))
    return sorted({1, min(2, most), most}, reverse=True)


def failure(model: LoadedModel, what: str, error: BaseException) -> str:
    """Return the text that *model* fails on *what*, with its *error*."""
    return f"the model fails on {what}: {in_words(error, model.folder)}"
