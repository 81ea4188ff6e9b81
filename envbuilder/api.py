"""The verbs of the command line as functions: settings and store found as the command line finds them.

Each verb imports its own stage, so that ``envbuilder store info`` does not wait for what only ``verify`` needs.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from envbuilder.deployment.options import DeployOptions
from envbuilder.errors import DeployError, EnvbuilderError, IntegrityError, RecipeError
from envbuilder.lockfile.pylock import read_lock
from envbuilder.progress import SILENT, Reporter
from envbuilder.recipe.load import find_recipe, load_recipe, template
from envbuilder.recipe.matrix import Cell
from envbuilder.recipe.model import Recipe, VerifyOptions
from envbuilder.recipe.schema import SCHEMA_FILE, schema_text
from envbuilder.store.local import Store
from envbuilder.store.session import Session

if TYPE_CHECKING:
    from envbuilder.bench.start import Starts
    from envbuilder.building.record import BuildReport
    from envbuilder.compare.diff import Difference
    from envbuilder.deployment.compiled import Compiled
    from envbuilder.deployment.layout import Deployment
    from envbuilder.deployment.object_store import ObjectDeployment
    from envbuilder.doctor.diagnose import Diagnosis
    from envbuilder.fleet.build_many import FleetOptions, Outcome
    from envbuilder.inventory.audit import Audit
    from envbuilder.inventory.policy import Judgement, Policy
    from envbuilder.inventory.sizes import Sizes
    from envbuilder.quickstart import Quickstart
    from envbuilder.recipe.importing.convert import Import
    from envbuilder.resolve.lock import LockResult
    from envbuilder.signing.verifier import Verifier
    from envbuilder.transfer.aliases import Alias
    from envbuilder.transfer.archives import Transfer
    from envbuilder.verification.report import Report


def load_recipes(names: Sequence[str], root: Path | None = None) -> list[Recipe]:
    """Load the recipes *names*: names in ``recipes/`` of *root* (default: the current folder), or paths; none
    means all.

    Raises:
        RecipeError: one is not there or cannot be understood, or there is none at all.
    """
    root = root or Path.cwd()
    if names:
        return [find_recipe(name, root) for name in names]
    found = sorted((root / "recipes").glob("*.yaml"))
    if not found:
        raise RecipeError(
            f"no recipes in {root / 'recipes'}", hint="`envbuilder init NAME` writes one to start from"
        )
    return [load_recipe(path) for path in found]


def init(
    name: str,
    *,
    triton: str | None = None,
    torch: str | None = None,
    cuda: str | None = None,
    root: Path | None = None,
) -> Path:
    """Write a recipe to start from, and return its path: ``recipes/NAME.yaml``, or NAME where it is a path.

    The schema for editors goes beside it.

    Raises:
        RecipeError: there is one already, or the values make no possible recipe.
    """
    path = _recipe_path(name, root)
    _write_recipe(path, template(path.stem, triton=triton, torch=torch, cuda=cuda))
    return path


def _recipe_path(name: str, root: Path | None) -> Path:
    return (
        Path(name) if name.endswith((".yaml", ".yml")) else (root or Path.cwd()) / "recipes" / f"{name}.yaml"
    )


def _write_recipe(path: Path, text: str) -> None:
    """Write a recipe that is not there yet, and the schema for editors beside it; what cannot be loaded goes again.

    Raises:
        RecipeError: there is one already, or it is no possible recipe.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x") as file:
            file.write(text)
    except OSError as error:
        if path.exists():
            raise RecipeError(f"{path} is there already", hint="choose another name, or edit it") from None
        raise RecipeError(f"{path} cannot be written: {error.strerror}") from error
    try:
        load_recipe(path)
    except RecipeError as error:
        path.unlink()
        # It was said on the command line, not in the file, which is gone.
        said = re.sub(rf"^{re.escape(str(path))}(:\d+)?: ", "", error.message)
        raise RecipeError(said, hint=error.hint) from error
    (path.parent / SCHEMA_FILE).write_text(schema_text())  # what the recipe's first line tells editors


def import_recipe(
    environment: Path,
    name: str | None = None,
    *,
    triton: str | None = None,
    torch: str | None = None,
    cuda: str | None = None,
    python: str | None = None,
    root: Path | None = None,
) -> Import:
    """Make a recipe of the conda environment file *environment*: ``recipes/NAME.yaml``, or NAME where it is a path.

    What is not None counts instead of what the file says. See :mod:`envbuilder.recipe.importing.convert`.

    Raises:
        RecipeError: the file is none, there is such a recipe already, or its values make no possible recipe.
        ResolveError: py-rattler, which reads match specs, is not installed.
    """
    from envbuilder.recipe.importing.convert import Import, make_recipe, recipe_name
    from envbuilder.recipe.importing.environment_yml import read_environment

    found = read_environment(environment)
    path = _recipe_path(name or recipe_name(found), root)
    made = make_recipe(found, path.absolute().parent, triton=triton, torch=torch, cuda=cuda, python=python)
    _write_recipe(path, made.text)
    return Import(recipe=path, remarks=made.remarks)


def lock(
    recipe: Recipe,
    *,
    check: bool = False,
    resolve: bool = False,
    upgrade: bool = False,
    upgrade_packages: Sequence[str] = (),
    fetch: bool = False,
    session: Session | None = None,
) -> LockResult:
    """Lock a recipe, see :func:`envbuilder.resolve.lock.lock_recipe`."""
    from envbuilder.resolve.lock import lock_recipe

    return lock_recipe(
        recipe,
        _at(recipe.path.parent, session),
        check=check,
        resolve=resolve,
        upgrade=upgrade,
        upgrade_packages=upgrade_packages,
        fetch=fetch,
    )


def build(
    recipe: Recipe,
    *,
    output: Path = Path("envs"),
    check: bool = False,
    interpreter_change: bool = False,
    threads: int | None = None,
    session: Session | None = None,
) -> BuildReport:
    """Build the archive of a recipe's lock, see :func:`envbuilder.building.build.build`; with *check* build it again.

    Raises:
        StaleLockError: the lock is not the recipe's.
        IntegrityError: with *check*: built again from nothing, the bytes are others.
    """
    from envbuilder.building.build import build as build_archive
    from envbuilder.lockfile.check import check_lock

    locked = check_lock(recipe)
    session = _beside(recipe, session)

    def make(output: Path, session: Session) -> BuildReport:
        return build_archive(
            recipe, locked, session, output=output, interpreter_change=interpreter_change, threads=threads
        )

    report = make(output, session)
    if check:
        session.reporter.step("Building again from nothing, to compare")
        with session.store.scratch("check") as scratch:
            fresh = replace(session, store=_artifacts_only(session.store, scratch / "store"))
            again = make(scratch / "envs", fresh)
            if again.sha256 != report.sha256:
                raise IntegrityError(
                    f"{report.archive}: sha256 {report.sha256}, built again from nothing {again.sha256}",
                    hint="`envbuilder store clear` and build again; if that differs too, please report it",
                )
    return report


def build_many(
    recipes: Sequence[Recipe | Cell],
    *,
    output: Path = Path("envs"),
    options: FleetOptions | None = None,
    session: Session | None = None,
) -> list[Outcome]:
    """Build many recipes, see :func:`envbuilder.fleet.build_many.build_many`; what goes wrong with one is its outcome.

    Raises:
        RecipeError, ClusterError: see there.
    """
    from envbuilder.fleet.build_many import FleetOptions, refused
    from envbuilder.fleet.build_many import build_many as build_all
    from envbuilder.fleet.plan import Job
    from envbuilder.lockfile.check import check_lock

    session = session or Session.open()
    jobs, outcomes = [], {}
    for one in recipes:
        try:
            recipe = one.get() if isinstance(one, Cell) else one
            lock = check_lock(recipe)
            jobs.append(Job(recipe=recipe, lock=lock, settings=_beside(recipe, session).settings))
        except EnvbuilderError as error:
            outcomes[one.name] = refused(one.name, error)
    made = build_all(
        jobs,
        output=output,
        options=options or FleetOptions(),
        reporter=session.reporter,
    )
    outcomes |= {outcome.recipe: outcome for outcome in made}
    return [outcomes[one.name] for one in recipes]


def verify(
    archive: Path,
    *,
    model: Path | None = None,
    releases: Sequence[str] = (),
    server: bool | Path | None = None,
    provenance: Path | Verifier | None = None,
    lock: Path | None = None,
    session: Session | None = None,
) -> Report:
    """Verify an archive, see :func:`envbuilder.verification.verify.verify`.

    What is not said is taken from ``verify:`` of the archive's recipe, where that is in ``recipes/`` of the current
    folder and is still the one that the archive was built of. *provenance* is the public key, or the certificate, of
    whoever must have signed it (:func:`envbuilder.signing.verifier.load_verifier` also takes the name that the signer's
    certificate must have); *lock* is the lock that it must have been built from.
    """
    from envbuilder.signing.verifier import load_verifier
    from envbuilder.verification.verify import VerifyRequest
    from envbuilder.verification.verify import verify as verify_archive

    session = _at(Path.cwd(), session, remote=False)
    trusted = load_verifier(provenance) if isinstance(provenance, Path) else provenance
    options = _verify_options(archive, session.reporter)
    request = VerifyRequest(
        model=model or options.model,
        compile=options.compile if model is None else {},
        releases=tuple(releases),
        server=False if server is None and not options.server else server,
        lock=None if lock is None else read_lock(lock),
        trusted=trusted,
        options=options,
    )
    return verify_archive(archive, session, request)


def _verify_options(archive: Path, reporter: Reporter) -> VerifyOptions:
    """Return what the recipe of *archive* says of its verification; the defaults where it is not at hand."""
    from envbuilder.archive.manifest import manifest_beside, read_manifest

    try:
        manifest = read_manifest(manifest_beside(archive))
    except (OSError, IntegrityError):
        return VerifyOptions()  # verification itself says what is wrong with it
    path = Path.cwd() / "recipes" / f"{manifest.recipe}.yaml"
    if not path.is_file():
        return VerifyOptions()
    recipe = load_recipe(path)
    if recipe.digest() != manifest.recipe_digest:
        reporter.note(f"{path} changed since {archive.name} was built of it: its verify: is not used")
        return VerifyOptions()
    return recipe.verify


def push(
    what: Recipe | Path,
    *,
    output: Path = Path("envs"),
    interpreter_change: bool = False,
    reports: Sequence[Path] = (),
    session: Session | None = None,
) -> Transfer:
    """Upload an archive to the store elsewhere; of a recipe, which is built where it is not, all that it is made of.

    See :func:`envbuilder.transfer.push_pull.push_archive` and :func:`~envbuilder.transfer.push_pull.push_build`.

    Raises:
        RecipeError: no store is named.
        StaleLockError: the lock is not the recipe's.
    """
    from envbuilder.transfer.push_pull import push_archive, push_build

    if isinstance(what, Path):
        return push_archive(what, _at(Path.cwd(), session), reports=reports)
    from envbuilder.building.build import build as build_archive
    from envbuilder.lockfile.check import check_lock

    session = _beside(what, session)
    session.remote_store()  # asked for before a build of an hour, not after it
    locked = check_lock(what)
    report = build_archive(what, locked, session, output=output, interpreter_change=interpreter_change)
    return push_build(what, locked, report, session, interpreter_change=interpreter_change, reports=reports)


def pull(name: str, *, output: Path = Path("envs"), session: Session | None = None) -> Transfer:
    """Bring an archive from the store elsewhere: by its name, its digest, an alias, or the recipe that it is built of.

    Raises:
        RecipeError: no store is named, or there is no such recipe.
        StaleLockError: the lock is not the recipe's.
        StoreError, IntegrityError: see :func:`envbuilder.transfer.push_pull.pull_build`.
    """
    from envbuilder.lockfile.check import check_lock
    from envbuilder.transfer.push_pull import names_an_archive, pull_archive, pull_build

    if names_an_archive(name):
        return pull_archive(name, _at(Path.cwd(), session), output)
    recipe = find_recipe(name, Path.cwd())
    return pull_build(recipe, check_lock(recipe), _at(recipe.path.parent, session), output)


def alias(
    name: str, archive: str | None = None, *, back: bool = False, session: Session | None = None
) -> Alias:
    """Return the alias *name* (``resnet:stable``); point it to *archive* first, or with *back* to the one before.

    Raises:
        RecipeError: no store is named, or the alias points to nothing before.
        StoreError, IntegrityError: see :func:`envbuilder.transfer.aliases.move_alias`.
    """
    from envbuilder.transfer.aliases import move_alias, read_alias
    from envbuilder.transfer.push_pull import resolve

    session = _at(Path.cwd(), session)
    store, remote = session.store, session.remote_store()
    found = read_alias(name, remote)
    if back:
        if found.before is None:
            raise RecipeError(
                f"{name} pointed to nothing before", hint=f"envbuilder alias {name} ARCHIVE sets it"
            )
        return move_alias(found, found.before, store, remote)
    return found if archive is None else move_alias(found, resolve(archive, remote), store, remote)


def size(archive: Path, *, reporter: Reporter = SILENT) -> Sizes:
    """Say where the bytes of an archive are, see :func:`envbuilder.inventory.sizes.measure`."""
    from envbuilder.inventory.sizes import measure

    return measure(archive, reporter=reporter)


def plot_sizes(sizes: Sizes, path: Path) -> None:
    """Draw sizes, see :func:`envbuilder.inventory.treemap.plot`."""
    from envbuilder.inventory.treemap import plot

    plot(sizes, path)


def sbom(archive: Path, *, reporter: Reporter = SILENT) -> str:
    """Return the CycloneDX document of an archive, see :func:`envbuilder.inventory.sbom.sbom`."""
    from envbuilder.inventory.components import take_inventory
    from envbuilder.inventory.sbom import sbom as document

    return document(take_inventory(archive, reporter=reporter))


def licences(archive: Path, policy: Policy, *, reporter: Reporter = SILENT) -> tuple[Judgement, ...]:
    """Say which licences are in an archive, and which of them *policy* refuses.

    See :func:`envbuilder.inventory.policy.judge`.
    """
    from envbuilder.inventory.components import take_inventory
    from envbuilder.inventory.policy import judge

    return judge(take_inventory(archive, reporter=reporter).components, policy)


def audit(
    archive: Path, advisories: Path, *, ignore: Sequence[str] = (), reporter: Reporter = SILENT
) -> Audit:
    """Say what is known against what is in an archive, see :func:`envbuilder.inventory.audit.audit`."""
    from envbuilder.inventory.audit import audit as audit_inventory
    from envbuilder.inventory.components import take_inventory

    return audit_inventory(take_inventory(archive, reporter=reporter), advisories, ignore=ignore)


def attest(
    archive: Path,
    *,
    key: Path | None = None,
    certificate: Path | None = None,
    report: Path | None = None,
    builder: str | None = None,
    reporter: Reporter = SILENT,
) -> Path:
    """State of what an archive was made, beside it, and return the file: signed with *key*, or for cosign to sign.

    Raises:
        RecipeError: the key or the certificate cannot be used, or the file cannot be written.
        IntegrityError: the archive cannot be read, or *report* is of another one.
    """
    from envbuilder.inventory.components import take_inventory
    from envbuilder.provenance.envelope import provenance_beside, seal, statement_beside
    from envbuilder.provenance.statement import make_statement, statement_text
    from envbuilder.signing.keys import load_signer
    from envbuilder.signing.verifier import load_certificates
    from envbuilder.util.files import write_whole

    signer = None if key is None else load_signer(key)
    certified = "" if certificate is None else load_certificates(certificate, signer)
    inventory = take_inventory(archive, reporter=reporter)
    text = statement_text(make_statement(inventory, report=report, builder=builder))
    path = statement_beside(archive) if signer is None else provenance_beside(archive)
    try:
        write_whole(path, (text if signer is None else seal(text, signer, certified)).encode())
    except OSError as error:
        raise RecipeError(f"{path} cannot be written: {error.strerror}") from error
    return path


def diff(before: str, after: str, *, root: Path | None = None, reporter: Reporter = SILENT) -> Difference:
    """Say what changed between two recipes, locks or archives, see :func:`envbuilder.compare.sides.read_side`."""
    from envbuilder.compare.diff import compare
    from envbuilder.compare.sides import read_side

    root = root or Path.cwd()
    return compare(read_side(before, root, reporter=reporter), read_side(after, root, reporter=reporter))


def deploy(
    archive: Path,
    model: Path,
    repository: Path | str,
    options: DeployOptions = DeployOptions(),
    *,
    precompile: bool = False,
    complete: bool = False,
    session: Session | None = None,
) -> Deployment | ObjectDeployment:
    """Deploy a model with an archive into a folder, or into an object store where *repository* is an address.

    See :func:`envbuilder.deployment.layout.deploy` and
    :func:`envbuilder.deployment.object_store.deploy_to_objects` for *options*.
    With *complete* the configuration is filled from the model itself, see
    :func:`envbuilder.aot.complete_config.complete_model`; with *precompile* the model is compiled ahead of time, see
    :func:`envbuilder.aot.precompile.precompile`.
    """
    from envbuilder.deployment.layout import deploy as deploy_archive
    from envbuilder.deployment.object_store import check_options, deploy_to_objects

    session = session or Session.open()
    address = str(repository)
    if "://" in address and not address.startswith("file://"):
        check_options(address, options)
        if precompile or complete:
            raise DeployError(
                f"{address}: what is compiled or completed is put into a folder",
                hint="deploy into a folder first, and copy that",
            )
        timeout = session.at(Path.cwd(), remote=False).settings.timeout
        return deploy_to_objects(archive, model, address, options, timeout=timeout, reporter=session.reporter)
    folder = Path(address.removeprefix("file://"))
    reporter = session.reporter
    if not precompile and not complete:
        return deploy_archive(archive, model, folder, options, reporter=reporter)
    from envbuilder.aot.complete_config import complete_model
    from envbuilder.aot.precompile import precompile as compile_ahead
    from envbuilder.archive.names import read_archive
    from envbuilder.deployment.layout import model_folder

    with session.store.scratch("compile") as scratch:
        present = model_folder(model, folder, options.name)
        compiled: tuple[Compiled, ...] = ()
        if complete:
            (scratch / "complete").mkdir()
            manifest, _ = read_archive(archive)
            model = complete_model(archive, manifest, model, scratch / "complete", reporter=reporter)
        if precompile:
            (scratch / "compile").mkdir()
            compiled = compile_ahead(archive, model, scratch / "compile", present=present, reporter=reporter)
        return deploy_archive(archive, model, folder, options, compiled=compiled, reporter=reporter)


def compile_model(
    model: Path,
    *,
    environment: Path | None = None,
    session: Session | None = None,
) -> tuple[Compiled, ...]:
    """Compile a deployed model ahead of time, see :func:`envbuilder.aot.precompile.precompile`, and put that beside it.

    Args:
        model: its folder in a repository.
        environment: its archive, or the folder that one is unpacked into; default: what config.pbtxt names.

    Raises:
        DeployError: the model or its environment cannot be used.
    """
    from envbuilder.aot.precompile import precompile
    from envbuilder.deployment.environments import environment_of
    from envbuilder.deployment.layout import add_compiled

    chosen = environment or environment_of(model)
    session = session or Session.open()
    with session.store.scratch("compile") as scratch:
        compiled = precompile(chosen, model, scratch, present=model, reporter=session.reporter)
        add_compiled(model, compiled, session.reporter)
        return tuple(
            dataclasses.replace(one, file=one.file and model / one.version / one.file.name)
            for one in compiled
        )


def bench_start(
    archive: Path,
    models: Sequence[Path] = (),
    *,
    uncompiled: bool = True,
    rounds: int = 2,
    tritonserver: Path | None = None,
    session: Session | None = None,
) -> Starts:
    """Measure how fast servers start, see :func:`envbuilder.bench.start.measure_starts`; without *models* samples."""
    from envbuilder.bench.start import measure_starts
    from envbuilder.util.resources import sample_models
    from envbuilder.verification.server.tritonserver import find_server

    session = _at(Path.cwd(), session, remote=False)
    server = find_server(tritonserver, session)
    with session.store.scratch("bench") as scratch:
        return measure_starts(
            archive.absolute(),
            [model.absolute() for model in models] or sample_models(),
            scratch,
            server=server,
            uncompiled=uncompiled,
            rounds=rounds,
            reporter=session.reporter,
        )


def plot_starts(starts: Starts, path: Path) -> None:
    """Draw starts, see :func:`envbuilder.bench.chart.plot_starts`."""
    from envbuilder.bench.chart import plot_starts as plot

    plot(starts, path)


def quickstart(*, keep: Path | None = None, session: Session | None = None) -> Quickstart:
    """Go the whole way on an embedded default, see :func:`envbuilder.quickstart.quickstart`."""
    from envbuilder.quickstart import quickstart as run_quickstart

    return run_quickstart(session or Session.open(), keep=keep)


def doctor(recipes: Sequence[str] = (), *, session: Session | None = None) -> Diagnosis:
    """Say what this machine can do, see :func:`envbuilder.doctor.diagnose.doctor`."""
    from envbuilder.doctor.diagnose import doctor as diagnose

    folder = Path.cwd()
    loaded = load_recipes(recipes) if recipes or (folder / "recipes").is_dir() else []
    return diagnose(loaded, _at(folder, session, remote=False))


def _at(folder: Path, session: Session | None, *, remote: bool = True) -> Session:
    """Return the session for work in *folder*; without one, as the command line opens it."""
    return (session or Session.open()).at(folder, remote=remote)


def _beside(recipe: Recipe, session: Session | None) -> Session:
    """Return the session for the recipe's folder; the wheelhouse beside the lock counts as given."""
    from envbuilder.lockfile.check import with_wheelhouse

    session = _at(recipe.path.parent, session)
    return replace(session, settings=with_wheelhouse(recipe, session.settings))


def _artifacts_only(store: Store, root: Path) -> Store:
    """Return a store at *root* that has the artifacts of *store*, each read again, and nothing else."""
    made = Store(root=root, limit=None)
    for entry in store.entries():
        if entry.kind == "artifacts" and store.check_artifact(entry.key):
            place = made.entry_path("artifacts", entry.key)
            place.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(entry.paths[0], place)
            except OSError:  # another file system, or another user's file
                shutil.copyfile(entry.paths[0], place)
    return made
