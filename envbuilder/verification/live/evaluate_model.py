"""Turn the findings of a probe about a model into checks.

For a model with its own ``TritonPythonModel`` the probe, which only imitates Triton's module, may fail where a
server works. So its failures are unknown until a server decides; only a missing module is certain.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from envbuilder.archive.exclude import rule_of
from envbuilder.catalog.python_backend import came_with
from envbuilder.util.text import counted
from envbuilder.verification.hints import keep_file
from envbuilder.verification.live.deployed import DeployedModel
from envbuilder.verification.live.inputs import TEXT, Questions, labels_in_words
from envbuilder.verification.live.left_out import pattern_that_left_out
from envbuilder.verification.live.run_probe import Probed
from envbuilder.verification.report import Check, Status, some
from envbuilder.verification.static.extracted import Archive

_LENT: Final = ("c_python_backend_utils",)
"""Modules that exist only in a stub."""
ASK_A_SERVER: Final = "test it on a real server: `envbuilder verify ARCHIVE --server`"
"""What to do about unknown results of a probe."""
_OF_ITS_OWN: Final = "a custom TritonPythonModel"

DECIDED: Final = ("model.inputs", "probe.model", "probe.answers", "probe.expected", "probe.config")
"""Checks of a user's ``TritonPythonModel`` that a server can decide."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelFacts:
    """What is known of a model before it is evaluated."""

    own: bool = False
    """Whether it is a user's ``TritonPythonModel``, or an ensemble."""
    questions: Questions | None = None
    """Its requests."""
    compiler: str | None = None
    """The path of the environment's own C++ compiler."""
    unexpected: tuple[str, ...] = ()
    """How its outputs differ from the expected ones."""
    left_out: str | None = None
    """The pattern by which `build` left out a module that it imports."""
    needs: frozenset[str] | None = None
    """The sonames that ELF files of the environment need; None: not known."""
    whole: bool = False
    """Whether the user named the repository, so that it has every model there will be."""


def facts_of(deployed: DeployedModel, probed: Probed, archive: Archive, *, whole: bool = False) -> ModelFacts:
    """Collect what is known of a model that was deployed with *archive* and probed.

    *whole* is whether the user named the repository that has it.
    """
    failed = (probed.answer or {}).get("failed", {})
    return ModelFacts(
        own=deployed.own,
        whole=whole,
        questions=deployed.questions,
        compiler=archive.compiler,
        unexpected=probed.unexpected,
        needs=frozenset(need for facts in archive.linking.files.values() for need in facts.needs),
        left_out=pattern_that_left_out(archive, missing=failed.get("missing"), text=failed.get("text", "")),
    )


def newer_name(failed: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return that a model *failed* because it uses a name of a later release, and what to change; else None."""
    lacking = failed.get("lacking", "")
    since = came_with(lacking)
    if since is None:
        return None
    text = f"the model uses what Triton has since release {since}, {lacking}: {failed['text']}"
    return text, f"target release {since} or later, or let the model do without it where it is missing"


def not_sent(outputs: Sequence[str]) -> tuple[str, str]:
    """Return that a model does not send *outputs*, and what to change."""
    text = f"outputs of config.pbtxt that the model does not send: {', '.join(outputs)}"
    return text, "send them under these names, or take them out of config.pbtxt"


def not_described(texts: Sequence[str]) -> tuple[str, str]:
    """Return that outputs differ from their description in config.pbtxt, and what to change."""
    fix = "correct data_type and dims in config.pbtxt, or the model: a server sends what the model gives"
    return f"outputs are not as config.pbtxt describes them: {some(texts)}", fix


def let_server_decide(place: list[Check], models: Sequence[DeployedModel], said: Sequence[Check]) -> None:
    """Turn a probe's failures of a user's ``TritonPythonModel`` into warnings if a server's checks (*said*) decide.

    The server's result takes precedence.
    """
    own = [deployed.title for deployed in models if deployed.own]

    def is_decided(check: Check) -> bool:
        undecided = ("unknown",) if check.id == "model.inputs" else ("unknown", "failed")
        if check.id not in DECIDED or check.status not in undecided:
            return False
        if len(models) == 1:
            return bool(own) and any(_tells(other, "") for other in said)
        name = check.found.partition(":")[0]
        return name in own and any(_tells(other, name) for other in said)

    fix = "see the server's checks: they take precedence"
    place[:] = [replace(check, status="warning", fix=fix) if is_decided(check) else check for check in place]


def _tells(check: Check, name: str) -> bool:
    """Return whether a server's *check* is about the model *name*, or the only one."""
    if not check.id.startswith("server.") or check.status in ("omitted", "unknown"):
        return False
    about = not name or check.id == "server.start" or check.found.startswith(f"{name}:")
    return about and (check.status == "failed" or check.id in ("server.http", "server.grpc"))


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelEvaluator:
    """Turns the findings of a probe about a model into checks."""

    subject: ModelFacts
    make: Callable[[str, Status, str, str | None], Check]
    """Creates a check from its id, its status, what was found, and what to change."""

    def checks(self, answer: Mapping[str, Any]) -> Iterator[Check]:
        """Evaluate the probe's *answer*."""
        failed, unknown = answer.get("failed"), list(answer.get("unknown", ()))
        stages = ("eager", "compiled", "answer", *(("runtime", "ended", "probe") if self.subject.own else ()))
        if failed is not None and failed["stage"] in stages:
            if self.subject.left_out is not None:
                yield self._left_out(failed, self.subject.left_out)
                return
            yield self._own_failed(failed, unknown) if self.subject.own else self._failed(failed)
            return
        questions = self.subject.questions
        if self.subject.own and failed is None and questions is not None and not questions.cases:
            text = "not known: it loads in the probe, but no request to it is known"
            yield self.make("probe.model", "unknown", text, ASK_A_SERVER)
        for kind in ("CPU", "GPU"):
            if "cases" in answer.get(kind, {}):
                yield from self._served(answer[kind], kind, unknown)

    # -- a failure

    def _failed(self, failed: Mapping[str, Any]) -> Check:
        asked, text = failed.get("inputs", ""), failed["text"]
        if failed["stage"] in ("eager", "answer") and asked and self._may_be_the_inputs(failed):
            return self.make("probe.model", "unknown", self._refused(text, asked), self._give_inputs())
        if failed["stage"] == "eager":
            fix = "the model itself fails: run it in plain Python with the inputs that config.pbtxt describes"
            return self.make("probe.model", "failed", f"the model does not load or answer: {text}", fix)
        if failed["stage"] == "compiled":
            fix = 'eager works: TORCH_COMPILE_OPTIONAL_PARAMETERS {"disable": true}, or COMPILE_FALLBACK "eager"'
            return self.make("probe.compile", "failed", f"torch.compile fails: {text}", fix)
        fix = "it loads and compiles, but a request to it fails"
        return self.make("probe.answers", "failed", f"the model does not answer: {text}", fix)

    def _left_out(self, failed: Mapping[str, Any], pattern: str) -> Check:
        text = f"`build` left out what the model imports ({rule_of(pattern)}): {failed['text']}"
        return self.make("probe.model", "failed", text, keep_file(pattern))

    def _own_failed(self, failed: Mapping[str, Any], unknown: list[str]) -> Check:
        missing = failed.get("missing", "")
        if missing.partition(".")[0].isdigit():  # the version folder is a package
            text = f"the model's folder has no module {missing!r}, which the model imports: {failed['text']}"
            return self.make("probe.model", "failed", text, "put that file into the version folder")
        newer = newer_name(failed)
        if newer is not None:
            return self.make("probe.names", "failed", *newer)
        if missing and missing not in _LENT:
            text = f"the environment has no module {missing!r}, which the model imports: {failed['text']}"
            fix = "add the package that provides it to the recipe's dependencies, then lock and build again"
            return self.make("probe.model", "failed", text, fix)
        if unknown:
            return self.make(
                "probe.model", "unknown", f"not known: {some(unknown)}", self._give_models(unknown)
            )
        asked = failed.get("inputs", "")
        if failed["stage"] == "answer" and asked and self._may_be_the_inputs(failed):
            return self.make(
                "probe.model", "unknown", self._refused(failed["text"], asked), self._give_inputs()
            )
        did = {
            "runtime": "its file cannot be imported",
            "compiled": "it does not load",
            "answer": "it does not answer",
        }
        what = did.get(failed["stage"], "the probe did not reach its answers")
        text = f"not known, because the probe only imitates Triton's module: {what} in the probe: {failed['text']}"
        return self.make("probe.model", "unknown", text, ASK_A_SERVER)

    def _may_be_the_inputs(self, failed: Mapping[str, Any]) -> bool:
        """Return whether other inputs may work, or did: the rejected ones were generated, not given by the user."""
        questions = self.subject.questions
        narrow = questions is not None and questions.made_up and questions.narrow
        return narrow or (questions is not None and bool(failed.get("otherwise")))

    def _refused(self, text: str, asked: str) -> str:
        assert self.subject.questions is not None
        return f"not known: the model rejects an input, which was {self.subject.questions.source} ({asked}): {text}"

    def _give_inputs(self) -> str:
        assert self.subject.questions is not None
        return self.subject.questions.how_to_give()

    def _give_models(self, unknown: Sequence[str]) -> str:
        questions = self.subject.questions
        if questions is not None and questions.made_up and any(f"'{TEXT}'" in text for text in unknown):
            return f"the name was {questions.source}, in an input: {self._give_inputs()}"
        if self.subject.whole:
            return f"add what it calls to the repository, or correct the name; and {ASK_A_SERVER}"
        return "name the repository with the other models, and test on a server: `--repository DIR --server`"

    # -- answers

    def _served(self, found: Mapping[str, Any], kind: str, unknown: list[str]) -> Iterator[Check]:
        where = "" if kind == "CPU" else f" on {kind}"
        suffix = "" if kind == "CPU" else "-gpu"
        shapes = ", ".join(f"{name} {shape}" for name, shape in found["shapes"].items())
        if unknown:
            text = f"not known: {some(unknown)}"
            yield self.make(f"probe.model{suffix}", "unknown", text, self._give_models(unknown))
            return
        text = f"the model answers{where}: {shapes or 'nothing'}"
        if found.get("not_ready"):
            text += f"; its is_ready fails: {found['not_ready']}"
            fix = "a server reports the model as not ready: let is_ready return True once it can serve"
            yield self.make(f"probe.model{suffix}", "warning", text, fix)
        elif found.get("finalize"):
            text += f"; its finalize fails: {found['finalize']}"
            yield self.make(
                f"probe.model{suffix}", "warning", text, "no client meets it; a server logs it when it ends"
            )
        else:
            yield self.make(f"probe.model{suffix}", "passed", text, None)
        yield self._compiled(found, f"probe.compile{suffix}", where)
        yield self._answers(found, f"probe.answers{suffix}", where)
        if not suffix:
            yield from self._expected()
        labels = labels_in_words(found["cases"])
        if found["recompiles"]:
            graphs = counted(found["recompiles"], "graph was", "graphs were")
            text = f"{graphs} compiled by requests, in {labels}"
            fix = 'make sizes dynamic with {"dynamic": true}, or list them in WARMUP; each compilation delays a request'
            yield self.make(f"probe.recompiles{suffix}", "warning", text, fix)
        elif found["compiled"]:
            graphs = counted(found["graphs"], "graph serves", "graphs serve")
            sizes = labels_in_words([label for label in found["cases"] if label.isdigit()])
            text = f"{graphs} every batch size: {(sizes or labels).removeprefix('batches of ')}"
            yield self.make(f"probe.recompiles{suffix}", "passed", text, None)

    def _answers(self, found: Mapping[str, Any], id: str, where: str) -> Check:
        wrong = [*found["differs"], *found.get("together", [])]
        bad: Status = "unknown" if self.subject.own else "failed"
        if found.get("missing"):
            return self.make(id, bad, *not_sent(found["missing"]))
        if found.get("undescribed") and not wrong:
            return self.make(id, "warning", *not_described(found["undescribed"]))
        if found["empty"]:
            text = f"empty outputs: {', '.join(found['empty'])}"
            if self.subject.own:
                return self.make(
                    id, "warning", text, "ignore this if the model is meant to return them empty"
                )
            return self.make(id, "failed", text, "return as many values as the output's shape says")
        if wrong and self.subject.own:
            text = f"answers to simultaneous requests differ from those to single ones: {some(wrong)}"
            return self.make(id, bad, f"not known whether this is an error: {text}", ASK_A_SERVER)
        if wrong:
            fix = "compiled code may differ in the last digits only: does the model ask torch.compiler.is_compiling()?"
            return self.make(id, bad, f"compiled outputs differ from eager: {some(wrong)}", fix)
        return self.make(
            id, "passed", f"{labels_in_words(found['cases'])}{where}: {self._alike(found)}", None
        )

    def _alike(self, found: Mapping[str, Any]) -> str:
        varying = found["varying"]
        if varying:
            return f"{', '.join(varying)} varies from call to call, so only types and dims were compared"
        if self.subject.own:
            return "the same in two calls; a custom TritonPythonModel has no eager form"
        if not found["compiled"]:
            return "the same when loaded twice; nothing is compiled"
        if found.get("constructed"):
            return (
                "the same as eager; without a weights file, each start of a server creates different weights"
            )
        return "the same as eager"

    def _expected(self) -> Iterator[Check]:
        questions = self.subject.questions
        if questions is None or not any(case.expected for case in questions.cases):
            return
        if not self.subject.unexpected:
            yield self.make("probe.expected", "passed", f"the answers that {questions.source} expects", None)
            return
        text = f"answers differ from those that {questions.source} expects: {some(self.subject.unexpected)}"
        status: Status = "unknown" if self.subject.own else "failed"
        yield self.make(
            "probe.expected",
            status,
            text,
            "correct `expected`, or allow a larger difference with `rtol` and `atol`",
        )

    def _compiled(self, found: Mapping[str, Any], id: str, where: str) -> Check:
        seconds = f"loaded in {found['load_seconds']:.1f} s{where}"
        if not found["compiled"]:
            own = "a custom TritonPythonModel"
            why = own if found["own"] else "TorchScript, AOTInductor, strings, or disabled"
            return self.make(id, "passed", f"nothing for torch.compile to do ({why}); {seconds}", None)
        if found["backend"] == "aot_eager" and not found["compiler"]:
            text = f"no C++ compiler found: compiled by aot_eager, which needs none; {seconds}"
            return self.make(id, "passed", text, None)
        own_compiler = self.subject.compiler
        if own_compiler is not None and not where and not _ends_in(found["compiler"], own_compiler):
            text = f"compiled by {found['compiler']}, not by the environment's own {own_compiler}"
            return self.make(id, "failed", text, "CXX is set in the server's environment: unset it")
        compiler = f" and {found['compiler']}" if found["compiler"] and not where else ""
        return self.make(id, "passed", f"compiled by {found['backend']}{compiler}; {seconds}", None)


def _ends_in(path: str | None, end: str) -> bool:
    return path is not None and path.endswith(f"/{end}")
