"""Find the models with which a server does not become ready, and test the others without them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Final

from envbuilder.verification.report import Check
from envbuilder.verification.server.ask import Served, ServerChecks

_MOST: Final = 8
"""How many models are tried one by one; a server loads four at once."""


def run_without_culprits(asking: ServerChecks, failed: Served, folder: Path, timeout: float) -> Served:
    """Test the models of *asking* without those that the server was loading when it ended, as *failed* says.

    Each of these is then added to the others alone. Returns *failed* if that does not explain it.

    Args:
        asking: the checks of all models.
        failed: the result of a server that did not become ready.
        folder: a folder for logs.
        timeout: how long to wait for a server, in seconds.
    """
    suspects = failed.loading
    places = asking.models[0].sandbox.root / "models"
    others = [path.name for path in sorted(places.iterdir()) if path.is_dir() and path.name not in suspects]
    rest = _of(asking, {model.name for model in asking.models} - {*suspects}, others)
    if not suspects or len(suspects) > _MOST or not rest.models:
        return failed
    served = rest.run(folder / "others" / "server.log", timeout)
    if served.server is None:
        return failed
    checks, culprits = list(served.checks), []
    for name in suspects:
        one = _of(asking, {name}, [*others, name])
        tried = one.run(folder / f"with-{name}" / "server.log", timeout) if one.models else None
        if tried is None or tried.server is not None:  # a called model is judged with those that call it
            checks += [check for check in (tried.checks if tried else ()) if check.id != "server.start"]
            continue
        culprits.append(name)
        (cause,) = tried.checks
        text = f"the server does not become ready with it: {cause.found}"
        fix = "correct it, or move it out of the repository: while it is there, a server may serve none of its models"
        made = Check(id="server.model", status=cause.status, found=text, fix=fix)
        checks += [made.of_model(model.title) for model in one.models]
    if not culprits:
        return replace(failed, checks=(*failed.checks, *checks[1:]), server=served.server)
    start = checks[0]
    checks[0] = replace(start, found=f"{start.found}; without {', '.join(culprits)}")
    return replace(served, checks=tuple(checks))


def _of(asking: ServerChecks, names: Collection[str], loaded: Collection[str]) -> ServerChecks:
    """Return *asking* of the models *names* only, with those *loaded* beside them."""
    return replace(
        asking,
        models=[model for model in asking.models if model.name in names],
        subjects=lambda: [one for one in asking.subjects() if one.deployed.name in names],
        loaded=tuple(loaded),
    )
