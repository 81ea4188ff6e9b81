"""Determine which releases would load an archive that names none, by trying all known ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from envbuilder.catalog.triton import Release, release_ranges
from envbuilder.verification.report import Check, check, failed, passed
from envbuilder.verification.static.extracted import Archive
from envbuilder.verification.static.release import check_release


@dataclass(frozen=True, kw_only=True, slots=True)
class Fitting:
    """The result for all known releases."""

    releases: tuple[Release, ...]
    """The releases that would load it, the newest of each range; if none would, the closest one."""
    checks: tuple[Check, ...]
    """The check of which releases would load it and why others would not; then the checks for *releases*."""


def check_all_releases(archive: Archive) -> Fitting:
    """Check *archive* under every known release."""
    if archive.around:
        text = "which releases would load it is only known once it is packed without the folder around it"
        return Fitting(releases=(), checks=(check("contract.releases", "omitted", text),))
    found = [(name, release, list(check_release(archive, release))) for name, release in release_ranges()]
    wrong = {name: [one for one in checks if one.status == "failed"] for name, _, checks in found}
    fitting = [name for name in wrong if not wrong[name]]
    refused = _refused({name: checks for name, checks in wrong.items() if checks})
    if fitting:
        chosen = fitting
        text = f"would be loaded by {', '.join(fitting)}" + (f"; not by {refused}" if refused else "")
        said = passed("contract.releases", text)
    else:
        # With its Python before others; of the same the newest.
        nearest = min(
            reversed(wrong),
            key=lambda name: (any(one.id == "layout.libpython" for one in wrong[name]), len(wrong[name])),
        )
        chosen = [nearest]
        fix = f"{nearest} comes closest: see its checks"
        said = failed("contract.releases", f"no release would load it: {refused}", fix)
    checks = [one for name, _, made in found if name in chosen for one in made]
    releases = tuple(release for name, release, _ in found if name in chosen)
    return Fitting(releases=releases, checks=(said, *checks))


def _refused(wrong: dict[str, Sequence[Check]]) -> str:
    """Name the releases that refuse it, grouped by cause."""
    causes: dict[tuple[str, ...], list[str]] = {}
    for name, checks in wrong.items():
        causes.setdefault(tuple(dict.fromkeys(one.id for one in checks)), []).append(name)
    return "; ".join(f"{', '.join(names)} ({', '.join(ids)})" for ids, names in causes.items())
