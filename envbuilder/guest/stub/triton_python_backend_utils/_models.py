"""Requests to the other models of the repository (BLS), passed to the router that the host sets."""

# ruff: noqa: UP006 - Python 3.8
from __future__ import annotations

from typing import Any, Dict, List, Protocol

from ._arguments import check_kind, text
from ._errors import TritonModelException


class Router(Protocol):
    """Sends requests to other models. Each method raises TritonModelException where the server would."""

    def infer(self, request: Any, decoupled: bool) -> List[Any]:
        """Return the responses to an ``InferenceRequest``: one, or (*decoupled*) all, the last perhaps empty."""

    def load(self, name: str, config: str, files: Dict[str, bytes]) -> None:
        """Load a model, with *config* (JSON) and *files* in place of its own, if given."""

    def unload(self, name: str, dependents: bool) -> None:
        """Unload a model."""

    def ready(self, name: str, version: str) -> bool:
        """Return whether a model is ready."""


class _Alone:
    """The default router: no other model is known."""

    def infer(self, request: Any, decoupled: bool) -> List[Any]:
        raise TritonModelException(not_running(request.asked_model()))

    def load(self, name: str, config: str, files: Dict[str, bytes]) -> None:
        raise self._refusal(name)

    def unload(self, name: str, dependents: bool) -> None:
        raise self._refusal(name)

    def ready(self, name: str, version: str) -> bool:
        return False

    def _refusal(self, name: str) -> TritonModelException:
        return TritonModelException(f"Request for unknown model: '{name}' is not found")


def not_running(name: str) -> str:
    """Return the server's error for a request to a model that it does not serve."""
    said = f"Failed for execute the inference request. Model '{name}' is not ready."
    return f"Model {name} - Error when running inference: {said}"


class _State:
    router: Router = _Alone()
    serving = 0
    decoupled = False
    """Whether the model of this process is decoupled."""


def use_router(router: Router) -> Router:
    """Send requests to other models by *router* from now on; return the previous one. Triton has no such function."""
    before, _State.router = _State.router, router
    return before


def begin_serving(decoupled: bool) -> None:
    """Note that a model is initialized: from now on it may call others."""
    _State.serving += 1
    _State.decoupled = decoupled


def is_decoupled() -> bool:
    """Return whether the model that was initialized last is decoupled."""
    return _State.decoupled


def end_serving() -> None:
    """Note that a model is being finalized: it may no longer call others."""
    _State.serving -= 1


def require_serving() -> None:
    """Refuse a call of another model before the calling one is initialized, or after it is finalized."""
    if not _State.serving:
        raise TritonModelException("BLS is only supported during the 'execute' function.")


def infer(request: Any, decoupled: bool) -> List[Any]:
    """Send *request* to the model that it names; return the responses."""
    return _State.router.infer(request, decoupled)


def load_model(model_name: str, config: str = "", files: Dict[str, bytes] | None = None) -> None:
    """Load a model of the repository; with *config* (JSON) or *files* (``file:1/model.py``) in place of its own."""
    name, settings = text("load_model", model_name), text("load_model", config)
    for content in (files or {}).values():
        check_kind("load_model", content, bytes)
    _State.router.load(name, settings, files or {})


def unload_model(model_name: str, unload_dependents: bool = False) -> None:
    """Unload a model."""
    _State.router.unload(text("unload_model", model_name), unload_dependents)


def is_model_ready(model_name: str, model_version: str = "") -> bool:
    """Return whether a model is ready."""
    name, version = text("is_model_ready", model_name), text("is_model_ready", model_version)
    return _State.router.ready(name, version)
