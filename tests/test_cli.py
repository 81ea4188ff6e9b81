from __future__ import annotations

import dataclasses
import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

from envbuilder import __version__, api, errors
from envbuilder.base.interpreter import Interpreter, describe
from envbuilder.cli import cli
from envbuilder.deployment.options import DeployOptions
from envbuilder.lockfile.model import Lock
from envbuilder.lockfile.pylock import write_lock
from envbuilder.recipe.load import load_recipe
from envbuilder.recipe.model import Recipe
from envbuilder.resolve.lock import LockResult
from envbuilder.store.local import CACHE_VARIABLE, Store
from envbuilder.store.session import Session
from envbuilder.verification.report import Check, Report
from envbuilder.verification.verify import VerifyRequest
from tests.helpers.small import little
from tests.helpers.wheels import small_lock, small_recipe, write_wheel

VERBS = [
    "alias",
    "attest",
    "audit",
    "bench",
    "build",
    "compile",
    "deploy",
    "diff",
    "doctor",
    "import",
    "init",
    "licences",
    "lock",
    "pull",
    "push",
    "quickstart",
    "sbom",
    "size",
    "verify",
    "store",
]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "store"))


def call(*args: object) -> Result:
    return CliRunner().invoke(cli, [str(arg) for arg in args])


def start(*args: object, code: str | None = None) -> subprocess.Popen[str]:
    """Start the command line, or *code* that ends in it, in a process of its own."""
    command = [sys.executable, "-c", code or "from envbuilder.cli import main; main()"]
    return subprocess.Popen(
        [*command, *map(str, args)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@dataclass(frozen=True)
class Workspace:
    """A folder with a recipe, its lock, and the wheels of it."""

    folder: Path
    recipe: Recipe
    lock: Lock

    def build(self, *options: object) -> Result:
        return call("build", "--find-links", self.folder / "wheels", *options)


@pytest.fixture
def workspace(tmp_path: Path, python311: Interpreter) -> Workspace:
    exclude = "".join(f'    - "{pattern}"\n' for pattern in little(python311).exclude or ())
    path = tmp_path / "recipes" / "small.yaml"
    path.parent.mkdir()
    path.write_text(
        'triton: pytriton-0.7.0\npython: "3.11"\ntorch: "2.13.0"\ncuda: cpu\npack:\n  exclude:\n' + exclude
    )
    recipe = load_recipe(path)
    wheels = [
        write_wheel(tmp_path / "wheels", "alpha", files={"alpha/__init__.py": b"VALUE = 1\n"}),
        write_wheel(tmp_path / "wheels", "beta", files={"beta.py": b"", "beta/tests/a.py": b"x = 1\n"}),
    ]
    locked = small_lock(recipe, wheels, describe(python311))
    write_lock(locked, tmp_path / "recipes" / "pylock.small.toml")
    return Workspace(tmp_path, recipe, locked)


# -- errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.RecipeError, 2),
        (errors.StaleLockError, 3),
        (errors.ResolveError, 4),
        (errors.FetchError, 4),
        (errors.IntegrityError, 5),
        (errors.AssembleError, 6),
        (errors.VerifyError, 7),
        (errors.DeployError, 8),
        (errors.EnvbuilderError, 1),
    ],
)
def test_an_error_is_text_on_stderr_and_an_exit_code(
    monkeypatch: pytest.MonkeyPatch, error: type[errors.EnvbuilderError], code: int
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error("what is wrong, where", hint="what to do")

    monkeypatch.setattr(api, "load_recipes", fail)
    result = call("build", "small")
    assert result.stderr == "error: what is wrong, where\n  hint: what to do\n"
    assert (result.stdout, result.exit_code) == ("", code)


def test_a_full_disk_is_said_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "envs/a")

    monkeypatch.setattr(api, "load_recipes", fail)
    result = call("build")
    assert result.stderr == (
        "error: no space left on the disk under envs/a\n"
        "  hint: `envbuilder store prune --limit 5G` frees some\n"
    )
    assert result.exit_code == 1


def test_a_file_that_cannot_be_read_is_named_without_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "recipes/a.yaml")

    monkeypatch.setattr(api, "load_recipes", fail)
    result = call("build")
    assert (result.stderr, result.exit_code) == ("error: recipes/a.yaml: Permission denied\n", 1)


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("no file in it")

    monkeypatch.setattr(api, "load_recipes", fail)
    result = call("build")
    assert str(result.exception) == "no file in it"


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["lock", "--resolve"], "Error: --resolve goes with --check\n"),
        (
            ["lock", "--check", "--fetch"],
            "Error: --check changes nothing: no --upgrade, --upgrade-package or --fetch with it\n",
        ),
        (["verify", "gone"], "Error: Invalid value for 'ARCHIVE': File 'gone' does not exist.\n"),
        (["size", "gone"], "Error: Invalid value for 'ARCHIVE': File 'gone' does not exist.\n"),
        (
            ["deploy", "gone", "m", "--repository", "r"],
            "Error: Invalid value for 'ARCHIVE': File 'gone' does",
        ),
        (["build", "--threads", "0"], "Error: Invalid value for '--threads' / '-j': 0 is not in the range"),
        (["push", "gone"], "error: no recipe 'gone' in "),
        (["pull", "gone"], "error: no recipe 'gone' in "),
        (
            ["pull", "gone:stable"],
            'error: no store elsewhere is named\n  hint: envbuilder.toml names one: store = "s3://bucket/folder"',
        ),
        (["alias", "stable"], "error: no store elsewhere is named\n"),
        (["alias", "a:b", "c", "--back"], "Error: --back names the archive: no ARCHIVE with it\n"),
        (["pack"], "Error: No such command 'pack'.\n"),
        (["lock", "--chekc"], "--chekc"),
        (["build", "--no-pull"], "Error: --no-pull goes with --cluster\n"),
        (["build", "--check", "--matrix"], "Error: --check builds one after the other: no --cluster, "),
        (["build", "gone"], "error: no recipe 'gone' in "),
        (["build"], "error: no recipes in "),
        (
            ["store", "prune", "--limit", "much"],
            "error: --limit: 'much' is no size\n  hint: for instance 500M",
        ),
    ],
)
def test_wrong_usage_is_exit_code_2(args: list[str], said: str) -> None:
    result = call(*args)
    assert said in result.stderr
    assert (result.stdout, result.exit_code) == ("", 2)


# -- help ------------------------------------------------------------------------------------------


def test_help_names_every_verb_whole_and_every_exit_code() -> None:
    result = call("--help")
    assert result.exit_code == 0
    commands = result.stdout.partition("Commands:\n")[2].partition("\n\n")[0].splitlines()
    assert sorted(line.split()[0] for line in commands) == sorted(VERBS)
    assert not [line for line in commands if line.endswith("...")]
    text = " ".join(result.stdout.split())
    codes = {error.exit_code for error in vars(errors).values() if hasattr(error, "exit_code")}
    assert [code for code in sorted(codes) if f" {code} " not in text.partition("Exit codes:")[2]] == []


@pytest.mark.parametrize("verb", VERBS)
def test_the_help_of_a_verb_says_what_it_does_and_each_option(verb: str) -> None:
    result = call(verb, "--help")
    assert result.exit_code == 0
    assert result.stdout.startswith(f"Usage: cli {verb} ")
    paragraphs = result.stdout.partition("Options:")[0].strip().split("\n\n")
    assert len(paragraphs) >= 3, "usage, one line, more about it"
    command = cli.commands[verb]
    described = [parameter for parameter in command.params if getattr(parameter, "opts", [""])[0][:1] == "-"]
    assert [option.name for option in described if not getattr(option, "help", None)] == []
    assert call(verb, "-h").stdout == result.stdout


@pytest.mark.parametrize(
    "verb",
    [
        *(verb for verb in VERBS if verb not in ("bench", "store")),
        "bench start",
        "store info",
        "store prune",
        "store clear",
    ],
)
def test_every_verb_can_be_quiet_and_speak_json(verb: str) -> None:
    text = call(*verb.split(), "--help").stdout
    assert "--json" in text
    assert "-q, --quiet" in text


def test_the_version_is_the_packages() -> None:
    assert call("--version").stdout == f"cli, version {__version__}\n"


# -- the verbs -------------------------------------------------------------------------------------


def test_init_writes_a_recipe_that_loads(tmp_path: Path) -> None:
    result = call("init", "mine", "--triton", "25.06", "--torch", "2.7.1", "--cuda", "cu126")
    path = tmp_path / "recipes" / "mine.yaml"
    assert (result.stdout, result.stderr) == (f"wrote {path}; next: envbuilder lock mine\n", "")
    assert load_recipe(path).torch_version == "2.7.1+cu126"

    again = call("init", "mine")
    assert again.stderr == f"error: {path} is there already\n  hint: choose another name, or edit it\n"
    assert again.exit_code == 2


def test_init_names_the_next_step_of_a_recipe_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "elsewhere" / "mine.yaml"
    assert call("init", path).stdout == f"wrote {path}; next: envbuilder lock {path}\n"
    assert (
        call("init", tmp_path / "j.yaml", "--json").stdout
        == json.dumps({"recipe": str(tmp_path / "j.yaml")}, indent=1) + "\n"
    )


def test_init_leaves_no_impossible_recipe(tmp_path: Path) -> None:
    result = call("init", "mine", "--torch", "2.7.1", "--cuda", "cu130")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: torch 2.7.1 was never built for cu130")
    assert not (tmp_path / "recipes").exists()


def test_lock_check_looks_at_every_recipe(workspace: Workspace) -> None:
    folder = workspace.folder / "recipes"
    text = (folder / "small.yaml").read_text()
    (folder / "a.yaml").write_text(text)
    (folder / "z.yaml").write_text(text)
    write_lock(
        small_lock(small_recipe(folder, "z"), workspace.lock.artifacts, workspace.lock.interpreter),
        folder / "pylock.z.toml",
    )

    result = call("lock", "--check")

    assert result.stdout == (
        f"{folder}/pylock.small.toml: current, 2 packages, torch 2.13.0+cpu, "
        f"CPython {workspace.lock.interpreter.version} for Triton pytriton-0.7.0\n"
        "  demanded by Triton pytriton-0.7.0: numpy<2\n"
    )
    assert result.stderr == (
        f"error: recipe a is not locked: there is no {folder}/pylock.a.toml\n  hint: envbuilder lock a\n"
        f"error: {folder}/pylock.z.toml: z.yaml changed since it was locked\n  hint: envbuilder lock z\n"
    )
    assert result.exit_code == 3

    listed = json.loads(call("lock", "--check", "--json").stdout)
    assert [entry.get("error", "current") for entry in listed] == [
        f"recipe a is not locked: there is no {folder}/pylock.a.toml",
        "current",
        f"{folder}/pylock.z.toml: z.yaml changed since it was locked",
    ]
    assert call("lock", "--check", "small").exit_code == 0


def test_lock_check_ends_with_the_first_errors_code(workspace: Workspace) -> None:
    path = workspace.folder / "recipes" / "pylock.small.toml"
    path.write_text(path.read_text().replace("alpha", "gamma"))
    (workspace.folder / "recipes" / "z.yaml").write_text(
        (workspace.folder / "recipes" / "small.yaml").read_text()
    )
    result = call("lock", "--check")
    assert result.stderr.count("error: ") == 2
    assert result.exit_code == 5


def test_lock_says_what_changed(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def lock(recipe: Recipe, **options: Any) -> LockResult:
        asked.update(options)
        return LockResult(
            lock=workspace.lock,
            path=Path("recipes/pylock.small.toml"),
            changed=True,
            demands=("numpy<2",),
            differences=("alpha 0.9 -> 1.0", "beta 1.0 new"),
            wheelhouse=Path("recipes/wheelhouse"),
        )

    monkeypatch.setattr(api, "lock", lock)
    result = call("lock", "-U", "-P", "alpha", "-P", "beta", "--fetch", "--find-links", "w")
    assert result.stdout.splitlines()[1:] == [
        "  demanded by Triton pytriton-0.7.0: numpy<2",
        "  alpha 0.9 -> 1.0",
        "  beta 1.0 new",
        "  wheelhouse: recipes/wheelhouse",
    ]
    assert result.stdout.startswith("recipes/pylock.small.toml: written, 2 packages, ")
    assert (asked["upgrade"], asked["upgrade_packages"], asked["fetch"]) == (True, ("alpha", "beta"), True)
    assert asked["session"].find_links == ("w",)
    assert json.loads(call("lock", "--json").stdout)[0]["differences"] == ["alpha 0.9 -> 1.0", "beta 1.0 new"]


def test_an_error_while_locking_ends_it(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def lock(recipe: Recipe, **_: Any) -> LockResult:
        raise errors.ResolveError(f"{recipe.name}: nothing fits")

    (workspace.folder / "recipes" / "z.yaml").write_text(
        (workspace.folder / "recipes" / "small.yaml").read_text()
    )
    monkeypatch.setattr(api, "lock", lock)
    result = call("lock")
    assert (result.stderr, result.exit_code) == ("error: small: nothing fits\n", 4)


def test_many_recipes_end_in_one_table(workspace: Workspace) -> None:
    recipes = workspace.folder / "recipes"
    (recipes / "z.yaml").write_text((recipes / "small.yaml").read_text())
    result = workspace.build()
    lines = result.stdout.splitlines()
    (archive,) = Path("envs").glob("small-*.tar.gz")
    assert lines[0].split() == ["recipe", "archive,", "or", "why", "not"]
    assert lines[1].split() == ["small", "built", str(archive)]
    assert lines[2].startswith("z       refused  ")
    assert lines[2].endswith("pylock.z.toml (envbuilder lock z)")
    assert lines[3] == "2 recipes: 1 built, 1 refused"
    assert result.exit_code == 3
    (first, second) = json.loads(workspace.build("--json").stdout)
    assert (first["recipe"], first["state"], first["archive"]) == ("small", "already there", str(archive))
    assert (second["state"], second["failure"]["exit_code"]) == ("refused", 3)


def test_a_matrix(workspace: Workspace) -> None:
    recipes = workspace.folder / "recipes"
    path = recipes / "small.yaml"
    path.write_text(path.read_text().replace("cuda: cpu", "cuda: [cpu, cu118]"))
    lock = dataclasses.replace(workspace.lock, recipe="small-cpu")
    write_lock(lock, recipes / "pylock.small-cpu.toml")
    result = workspace.build("--matrix")
    lines = result.stdout.splitlines()
    (archive,) = Path("envs").glob("small-cpu-*.tar.gz")
    assert lines[1].split() == ["small-cpu", "built", str(archive)]
    assert lines[2].startswith("small-cu118  refused  ")
    assert "torch 2.13.0" in lines[2]
    assert lines[3] == "2 recipes: 1 built, 1 refused"
    assert result.exit_code == 2
    checked = call("lock", "--check", "--matrix", "--quiet")
    assert checked.stdout.startswith(f"{recipes}/pylock.small-cpu.toml: current, ")
    assert checked.stderr.startswith(f"error: {path}:")
    assert checked.exit_code == 2


def test_build_says_where_what_and_how_large(workspace: Workspace) -> None:
    result = workspace.build()
    assert result.exit_code == 0, result.stderr
    (archive,) = Path("envs").glob("small-*.tar.gz")
    lines = result.stdout.splitlines()
    assert lines[0] == f"{archive}: built"
    assert lines[2].startswith("  sha256 " + archive.name[6:18])
    assert lines[4] == "  4 segments made, 0 kept from before"
    assert [line for line in lines if line.startswith("  left out ")]
    assert result.stderr.splitlines()[0] == "Fetching, assembling and packing 2 wheels"

    again = workspace.build("--quiet")
    assert again.stdout.splitlines()[0] == f"{archive}: already there"
    assert "segments" not in again.stdout
    assert again.stderr == ""


def test_build_in_json_leaves_the_files_to_the_manifest(workspace: Workspace) -> None:
    result = workspace.build("--json", "-o", "out")
    assert result.stderr == ""
    (report,) = json.loads(result.stdout)
    assert Path(report["archive"]).stat().st_size == report["size"]
    assert report["manifest"]["recipe"] == "small"
    assert "files" not in report["manifest"]


def test_build_check_builds_again(workspace: Workspace) -> None:
    result = workspace.build("--check", "-q")
    assert result.stdout.splitlines()[0].endswith(": built, and the same bytes when built again from nothing")


def report_of(*checks: Check) -> Report:
    return Report(
        archive="envs/x.tar.gz",
        sha256="0" * 64,
        size=10,
        unpacked_size=20,
        recipe="x",
        releases=("25.06",),
        isolated=True,
        server=None,
        checks=checks,
        seconds=61.7,
    )


def verified(
    monkeypatch: pytest.MonkeyPatch, report: Report, asked: list[VerifyRequest] | None = None
) -> None:
    """Let every verification end in *report*, and note in *asked* what was asked."""

    def verify(
        archive: Path, session: Session, request: VerifyRequest, *, write: Callable[[Report], None]
    ) -> Report:
        if asked is not None:
            asked.append(request)
        write(report)
        return report

    monkeypatch.setattr("envbuilder.verification.verify.verify", verify)


def test_verify_shows_checks_and_writes_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[VerifyRequest] = []
    good = report_of(Check(id="archive.name", status="passed", found="a" * 200, release="pytriton-0.7.0"))

    verified(monkeypatch, good, asked)
    Path("a.tar.gz").write_text("")
    result = call(
        *("verify", "a.tar.gz", "--release", "25.06", "--release", "26.06", "--no-server", "--model", "m"),
        *("--report", "out/r.json", "--junit", "out/r.xml"),
    )
    assert result.stdout.splitlines() == [
        "check         release         result  found",
        f"archive.name  pytriton-0.7.0  passed  {'a' * 200}",
        "envs/x.tar.gz: 1 passed (62 s)",
    ]
    assert result.exit_code == 0
    (request,) = asked
    assert (request.releases, request.server.ask, request.model) == (("25.06", "26.06"), False, Path("m"))
    assert Path("out/r.json").read_text() == good.json()
    assert Path("out/r.xml").read_text() == good.junit()
    assert call("verify", "a.tar.gz", "--json").stdout == good.json()
    assert asked[-1].server.ask is None


def test_verify_by_a_lock_that_is_not_there() -> None:
    Path("a.tar.gz").write_text("")
    result = call("verify", "a.tar.gz", "--lock", "pylock.x.toml")
    assert result.exit_code == 3
    assert "there is no pylock.x.toml" in result.stderr


def test_verify_that_fails_is_exit_code_7_after_its_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    bad = report_of(
        Check(id="layout.python", status="failed", found="none", fix="add it", release="25.06"),
        Check(id="layout.python", status="failed", found="none", release="26.06"),
        Check(id="probe.model", status="failed", found="no answer"),
    )
    verified(monkeypatch, bad)
    Path("a.tar.gz").write_text("")
    result = call("verify", "a.tar.gz", "--junit", "r.xml")
    assert result.stderr == "error: 3 checks failed: layout.python, probe.model\n"
    assert result.exit_code == 7
    assert Path("r.xml").is_file()
    quiet = call("verify", "a.tar.gz", "--json")
    assert (json.loads(quiet.stdout)["passed"], quiet.exit_code) == (False, 7)


def test_a_report_that_cannot_be_written_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    verified(monkeypatch, report_of())
    Path("a.tar.gz").write_text("")
    result = call("verify", "a.tar.gz", "--report", "a.tar.gz/r.json")
    assert result.stderr == "error: a.tar.gz/r.json cannot be written: File exists\n"
    assert result.exit_code == 2


def test_quickstart_and_doctor_print_what_they_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "quickstart", lambda **_: SimpleNamespace(lines=lambda: ["answer +1.0"]))
    assert call("quickstart").stdout == "answer +1.0\n"
    tables = [("Machine", ("what", "found"), [("GPU", "none")]), ("Recipes", ("recipe",), [])]
    monkeypatch.setattr(api, "doctor", lambda *_, **__: SimpleNamespace(tables=lambda: tables))
    assert call("doctor").stdout == "Machine\nwhat  found\nGPU   none\n\nRecipes\nrecipe\n\n"


def test_size_prints_tables_and_draws(workspace: Workspace) -> None:
    workspace.build("-q")
    (archive,) = Path("envs").glob("small-*.tar.gz")

    result = call("size", archive, "--plot", "a.svg")

    lines = result.stdout.splitlines()
    assert lines[0].split() == ["package", "packed", "share", "unpacked", "files"]
    assert {"alpha", "beta", "(interpreter)", "total"} <= {line.split()[0] for line in lines if line}
    assert lines[-1] == "drawn: a.svg"
    assert Path("a.svg").is_file()
    assert not [line for line in lines if line.endswith(" ")]
    assert result.stderr.startswith(f"Reading {archive.name}: ")

    listed = json.loads(call("size", archive, "--json").stdout)
    assert listed["packed"] == archive.stat().st_size == sum(cell["packed"] for cell in listed["cells"])


def test_size_of_what_is_no_archive_is_exit_code_5() -> None:
    Path("a.tar.gz").write_text("no archive")
    result = call("size", "a.tar.gz")
    assert result.stderr.splitlines()[-2:] == [
        "error: a.tar.gz cannot be read to its end: truncated header (at its first header)",
        "  hint: an archive is a tar, plain or in gzip, as `envbuilder build` writes it",
    ]
    assert (result.stdout, result.exit_code) == ("", 5)


def test_deploy_passes_its_options_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: dict[str, Any] = {}

    def deploy(archive: Path, model: Path, repository: str, options: DeployOptions, **others: Any) -> object:
        asked.update(others, archive=archive, model=model, repository=repository, options=options)
        return SimpleNamespace(lines=lambda: ["one", "two"])

    monkeypatch.setattr(api, "deploy", deploy)
    Path("a.tar.gz").write_text("")
    result = call("deploy", "a.tar.gz", "m", "--repository", "r", "--layout", "shared", "--shared", "s", "-q")
    assert (result.stdout, result.stderr) == ("one\ntwo\n", "")
    del asked["session"]
    assert asked == {
        "archive": Path("a.tar.gz"),
        "model": Path("m"),
        "repository": "r",
        "options": DeployOptions(layout="shared", shared=Path("s")),
        "precompile": False,
        "complete": False,
    }


def test_store_info_prune_and_clear(workspace: Workspace) -> None:
    empty = call("store", "info")
    assert empty.stdout == f"{workspace.folder}/store, limit 42.95 GB\nkind  entries  size\n"
    workspace.build("-q")

    lines = call("store", "info").stdout.splitlines()
    assert [line.split()[0] for line in lines[1:]] == [
        "kind",
        *sorted({entry.kind for entry in Store.open().entries()}),
        "total",
    ]
    listed = json.loads(call("store", "info", "--json").stdout)
    count, freed = len(listed["entries"]), sum(entry["size"] for entry in listed["entries"])

    assert call("store", "prune", "--limit", "1G").stdout == "evicted 0 entries, 0 B\n"
    cleared = json.loads(call("store", "clear", "--json").stdout)
    assert (len(cleared["evicted"]), cleared["freed"]) == (count, freed)
    assert Store.open().entries() == []


# -- signals ---------------------------------------------------------------------------------------

_WAITING = """
import sys, time
from envbuilder import api, cli

def wait(names):
    try:
        print("waiting", flush=True)
        time.sleep(60)
    finally:
        print("cleaned up", flush=True)

api.load_recipes = wait
cli.main()
"""


@pytest.mark.parametrize(
    ("number", "code", "said"), [(signal.SIGINT, 130, "interrupted\n"), (signal.SIGTERM, 143, "terminated\n")]
)
def test_a_signal_cleans_up_and_says_so(number: signal.Signals, code: int, said: str) -> None:
    process = start("build", code=_WAITING)
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert (out, err, process.returncode) == ("cleaned up\n", said, code)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_build_that_is_stopped_leaves_nothing_half_made(
    workspace: Workspace, number: signal.Signals
) -> None:
    process = start("build", "--find-links", workspace.folder / "wheels")
    assert process.stderr is not None
    assert process.stderr.readline() == "Fetching, assembling and packing 2 wheels\n"
    process.send_signal(number)
    said = process.communicate(timeout=60)[1].splitlines()

    assert process.returncode == 128 + number
    assert said[-1] == ("interrupted" if number == signal.SIGINT else "terminated")
    assert not [line for line in said if "Traceback" in line]
    assert [path for folder in ("envs", "store/tmp") for path in Path(folder).glob("*")] == []
    assert workspace.build("-q").exit_code == 0


def test_a_reader_that_goes_away_is_no_traceback(workspace: Workspace) -> None:
    workspace.build("-q")
    with start("store", "info", "--json") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        said = process.stderr.read()
    assert "Traceback" not in said
    assert process.returncode == 1


def test_results_go_to_stdout_and_nothing_else_does(workspace: Workspace) -> None:
    process = start("build", "--find-links", workspace.folder / "wheels", "--json")
    out, err = process.communicate(timeout=120)
    assert (json.loads(out)[0]["manifest"]["recipe"], err, process.returncode) == ("small", "", 0)
