"""Deployments: ``deploy``, ``quickstart`` and ``doctor``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from envbuilder.cli.options import (
    archive_argument,
    open_session,
    recipes_argument,
    shared_options,
    sources_option,
)
from envbuilder.cli.output import out, suggest
from envbuilder.cli.tables import show_table


@click.command()
@archive_argument
@click.argument("model_dir", type=click.Path(path_type=Path))
@click.option(
    "--repository",
    required=True,
    metavar="DIR|URL",
    help="The model repository: a directory, created if missing, or an object store (s3://bucket/folder).",
)
@click.option(
    "--layout",
    metavar="model|shared|backend|image|NAME",
    default="model",
    show_default=True,
    help="Where to put the environment: in the model's folder, in a folder shared by many models, in a Python-based "
    "backend together with the runtime, in an image that the cluster mounts, or as the plugin of that name defines.",
)
@click.option(
    "--unpacked",
    is_flag=True,
    help="Deploy a directory instead of an archive, so that the server extracts nothing at start.",
)
@click.option(
    "--store",
    "pool",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="The directory in which unpacked environments share files. Default: environments, next to the repository.",
)
@click.option("--name", help="The model's name. Default: the directory's name.")
@click.option(
    "--shared",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="The directory for --layout shared. Default: environments, next to the repository.",
)
@click.option("--shared-as", metavar="PATH", help="The path of that directory as the server sees it.")
@click.option(
    "--backends", type=click.Path(path_type=Path), metavar="DIR", help="The directory for --layout backend."
)
@click.option("--backend", metavar="NAME", help="The backend's name.")
@click.option(
    "--image",
    metavar="oci://HOST/REPOSITORY[:TAG][@DIGEST]",
    help="The image for --layout image. A tag is resolved to its digest, which is what gets written.",
)
@click.option("--mounted-at", metavar="PATH", help="The path where the server sees that image: /envs/NAME.")
@click.option(
    "--manifests",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="The folder for the Pod and InferenceService of --layout image. Default: kubernetes, next to the repository.",
)
@click.option(
    "--prune",
    is_flag=True,
    help="Delete environments that were placed by deployments and are no longer referenced by any model.",
)
@click.option(
    "--replace",
    is_flag=True,
    help="Also replace an EXECUTION_ENV_PATH, and overwrite or delete files in the model's directory, that no "
    "deployment wrote.",
)
@click.option("--dry-run", is_flag=True, help="Show what would be deployed and deleted; write nothing.")
@click.option(
    "--precompile",
    is_flag=True,
    help="Compile the model ahead of time for this kind of machine, so that the server needs no compiler.",
)
@click.option(
    "--complete",
    is_flag=True,
    help="Complete config.pbtxt (outputs, instance_group; inputs of a model.pt2) from the model itself.",
)
@shared_options
def deploy(
    archive: Path,
    model_dir: Path,
    repository: str,
    precompile: bool,
    complete: bool,
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Put a model, an archive and the runtime into a repository.

    MODEL_DIR is a Triton model directory: config.pbtxt and version folders with model.py, model.pt, model.safetensors
    or model.pt2. It is only read. In the repository, config.pbtxt keeps its comments and order, and the settings for
    the environment are added. A server that polls the repository never sees a partial model; deploying twice changes
    nothing. An object store has no such guarantee: there the archive is written first and config.pbtxt last.
    """
    from envbuilder import api
    from envbuilder.deployment.options import DeployOptions

    session = open_session(quiet=quiet or as_json)
    deployment = api.deploy(
        archive,
        model_dir,
        repository,
        DeployOptions(**options),
        precompile=precompile,
        complete=complete,
        session=session,
    )
    if as_json:
        out(deployment, True)
    else:
        for line in deployment.lines():
            click.echo(line)
    if not (options["dry_run"] or getattr(deployment, "is_for_a_container", False)):
        place = repository if "://" in repository else Path(repository).absolute()
        suggest("tritonserver", "--model-repository", place, quiet=quiet or as_json)


@click.command("compile")
@click.argument("model", type=click.Path(path_type=Path), metavar="REPOSITORY/MODEL")
@click.option(
    "--environment",
    type=click.Path(path_type=Path, exists=True),
    metavar="PATH",
    help="Its archive, or the unpacked directory. Default: the one in its config.pbtxt.",
)
@shared_options
def compile_model(model: Path, environment: Path | None, as_json: bool, quiet: bool) -> None:
    """Compile a deployed model ahead of time.

    Inside its environment, launched the way its release would, each version is exported with its batch and every -1
    dim dynamic, compiled by AOTInductor, and compared with eager over a range of sizes. If the outputs match, the
    package is written next to the model's file atomically: compatible servers (torch, CUDA, device, model,
    configuration) load it and need no compiler. If a model cannot be exported, the reason is printed and Inductor's
    caches are written instead.
    """
    from envbuilder import api

    compiled = api.compile_model(model, environment=environment, session=open_session(quiet=quiet or as_json))
    if as_json:
        out(compiled, True)
        return
    for one in compiled:
        click.echo(f"{model.name}: {one.line()}")


@click.command()
@click.option(
    "--keep",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Keep the results in this directory. Default: remove them at the end.",
)
@sources_option
@shared_options
def quickstart(keep: Path | None, find_links: Sequence[str], as_json: bool, quiet: bool) -> None:
    """Run the whole pipeline once, on a sample model.

    Builds and verifies the bundled recipe `cpu`, deploys a small model with it, starts a real tritonserver, sends it
    a request, and prints the response.
    """
    from envbuilder import api

    made = api.quickstart(keep=keep, session=open_session(quiet=quiet or as_json, find_links=find_links))
    if as_json:
        out(made, True)
    else:
        for line in made.lines():
            click.echo(line)


@click.command()
@recipes_argument
@sources_option
@shared_options
def doctor(recipes: Sequence[str], find_links: Sequence[str], as_json: bool, quiet: bool) -> None:
    """Diagnose this machine: what it can do and what is missing.

    Interpreters, compilers, server, GPU and driver, free disk space, package indexes; and whether this machine can
    lock, build and verify each RECIPE (a name in recipes/ or a path; default: all).
    """
    from envbuilder import api

    diagnosis = api.doctor(recipes, session=open_session(quiet=quiet or as_json, find_links=find_links))
    if as_json:
        out(diagnosis, True)
        return
    for title, headings, rows in diagnosis.tables():
        click.echo(title)
        show_table(headings, rows)
        click.echo()
    if not diagnosis.recipes:
        release = ("--triton", "RELEASE", "--torch", "VERSION", "--cuda", "CUDA")
        suggest("envbuilder", "init", "NAME", *release, quiet=quiet)
