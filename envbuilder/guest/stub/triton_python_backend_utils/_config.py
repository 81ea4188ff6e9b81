"""A model's configuration: functions that read it, and the class that ``auto_complete_config`` completes."""

from __future__ import annotations

import json
from typing import Any, Dict, Sequence

from ._releases import lacks, refuse

Record = Dict[str, Any]


def _by_name(model_config: Record, key: str, name: str) -> Record | None:
    return next((one for one in model_config.get(key, ()) if one["name"] == name), None)


def get_input_config_by_name(model_config: Record, name: str) -> Record | None:
    """Return the entry of *model_config* for the input *name*, or None."""
    return _by_name(model_config, "input", name)


def get_output_config_by_name(model_config: Record, name: str) -> Record | None:
    """Return the entry of *model_config* for the output *name*, or None."""
    return _by_name(model_config, "output", name)


def using_decoupled_model_transaction_policy(model_config: Record) -> bool:
    """Return whether the model may send any number of responses to a request."""
    if "model_transaction_policy" in model_config:
        decoupled: bool = model_config["model_transaction_policy"]["decoupled"]
        return decoupled
    return False


class ModelConfig:
    """The argument and result of ``auto_complete_config``; it refuses values that contradict config.pbtxt."""

    def __init__(self, model_config: str) -> None:
        self._model_config: Record = json.loads(model_config)

    def as_dict(self) -> Record:
        """Return the configuration."""
        return self._model_config

    def set_max_batch_size(self, max_batch_size: int) -> None:
        """Set ``max_batch_size``; ValueError if config.pbtxt has a larger one."""
        has = self._model_config["max_batch_size"]
        if has > max_batch_size:
            raise ValueError(
                f"configuration specified max_batch_size {has}, but in auto-complete-config function for model "
                f"'{self._name}' specified max_batch_size {max_batch_size}"
            )
        self._model_config["max_batch_size"] = max_batch_size

    def set_dynamic_batching(self) -> None:
        """Enable dynamic batching; ValueError if config.pbtxt has another scheduler."""
        for other in ("sequence_batching", "ensemble_scheduling"):
            if other in self._model_config:
                raise ValueError(
                    f"Configuration specified scheduling_choice as '{other}', but auto-complete-config function for "
                    f"model '{self._name}' tries to set scheduling_choice as 'dynamic_batching'"
                )
        self._model_config.setdefault("dynamic_batching", {})

    def add_input(self, input: Record) -> None:
        """Add an input: ``name``, ``data_type``, ``dims`` and perhaps ``optional``; ValueError as in Triton."""
        optional = "'optional' in ModelConfig.add_input"
        if lacks(optional) and "optional" in input:
            text = f"input '{input.get('name')}' in auto-complete-config function for model '{self._name}' contains"
            refuse(optional, ValueError(f"{text} property other than 'name', 'data_type' and 'dims'."))
        self._add("input", input, ("name", "data_type", "dims", "optional"))

    def add_output(self, output: Record) -> None:
        """Add an output: ``name``, ``data_type`` and ``dims``; ValueError as in Triton."""
        self._add("output", output, ("name", "data_type", "dims"))

    def set_model_transaction_policy(self, transaction_policy_dict: Record) -> None:
        """Set ``decoupled``; ValueError if config.pbtxt has the opposite."""
        if set(transaction_policy_dict) - {"decoupled"}:
            raise ValueError(
                f"model transaction property in auto-complete-config function for model '{self._name}' contains "
                "property other than 'decoupled'."
            )
        policy = self._model_config.setdefault("model_transaction_policy", {})
        if "decoupled" not in transaction_policy_dict:
            return
        wanted = transaction_policy_dict["decoupled"]
        if policy.get("decoupled", wanted) != wanted:
            raise ValueError(
                f"trying to change decoupled property in auto-complete-config for model '{self._name}', which is "
                f"already set to '{policy['decoupled']}'."
            )
        policy["decoupled"] = wanted

    @property
    def _name(self) -> str:
        return str(self._model_config["name"])

    def _add(self, kind: str, given: Record, known: Sequence[str]) -> None:
        where = f"in auto-complete-config function for model '{self._name}'"
        if set(given) - set(known):
            names = ", ".join(f"'{name}'" for name in known[:-1])
            raise ValueError(
                f"{kind} '{given.get('name')}' {where} contains property other than {names} and '{known[-1]}'."
            )
        for key in ("name", "data_type", "dims"):
            if key not in given:
                which = kind if key == "name" else f"{kind} '{given['name']}'"
                raise ValueError(f"{which} {where} is missing '{key}' property.")
        has = _by_name(self._model_config, kind, given["name"])
        if has is None:
            self._model_config.setdefault(kind, []).append(given)
            return
        self._refuse_other(kind, has, given)
        has.update({key: value for key, value in given.items() if key != "name"})

    def _refuse_other(self, kind: str, has: Record, given: Record) -> None:
        name = given["name"]
        if has["data_type"] not in ("TYPE_INVALID", given["data_type"]):
            raise ValueError(
                f"unable to load model '{self._name}', configuration expects datatype {has['data_type']} for {kind} "
                f"'{name}', model provides {given['data_type']}"
            )
        for key in ("dims", "optional"):
            differs = key in has and key in given and has[key] != given[key]
            if differs and (key == "optional" or has["dims"]):
                raise ValueError(
                    f"model '{self._name}', tensor '{name}': the model expects {key} {given[key]} but the model "
                    f"configuration specifies {key} {has[key]}"
                )
