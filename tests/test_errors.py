from __future__ import annotations

import inspect

from envbuilder import errors
from envbuilder.errors import EnvbuilderError


def test_the_text_is_the_message_and_what_to_do() -> None:
    assert str(EnvbuilderError("a.yaml:3: no")) == "a.yaml:3: no"
    error = EnvbuilderError("a.yaml:3: no", hint="yes")
    assert (str(error), error.message, error.hint) == ("a.yaml:3: no\n  hint: yes", "a.yaml:3: no", "yes")


def test_every_error_has_the_exit_code_of_the_design() -> None:
    found = {
        name: kind.exit_code
        for name, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, EnvbuilderError)
    }
    assert found == {
        "EnvbuilderError": 1,
        "ClusterError": 1,
        "PluginError": 1,
        "RecipeError": 2,
        "StaleLockError": 3,
        "ResolveError": 4,
        "FetchError": 4,
        "StoreError": 4,
        "IntegrityError": 5,
        "AssembleError": 6,
        "VerifyError": 7,
        "DeployError": 8,
    }
