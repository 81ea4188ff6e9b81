"""What a probe found, as checks."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from envbuilder.archive.manifest import Manifest
from envbuilder.catalog.system import DRIVER, is_base_library
from envbuilder.catalog.triton import Launch, Release
from envbuilder.util.text import counted
from envbuilder.verification import cures
from envbuilder.verification.live.evaluate_packages import soname_candidates
from envbuilder.verification.live.run_probe import Probed
from envbuilder.verification.report import Check, Status, some
from envbuilder.verification.static.loader import SYSTEM_FOLDERS, System


def check_probe(
    probed: Probed, release: Release, manifest: Manifest, isolated: bool, *, compiler: str | None = None
) -> Iterator[Check]:
    """Judge what a probe found, for *release*; *compiler* is the path of the one that the environment brings along."""
    judge = _Judge(
        release=release,
        seconds=probed.seconds,
        isolated=isolated,
        own_compiler=compiler,
        system=System(release=release, besides=frozenset(manifest.system_libraries)),
    )
    if probed.answer is None:
        yield judge.failed(
            "contract.launch",
            f"the environment's Python, launched {probed.launch} as {release.name} does: {probed.ended}",
            "the last lines say what it lacks",
        )
        return
    answer = probed.answer
    checks = [
        judge.launch(answer, probed.launch),
        judge.isolation(),
        *judge.torch(answer, manifest),
        *judge.outside(answer),
        *judge.child(answer),
        *judge.serving(answer),
    ]
    yield from checks
    if "sizes" not in answer.get("CPU", {}) and not any(check.status == "failed" for check in checks):
        text = answer.get("failed", {}).get("text", "it says not why")
        yield judge.failed("probe.model", f"the probe did not come to the model: {text}", "see what it names")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Judge:
    """Makes checks of what a probe found."""

    release: Release
    seconds: float
    isolated: bool
    own_compiler: str | None
    system: System

    def passed(self, id: str, found: str) -> Check:
        return self._check(id, "passed", found, None)

    def failed(self, id: str, found: str, fix: str) -> Check:
        return self._check(id, "failed", found, fix)

    def _check(self, id: str, status: Status, found: str, fix: str | None) -> Check:
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
            text = "nothing but the environment and the base system was in reach"
            if self.own_compiler is not None:
                text += ", and no compiler of this machine"
            return self.passed("contract.isolation", text)
        text = "this user may make no mount namespace: what the archive was made from stayed in reach"
        return self._check("contract.isolation", "warning", text, "run as root, or allow user namespaces")

    def torch(self, answer: Mapping[str, Any], manifest: Manifest) -> Iterator[Check]:
        found = answer.get("torch")
        if found is None:
            if answer.get("failed", {}).get("stage") in ("runtime", "import", "probe"):
                fix = "the environment lacks, or has in a wrong version, what the text names"
                yield self.failed("probe.import", answer["failed"]["text"], fix)
            return
        cuda = f"CUDA {found['cuda']}" if found["cuda"] else "without CUDA"
        text = (
            f"torch {found['version']} ({cuda}), NumPy {found['numpy']}, imported in {found['seconds']:.1f} s"
        )
        if found["version"].split("+")[0] != manifest.torch.split("+")[0]:
            yield self.failed("probe.import", f"{text}; the manifest says {manifest.torch}", "build it again")
        else:
            yield self.passed("probe.import", text)

    def outside(self, answer: Mapping[str, Any]) -> Iterator[Check]:
        found = list(answer.get("modules", []))
        lacking: list[str] = []
        unknown: list[str] = []
        lent: list[str] = []
        for path in answer.get("libraries", []):
            names = soname_candidates(os.path.basename(path))
            if any(map(DRIVER.fullmatch, names)):
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
                "the environment must hold what it imports; a .pth file or PYTHONPATH may lead outside"
                if answer.get("modules")
                else "the environment must hold what it loads; a RUNPATH or LD_LIBRARY_PATH leads outside"
            )
            yield self.failed("probe.outside", f"loaded from outside the environment: {some(found)}", fix)
        elif lacking:
            fixes = dict.fromkeys(cures.get_library(soname, None, False) for soname in lacking)
            text = f"loaded from this machine, and not in {self.system.name}: {some(lacking)}"
            yield self.failed("probe.outside", text, "; ".join(fixes))
        elif unknown:
            text = f"loaded from this machine, and perhaps not in {self.system.name}: {some(unknown)}"
            yield self._check("probe.outside", "warning", text, f"verify in {self.system.name}")
        else:
            text = "every module and library came from the environment or the base system"
            if lent:
                text += f"; of this machine's own: {some(sorted(map(os.path.basename, lent)))}"
            yield self.passed("probe.outside", text)

    def child(self, answer: Mapping[str, Any]) -> Iterator[Check]:
        found = answer.get("child")
        if found is None:
            return
        if found["returncode"] == "0" and found["output"] == answer["conditions"]["prefix"]:
            yield self.passed(
                "probe.child", f"{found['executable']} starts by itself, without ENV/lib on the loader's path"
            )
        else:
            text = f"{found['executable']} started as a child exited with {found['returncode']}: {found['output']}"
            fix = "it must find its libpython by its own RUNPATH ($ORIGIN/../lib): torch starts it for its workers"
            yield self.failed("probe.child", text, fix)

    def serving(self, answer: Mapping[str, Any]) -> Iterator[Check]:
        failed = answer.get("failed")
        if failed is not None and failed["stage"] in ("eager", "compiled", "answer"):
            own = any(answer.get(kind, {}).get("own") for kind in ("CPU", "GPU"))
            yield self._model_failed({**failed, "stage": "eager"} if own else failed)
            return
        for kind in ("CPU", "GPU"):
            if "sizes" in answer.get(kind, {}):
                yield from self._served(answer[kind], kind)

    def _model_failed(self, failed: Mapping[str, str]) -> Check:
        if failed["stage"] == "eager":
            fix = "the model itself fails: run it in plain Python with the inputs that config.pbtxt describes"
            return self.failed("probe.model", f"the model does not load or answer: {failed['text']}", fix)
        if failed["stage"] == "compiled":
            fix = 'eager works: TORCH_COMPILE_OPTIONAL_PARAMETERS {"disable": true}, or COMPILE_FALLBACK "eager"'
            return self.failed("probe.compile", f"torch.compile fails: {failed['text']}", fix)
        fix = "it loads and compiles; a request is what it does not take"
        return self.failed("probe.answers", f"the model does not answer: {failed['text']}", fix)

    def _served(self, found: Mapping[str, Any], kind: str) -> Iterator[Check]:
        where = "" if kind == "CPU" else f" on {kind}"
        suffix = "" if kind == "CPU" else "-gpu"
        shapes = ", ".join(f"{name} {shape}" for name, shape in found["shapes"].items())
        yield self.passed(f"probe.model{suffix}", f"the model answers{where}: {shapes}")
        yield self._compiled(found, f"probe.compile{suffix}", where)
        wrong = [*found["differs"], *found.get("together", [])]
        sizes = ", ".join(map(str, found["sizes"]))
        if found["empty"]:
            text = f"outputs that came back empty: {', '.join(found['empty'])}"
            yield self.failed(
                f"probe.answers{suffix}", text, "an answer has as many values as its shape says"
            )
        elif wrong:
            fix = "compiled code may differ in the last digits only: does the model ask torch.compiler.is_compiling()?"
            yield self.failed(
                f"probe.answers{suffix}", f"compiled answers are not eager's: {some(wrong)}", fix
            )
        else:
            against = "its own TritonPythonModel has no eager form" if found["own"] else "the same as eager"
            yield self.passed(f"probe.answers{suffix}", f"batches of {sizes}{where}: {against}")
        if found["recompiles"]:
            graphs = counted(found["recompiles"], "graph was", "graphs were")
            text = f"{graphs} compiled by requests, in batches of {sizes}"
            fix = 'mark sizes dynamic: {"dynamic": true}, or name them in WARMUP; a request waits for each'
            yield self._check(f"probe.recompiles{suffix}", "warning", text, fix)
        elif found["compiled"]:
            graphs = counted(found["graphs"], "graph serves", "graphs serve")
            yield self.passed(f"probe.recompiles{suffix}", f"{graphs} every batch size: {sizes}")

    def _compiled(self, found: Mapping[str, Any], id: str, where: str) -> Check:
        seconds = f"loaded in {found['load_seconds']:.1f} s{where}"
        if not found["compiled"]:
            why = (
                "TritonPythonModel of its own"
                if found["own"]
                else "TorchScript, AOTInductor, strings, or disabled"
            )
            return self.passed(id, f"nothing for torch.compile to do ({why}); {seconds}")
        if found["backend"] == "aot_eager" and not found["compiler"]:
            text = f"no C++ compiler in reach: compiled by aot_eager, which needs none; {seconds}"
            return self.passed(id, text)
        if self.own_compiler is not None and not where and not _ends_in(found["compiler"], self.own_compiler):
            text = f"compiled by {found['compiler']}, and not by the environment's own {self.own_compiler}"
            return self.failed(id, text, "CXX is set by the server's environment: take it away")
        compiler = f" and {found['compiler']}" if found["compiler"] and not where else ""
        return self.passed(id, f"compiled by {found['backend']}{compiler}; {seconds}")


def _ends_in(path: str | None, end: str) -> bool:
    return path is not None and path.endswith(f"/{end}")


def environment_facts(probes: Sequence[Probed]) -> dict[str, str]:
    """Return what environments said of themselves, as a report has it."""
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
    return {}
