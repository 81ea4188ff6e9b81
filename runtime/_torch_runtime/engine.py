"""Answer requests with a loaded model, in the form that warm-up chose."""

from __future__ import annotations

import gc
import os
from collections.abc import Sequence
from typing import Any

import torch
import triton_python_backend_utils as pb_utils

from .answers import as_array, check_output, to_send, to_triton
from .batching import concatenate, group_key, read_column, read_request, split
from .direct import Direct, check_rows, is_plain
from .dynamo import Compiler
from .errors import in_words
from .loaded import Form, LoadedModel
from .log import Log
from .metrics import Metrics
from .package import Package
from .packages import Packages
from .parameters import Parameters
from .threads import set_up_torch

MOST_SAID = 8
"""How many uncompiled shapes are logged."""


class Engine:
    """A model in service. Tools that compile or check a model use it by these attributes and methods, too."""

    def __init__(
        self, args: dict[str, str], config: dict[str, Any], parameters: Parameters, runtime_file: str
    ) -> None:
        """Load the model; see :class:`LoadedModel`."""
        log = Log(args["model_name"])
        for name, near in parameters.unknown():
            log.warn(f"unknown parameter {name}, did you mean {near}?")
        set_up_torch(parameters, log)
        self.metrics = Metrics(args["model_name"], args["model_version"])
        self.model = LoadedModel(args, config, parameters, runtime_file)
        self.packages = Packages(self.model)
        self.form: Form = self.model
        self.compiler: Compiler | None = None
        self.compile_seconds = 0.0
        """Seconds of warm-up for making a package and first calls of compiled code."""
        self._checked = False
        self._direct = Direct(self.model) if is_plain(self.model) else None
        self._cleans = parameters.cache_cleaning and not self.model.on_cpu
        self._uncompiled: set[str] = set()

    @property
    def package(self) -> Package | None:
        """The package that serves the model, if any."""
        return self.form if isinstance(self.form, Package) else None

    @property
    def served(self) -> str:
        """What serves requests: ``package``, ``dynamo`` or ``eager``."""
        return "package" if self.package else "dynamo" if self.compiler else "eager"

    def serve(self, form: Form) -> None:
        """Serve requests with this *form* of the model from now on."""
        self.form = form
        self.compiler = form if isinstance(form, Compiler) else None
        if isinstance(form, Package):
            self.model.log.info(f"served from {os.path.basename(form.path)}")

    def outputs(self, form: Form, values: list[Any]) -> list[Any]:
        """Return the outputs of *form* for *values* of the inputs, in the configuration's order, ready to be sent."""
        return self.to_send(form.forward(self.model.tensors(values)))

    def arrays(self, form: Form, values: list[Any]) -> dict[str, Any]:
        """Return the outputs of *form* for *values* as arrays by name, to be compared (:mod:`equality`)."""
        outputs = self.outputs(form, values)
        return {field.name: as_array(value) for field, value in zip(self.model.outputs, outputs)}

    def to_send(self, results: list[Any]) -> list[Any]:
        """Return *results*, in the configuration's order, ready to be sent.

        Raises:
            ModelError: an output differs from the configuration, which is checked once.
        """
        model = self.model
        dtype = model.parameters.dtype
        outputs = [to_send(v, field, model.batched, dtype) for v, field in zip(results, model.outputs)]
        if not self._checked:
            for value, field in zip(outputs, model.outputs):
                check_output(value, field, model.batched)
            self._checked = True
        return outputs

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer *requests* with as few calls of the model as their shapes allow."""
        responses = self._answer_directly(self._direct, requests) if self._direct and self._checked else None
        if responses is None:
            # The tensors are created in inference mode, too: compiled code has a guard on that.
            with self.model.mode:
                responses = self._answer_all(requests)
        self.metrics.tell()
        if self._cleans:
            torch.cuda.empty_cache()
        return responses

    def _answer_directly(self, direct: Direct, requests: list[Any]) -> list[Any] | None:
        """Answer all *requests* with one call on the fast path; return None if their inputs cannot be joined."""
        try:
            if isinstance(self.form, Package):
                # A package ignores inference mode, and entering it takes longer than reading the inputs.
                answered = direct.answer(requests, self.form.run)
            else:
                with self.model.mode:
                    answered = direct.answer(requests, self._run)
        except Exception as error:
            if len(requests) == 1:
                return [self._refusal(error)]
            with self.model.mode:
                return [response for request in requests for response in self._answer_all([request])]
        if answered is None:
            return None
        responses, rows = answered
        self.metrics.answered(rows)
        return responses

    def _run(self, tensors: list[Any]) -> list[Any]:
        """Return the outputs of the served form for *tensors*."""
        results = self.form.forward(tensors)
        if self.compiler:
            self._look_after(self.compiler, tensors)
        return results

    def _answer_all(self, requests: list[Any]) -> list[Any]:
        """Answer *requests* of any kind, with one call for each group of equal shapes."""
        responses: list[Any] = [None] * len(requests)
        for indexes, columns in self._groups(requests, responses):
            self._answer(indexes, columns, responses)
        return responses

    def _groups(self, requests: list[Any], responses: list[Any]) -> list[tuple[Sequence[int], list[Any]]]:
        """Read *requests* and group those that one call can answer: their indexes, and the values of each input."""
        inputs, batched = self.model.inputs, self.model.batched
        if batched and not self.model.varied:
            try:
                return [(range(len(requests)), [read_column(requests, field) for field in inputs])]
            except Exception:
                pass  # one of them is invalid; which one is found below
        groups: dict[Any, tuple[list[int], list[list[Any]]]] = {}
        for index, request in enumerate(requests):
            try:
                values = read_request(request, inputs)
            except Exception as error:
                responses[index] = self._refusal(error)
                continue
            indexes, rows = groups.setdefault(group_key(values) if batched else index, ([], []))
            indexes.append(index)
            rows.append(values)
        return [(indexes, list(zip(*rows))) for indexes, rows in groups.values()]

    def _answer(self, indexes: Sequence[int], columns: list[Any], responses: list[Any]) -> None:
        """Answer a group of requests in one call; request by request where that fails."""
        batched, fields = self.model.batched, self.model.outputs
        try:
            first = next((column for column in columns if column[0] is not None), None)
            counts = [value.shape[0] for value in first] if batched and first else [1] * len(indexes)
            values, rows = [concatenate(column) for column in columns], sum(counts)
            outputs = self.outputs(self.form if rows else self.model, values)
            self.metrics.answered(rows)
            if self.compiler:
                self._look_after(self.compiler, values)
            for value, field in zip(outputs, fields):
                if batched:
                    check_rows(value, field.name, rows)
            sent = [to_triton(f.name, split(value, counts)) for f, value in zip(fields, outputs)]
            for index, *tensors in zip(indexes, *sent):  # the stub drops outputs that were not requested
                responses[index] = pb_utils.InferenceResponse(tensors)
        except Exception as error:
            if len(indexes) == 1:
                responses[indexes[0]] = self._refusal(error)
                return
            for place, index in enumerate(indexes):
                self._answer([index], [[column[place]] for column in columns], responses)

    def _look_after(self, compiler: Compiler, values: list[Any]) -> None:
        """Log that a request had to wait for a compilation, or was answered without compiled code."""
        denied = compiler.denied()
        if not denied and not compiler.new_graphs():
            return
        self.metrics.count("uncompiled_calls" if denied else "recompiles")
        shapes = {f.name: list(v.shape) for f, v in zip(self.model.inputs, values) if v is not None}
        if not denied:
            self.model.log.warn(f"compiled again while serving, for inputs {shapes}")
            if compiler.all_graphs >= self.model.parameters.most_graphs:
                compiler.seal()
                self.model.log.warn(
                    f"{compiler.all_graphs} graphs are compiled, as many as RECOMPILE_LIMIT allows: "
                    "other shapes are answered uncompiled"
                )
        elif str(shapes) not in self._uncompiled and len(self._uncompiled) < MOST_SAID:
            self._uncompiled.add(str(shapes))
            cure = 'cover such sizes with WARMUP, or compile while serving with RECOMPILE: "allow"'
            self.model.log.warn(f"answered uncompiled, for inputs {shapes}; {cure}")

    def _refusal(self, error: BaseException) -> Any:
        self.metrics.count("failed_requests")
        text = f"{self.model.name}: {in_words(error, self.model.folder)}"
        return pb_utils.InferenceResponse(error=pb_utils.TritonError(text))

    def close(self) -> None:
        """Release the model and its device memory."""
        self.metrics.tell(at_once=True)
        if self.compiler:
            self.compiler.close()
        self.form, self.compiler = self.model, None
        self.model.close()
        gc.unfreeze()
        gc.collect()
        if not self.model.on_cpu:
            torch.cuda.empty_cache()
