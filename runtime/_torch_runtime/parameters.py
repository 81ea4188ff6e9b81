"""The parameters of a model's configuration, each checked before anything is loaded."""

from __future__ import annotations

import difflib
import json
import re
from typing import Any

from .errors import ModelError
from .fields import read_fields
from .process import cpu_count

COMPILE = "TORCH_COMPILE_OPTIONAL_PARAMETERS"

OPTIONS = {"fullgraph": bool, "dynamic": bool, "backend": str, "mode": str, "options": dict, "disable": bool}
"""Options of torch.compile that can be set, with their types."""

COMPILE_TIMEOUT = 300
"""Default limit for compiling and warming, in seconds."""

MOST_GRAPHS = 64
"""Default limit for the graphs compiled for a model."""

NO_WEIGHTS = "none"
"""Value of MODEL_WEIGHTS for a module that is served as constructed."""

DTYPES = ("float32", "float64", "float16", "bfloat16")


class Parameters:
    """The parameters of a configuration; the constructor reads and checks all of them."""

    def __init__(self, config: dict[str, Any]) -> None:
        if (config.get("model_transaction_policy") or {}).get("decoupled"):
            text = "decoupled mode is not supported: each request has one response"
            raise ModelError(f"model_transaction_policy: {text}")
        given = config.get("parameters") or {}
        self._values = {key: str(value["string_value"]) for key, value in given.items()}
        self._known: list[str] = []
        self.instances = instance_count(config)
        share = max(1, cpu_count() // self.instances)
        self.threads = self._number("NUM_THREADS", "INTRA_OP_THREAD_COUNT")
        self.most_threads = self.threads or share
        self.interop_threads = self._number("NUM_INTEROP_THREADS", "INTER_OP_THREAD_COUNT") or share
        self.compile_options = self._compile_options()
        self.asks_torch_compile = self._text(COMPILE) is not None
        self.inference_mode = self._flag("INFERENCE_MODE", default=True)
        self.disable_cudnn = self._flag("DISABLE_CUDNN")
        self.cache_cleaning = self._flag("ENABLE_CACHE_CLEANING")
        self.weight_sharing = self._flag("ENABLE_WEIGHT_SHARING")
        self.model_class = self._text("MODEL_CLASS")
        self.model_function = self._text("MODEL_FUNCTION")
        self.model_kwargs = self._object("MODEL_KWARGS")
        self.trust_remote_code = self._flag("TRUST_REMOTE_CODE")
        self.longest_text = self._number("TOKENIZER_MAX_LENGTH")
        self.model_weights = self._text("MODEL_WEIGHTS")
        self.dtype = self._choice("DTYPE", DTYPES)
        self.warmup = self._warmup(config)
        self.input_types = {field.data_type for field in read_fields(config, "input")}
        self.warms_up = self.warmup["batch"] != []
        wanted = self._choice("COMPILE_FALLBACK", ("error", "eager"))
        self.fallback = wanted == "eager"
        self.fails_late = wanted == "error"
        self.compile_timeout = self._number("COMPILE_TIMEOUT") or COMPILE_TIMEOUT
        self.recompile_limit = self._number("RECOMPILE_LIMIT")
        self.most_graphs = self.recompile_limit or MOST_GRAPHS
        recompile = self._choice("RECOMPILE", ("deny", "allow"))
        self.denies_recompiles = (recompile or ("deny" if self.warms_up else "allow")) == "deny"
        if self.model_class and self.model_function:
            raise ModelError("MODEL_CLASS and MODEL_FUNCTION exclude each other: set only one")

    @property
    def known(self) -> list[str]:
        """The names of all parameters that are read."""
        return list(self._known)

    def unknown(self) -> list[tuple[str, str]]:
        """Return unknown parameters that look like a known one, each with that one."""
        others = [name for name in self._values if name not in self._known]
        near = [(name, difflib.get_close_matches(name.upper(), self._known, 1, 0.8)) for name in others]
        return [(name, match[0]) for name, match in near if match]

    def _text(self, name: str) -> str | None:
        self._known.append(name)
        return self._values.get(name)

    def _number(self, *names: str) -> int | None:
        """Return the positive whole number under one of *names*, which are synonyms."""
        found = {}
        for name in names:
            text = self._text(name)
            if text is not None:
                if not re.fullmatch(r"\s*0*[1-9][0-9]*\s*", text):
                    raise ModelError(f"{name} must be a whole number above 0, not {text!r}")
                found[name] = int(text)
        if len(set(found.values())) > 1:
            both = " and ".join(f"{name} = {number}" for name, number in found.items())
            raise ModelError(f"{both} contradict each other: they mean the same, keep one")
        return next(iter(found.values()), None)

    def _flag(self, name: str, default: bool = False) -> bool:
        text = self._text(name)
        if text is None:
            return default
        if text.strip().lower() not in ("true", "1", "false", "0"):
            raise ModelError(f"{name} must be true or false, not {text!r}")
        return text.strip().lower() in ("true", "1")

    def _choice(self, name: str, allowed: tuple[str, ...]) -> str | None:
        text = self._text(name)
        if text is not None and text not in allowed:
            raise ModelError(f"{name} must be one of {', '.join(allowed)}, not {text!r}")
        return text

    def _json(self, name: str) -> Any:
        text = self._text(name)
        try:
            return None if text is None else json.loads(text)
        except ValueError as error:
            raise ModelError(f"{name} is not JSON: {error}; it reads {text!r}") from error

    def _object(self, name: str) -> dict[str, Any]:
        value = self._json(name)
        if value is not None and not isinstance(value, dict):
            raise ModelError(f"{name} must be a JSON object, not {json.dumps(value)}")
        return value or {}

    def _compile_options(self) -> dict[str, Any]:
        options = self._object(COMPILE)
        for key, value in options.items():
            if key not in OPTIONS:
                raise ModelError(f"{COMPILE} has no option {key!r}: allowed are {', '.join(OPTIONS)}")
            if not isinstance(value, OPTIONS[key]):
                expected = OPTIONS[key].__name__
                raise ModelError(f"{COMPILE}: {key} must be a {expected}, not {json.dumps(value)}")
        if "mode" in options and "options" in options:
            raise ModelError(f"{COMPILE} has both mode and options: torch.compile takes one of them")
        return options

    def _warmup(self, config: dict[str, Any]) -> dict[str, Any]:
        """Return ``{"batch": [sizes] or None, "dims": {input: dims}, "sets": [dims, …]}``; no sizes for ``false``.

        ``sets`` contains all sizes to warm, ``dims`` is the first of them.
        """
        if self._json("WARMUP") is False:
            return {"batch": [], "dims": {}, "sets": [{}]}
        warmup = {"batch": None, "dims": {}, **self._object("WARMUP")}
        for key in warmup:
            if key not in ("batch", "dims"):
                raise ModelError(f"WARMUP has no key {key!r}: allowed are batch, dims")
        sizes, largest = warmup["batch"], int(config.get("max_batch_size", 0)) or 1
        if sizes is not None and not isinstance(sizes, list):
            raise ModelError(f"WARMUP: batch must be a list of sizes, not {json.dumps(sizes)}")
        for size in sizes or []:
            if type(size) is not int or size < 1:  # true is an int, too
                raise ModelError(f"WARMUP: batch must contain sizes above 0, not {json.dumps(size)}")
            if size > largest:
                raise ModelError(f"WARMUP: batch size {size} is above max_batch_size {largest}")
        given = warmup["dims"]
        sets = given if isinstance(given, list) and given else [given]
        for one in sets:
            if not isinstance(one, dict):
                raise ModelError(f"WARMUP: dims must be sizes by input, not {json.dumps(given)}")
            _check_dims(one, config)
        return {**warmup, "dims": sets[0], "sets": sets}


def _check_dims(given: dict[str, Any], config: dict[str, Any]) -> None:
    """Refuse sizes that do not fit the inputs of *config*."""
    inputs = {field.name: list(field.dims) for field in read_fields(config, "input")}
    for name, dims in given.items():
        if name not in inputs:
            text = f"WARMUP: dims names {name!r}, which is not an input of the configuration: "
            raise ModelError(text + ", ".join(inputs))
        wanted = inputs[name]
        fits = isinstance(dims, list) and len(dims) == len(wanted)
        if not fits or any(type(d) is not int or d < 1 or w not in (-1, d) for d, w in zip(dims, wanted)):
            text = f"WARMUP: dims of {name!r} must fit the configuration's {wanted}, they are "
            raise ModelError(text + json.dumps(dims))


def instance_count(config: dict[str, Any]) -> int:
    """Return the number of instances in the configuration."""
    groups = config.get("instance_group") or [{}]
    return max(1, sum(int(group.get("count", 1)) * max(1, len(group.get("gpus", []))) for group in groups))
