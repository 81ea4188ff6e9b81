"""Turn the findings of a probe into checks."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from envbuilder.archive.manifest import Manifest
from envbuilder.catalog.system import DRIVER, is_base_library
from envbuilder.catalog.triton import Launch, Release
from envbuilder.verification import hints
from envbuilder.verification.live.child import judge_child
from envbuilder.verification.live.evaluate_model import ModelEvaluator, ModelFacts
from envbuilder.verification.live.evaluate_packages import soname_candidates
from envbuilder.verification.live.run_probe import Probed
from envbuilder.verification.report import Check, Status, some
from envbuilder.verification.static.loader import SYSTEM_FOLDERS, System

_PLAIN: Final = ModelFacts()
_EMPTY_BEFORE: Final = ("/tmp/", "/var/tmp/", "/dev/shm/")
"""Folders that are empty for an isolated model, apart from the environment and its own files."""


def check_probe(
    probed: Probed, release: Release, manifest: Manifest, isolated: bool, *, subject: ModelFacts = _PLAIN
) -> Iterator[Check]:
    """Evaluate the findings of a probe for *release*; *subject* is known of the model."""
    evaluator = _Evaluator(
        release=release,
        seconds=probed.seconds,
        isolated=isolated,
        own_compiler=subject.compiler,
        own=subject.own,
        needs=subject.needs,
        system=System(release=release, besides=frozenset(manifest.system_libraries)),
    )
    if probed.answer is None:
        yield evaluator.failed(
            "contract.launch",
            f"the environment's Python, launched {probed.launch} as {release.name} does: {probed.ended}",
            "the last lines show what is missing",
        )
        return
    answer = probed.answer
    checks = [
        evaluator.launch(answer, probed.launch),
        evaluator.isolation(),
        *evaluator.torch(answer, manifest),
        *evaluator.outside(answer),
        *evaluator.child(answer),
        *ModelEvaluator(subject=subject, make=evaluator.check).checks(answer),
    ]
    yield from checks
    if "cases" not in answer.get("CPU", {}) and not any(
        check.status in ("failed", "unknown") for check in checks
    ):
        text = answer.get("failed", {}).get("text", "no reason is given")
        yield evaluator.failed(
            "probe.model", f"the probe did not reach the model: {text}", "fix what the text names"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Evaluator:
    """Turns the findings of a probe into checks."""

    release: Release
    seconds: float
    isolated: bool
    own_compiler: str | None
    own: bool
    needs: frozenset[str] | None
    system: System

    def passed(self, id: str, found: str) -> Check:
        return self.check(id, "passed", found, None)

    def failed(self, id: str, found: str, fix: str) -> Check:
        return self.check(id, "failed", found, fix)

    def check(self, id: str, status: Status, found: str, fix: str | None) -> Check:
        """Create a check for the release."""
        seconds = self.seconds if id == "contract.launch" else 0.0
        return Check(id=id, status=status, found=found, fix=fix, release=self.release.name, seconds=seconds)

    def launch(self, answer: Mapping[str, Any], launch: Launch) -> Check:
        state = answer["conditions"]
        text = (
            f"Python {state['python']}, launched {launch}: isolated, locale {state['locale']}, no UTF-8 mode"
        )
        return self.passed("contract.launch", text)

    def isolation(self) -> Check:
        if self.isolated:
            text = "only the environment and the base system were accessible"
            if self.own_compiler is not None:
                text += ", without a compiler of this machine"
            return self.passed("contract.isolation", text)
        text = (
            "this user may not create mount namespaces, so the files that the archive was built from stayed "
            "accessible"
        )
        return self.check("contract.isolation", "warning", text, "run as root, or allow user namespaces")

    def torch(self, answer: Mapping[str, Any], manifest: Manifest) -> Iterator[Check]:
        found = answer.get("torch")
        if found is None:
            if answer.get("failed", {}).get("stage") in (
                ("import",) if self.own else ("runtime", "import", "probe")
            ):
                fix = "what the text names is missing from the environment, or has the wrong version"
                yield self.failed("probe.import", answer["failed"]["text"], fix)
            elif "numpy" in answer:
                text = f"no torch, which the model does not need; NumPy {answer['numpy']}"
                yield self.passed("probe.import", text)
            return
        cuda = f"CUDA {found['cuda']}" if found["cuda"] else "without CUDA"
        text = (
            f"torch {found['version']} ({cuda}), NumPy {found['numpy']}, imported in {found['seconds']:.1f} s"
        )
        if found["version"].split("+")[0] != manifest.torch.split("+")[0]:
            yield self.failed("probe.import", f"{text}; the manifest says {manifest.torch}", "build it again")
        else:
            yield self.passed("probe.import", text)

    def _was_made(self, path: str) -> bool:
        """Whether the model itself created the file: these folders are empty at first for an isolated model."""
        return self.isolated and path.startswith(_EMPTY_BEFORE)

    def outside(self, answer: Mapping[str, Any]) -> Iterator[Check]:
        modules = [one for one in answer.get("modules", []) if not self._was_made(one.partition(" (")[2])]
        found = list(modules)
        lacking: list[str] = []
        unknown: list[str] = []
        lent: list[str] = []
        for path in answer.get("libraries", []):
            names = soname_candidates(os.path.basename(path))
            if any(map(DRIVER.fullmatch, names)) or self._was_made(path):
                continue
            known = [self.system.has(name) for name in names]
            if not f"{os.path.dirname(path)}/".startswith(SYSTEM_FOLDERS):
                found.append(path)
            elif self.release.glibc is None:
                lent += (
                    [path] if not any(is_base_library(one, self.release.wheel_glibc) for one in names) else []
                )
            elif not any(known):
                (unknown if None in known else lacking).append(names[-1])
        if found:
            fix = (
                "the environment must contain what it imports; a .pth file or PYTHONPATH may point outside it"
                if modules
                else "the environment must contain what it loads; a RUNPATH or LD_LIBRARY_PATH points outside it"
            )
            yield self.failed("probe.outside", f"loaded from outside the environment: {some(found)}", fix)
        elif lacking:
            fixes = dict.fromkeys(hints.get_library(soname, None, False) for soname in lacking)
            text = f"loaded from this machine, but missing from {self.system.name}: {some(lacking)}"
            if self.needs is None or not self.needs.isdisjoint(lacking):
                yield self.failed("probe.outside", text, "; ".join(fixes))
                return
            # Opened by name (dlopen): Pillow goes on without libfribidi, pyvips not without libvips.
            text += "; no file of the environment is linked to it: whether the model needs it is not known"
            fix = f"verify in {self.system.name}; if it is needed: {'; '.join(fixes)}"
            yield self.check("probe.outside", "warning", text, fix)
        elif unknown:
            text = f"loaded from this machine, and possibly missing from {self.system.name}: {some(unknown)}"
            yield self.check("probe.outside", "warning", text, f"verify in {self.system.name}")
        else:
            text = "every module and library came from the environment or the base system"
            if lent:
                text += f"; from this machine: {some(sorted(map(os.path.basename, lent)))}"
            yield self.passed("probe.outside", text)

    def child(self, answer: Mapping[str, Any]) -> Iterator[Check]:
        found = answer.get("child")
        if found is None:
            return
        yield self.check("probe.child", *judge_child(found, answer["conditions"]["prefix"]))


def environment_facts(probes: Sequence[Probed]) -> dict[str, str]:
    """Return the environments' own versions, times and devices for the report."""
    for probed in probes:
        found = (probed.answer or {}).get("torch")
        if found is not None:
            return {
                "python": str(probed.answer["conditions"]["python"]) if probed.answer else "",
                "torch": str(found["version"]),
                "cuda": str(found["cuda"]),
                "numpy": str(found["numpy"]),
                "devices": ", ".join(found["devices"]) or "none",
                "import_seconds": f"{found['seconds']:.2f}",
            }
        if probed.answer and "numpy" in probed.answer:
            return {
                "python": str(probed.answer["conditions"]["python"]),
                "numpy": str(probed.answer["numpy"]),
            }
    return {}
