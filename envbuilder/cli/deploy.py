"""Deployments: ``deploy``, ``quickstart`` and ``doctor``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from envbuilder import api
from envbuilder.cli.options import (
    archive_argument,
    open_session,
    recipes_argument,
    shared_options,
    sources_option,
)
from envbuilder.cli.output import out
from envbuilder.cli.terminal import show_table
from envbuilder.deployment.options import DeployOptions


@click.command()
@archive_argument
@click.argument("model_dir", type=click.Path(path_type=Path))
@click.option(
    "--repository",
    required=True,
    metavar="DIR|URL",
    help="The model repository: a folder, which is made if it is not there, or an object store (s3://bucket/folder).",
)
@click.option(
    "--layout",
    metavar="model|shared|backend|NAME",
    default="model",
    show_default=True,
    help="Where the environment goes: into the model's folder, into one folder for many models, with the runtime into "
    "a Python-based backend, or as a plugin of that name does it.",
)
@click.option("--unpacked", is_flag=True, help="A folder instead of an archive: nothing to extract at start.")
@click.option(
    "--store",
    "pool",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="The folder that unpacked environments share their files with. Default: environments beside the repository.",
)
@click.option("--name", help="The model's name, where it is not the directory's.")
@click.option(
    "--shared",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="The folder of --layout shared. Default: environments beside the repository.",
)
@click.option("--shared-as", metavar="PATH", help="What the server calls that folder.")
@click.option(
    "--backends", type=click.Path(path_type=Path), metavar="DIR", help="The folder of --layout backend."
)
@click.option("--backend", metavar="NAME", help="The backend's name.")
@click.option(
    "--prune",
    is_flag=True,
    help="Delete environments that deployments placed and no model names any more.",
)
@click.option(
    "--replace",
    is_flag=True,
    help="Replace an EXECUTION_ENV_PATH, and delete files in the model's folder, that no deployment put there.",
)
@click.option("--dry-run", is_flag=True, help="Print what would be deployed and deleted, and write nothing.")
@click.option(
    "--precompile",
    is_flag=True,
    help="Compile the model now, on this kind of machine: the server starts without a compiler.",
)
@click.option(
    "--complete",
    is_flag=True,
    help="Fill what config.pbtxt lacks (outputs, instance_group; inputs of a model.pt2) from the model itself.",
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

    MODEL_DIR is a model directory as Triton has it: config.pbtxt and version folders with model.py, model.pt,
    model.safetensors or model.pt2. It is only read. In the repository, config.pbtxt keeps its comments and order and
    gets what the environment needs. A server that polls the repository never sees half a model; deploying twice
    changes nothing. On an object store, where a server that polls may, the archive goes first and config.pbtxt last.
    """
    deployment = api.deploy(
        archive,
        model_dir,
        repository,
        DeployOptions(**options),
        precompile=precompile,
        complete=complete,
        session=open_session(quiet=quiet or as_json),
    )
    if as_json:
        out(deployment, True)
    else:
        for line in deployment.lines():
            click.echo(line)


@click.command("compile")
@click.argument("model", type=click.Path(path_type=Path), metavar="REPOSITORY/MODEL")
@click.option(
    "--environment",
    type=click.Path(path_type=Path, exists=True),
    metavar="PATH",
    help="Its archive, or the unpacked folder. Default: what its config.pbtxt names.",
)
@shared_options
def compile_model(model: Path, environment: Path | None, as_json: bool, quiet: bool) -> None:
    """Compile a deployed model ahead of time.

    Inside its environment, as its release would launch it, each version is exported with its batch and every dim of
    -1 dynamic, compiled by AOTInductor, and compared with eager over a sweep of sizes. What is right is put beside
    the model's file, in one step: servers that fit (torch, CUDA, device, model, configuration) answer from it without
    a compiler. Where a model cannot be exported, the reason is told, and Inductor's caches are put there.
    """
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
    help="Keep what it makes in this folder. Default: it is removed at the end.",
)
@sources_option
@shared_options
def quickstart(keep: Path | None, find_links: Sequence[str], as_json: bool, quiet: bool) -> None:
    """Do all of it once, on a sample model.

    Builds and verifies the recipe `cpu` that comes with the tool, deploys a small model with it, starts a real
    tritonserver, asks it, and prints the answer.
    """
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
    """Say what this machine can do, and what is missing.

    Interpreters, compilers, server, GPU and driver, free disk, package indexes; and of each RECIPE (a name in
    recipes/ or a path; none means all) whether this machine can lock, build and verify it.
    """
    diagnosis = api.doctor(recipes, session=open_session(quiet=quiet or as_json, find_links=find_links))
    if as_json:
        out(diagnosis, True)
        return
    for title, headings, rows in diagnosis.tables():
        click.echo(title)
        show_table(headings, rows)
        click.echo()
