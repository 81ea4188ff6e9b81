"""``envbuilder patch --rollback``: the last patch taken back."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from envbuilder.errors import EnvbuilderError, IntegrityError, RecipeError
from envbuilder.fleet.patching.journal import NAME, Entry, Patched, read_journal, write_journal
from envbuilder.fleet.patching.patch import PatchOptions, deploy_again
from envbuilder.fleet.patching.rows import PatchedRecipe, label
from envbuilder.store.session import Session
from envbuilder.transfer.aliases import aliases_of, move_alias
from envbuilder.util.files import atomic_write, read_text


def roll_back(session: Session, options: PatchOptions) -> list[PatchedRecipe]:
    """Take the last patch back: locks, aliases, and the models of its repositories.

    A lock that changed since is left as it is.

    Raises:
        RecipeError: nothing was patched.
        IntegrityError: the journal cannot be read.
    """
    journal = read_journal(options.archives)
    if not journal:
        raise RecipeError(
            f"no patch is recorded in {options.archives}",
            hint="name the folder of archives with --archives DIR, as when patching",
        )
    last = journal[-1]
    _check_places(last, options)
    rows = [_restored(entry, session) for entry in last.entries]
    here = session.at(Path.cwd(), remote=False)
    back = [row for row in rows if row.state == "rolled back"]
    asked = replace(
        options,
        repositories=tuple(Path(one) for one in last.repositories) or options.repositories,
        verify=False,  # each served its models before
    )
    deployed = {row.path: row for row in deploy_again(back, asked, here, None)}
    done = [deployed.get(row.path, row) for row in rows]
    if all(row.state == "rolled back" for row in done):
        write_journal(options.archives, journal[:-1])
    return done


def _check_places(last: Patched, options: PatchOptions) -> None:
    """Refuse to write outside the expected folders: the journal may come from an untrusted source.

    Raises:
        RecipeError: it names something outside of the current folder and of the repositories that are named.
    """
    named = [os.path.realpath(one) for one in (Path.cwd(), *options.repositories)]
    for path in (*(entry.lock for entry in last.entries), *last.repositories):
        real = os.path.realpath(path)
        if not any(real == one or real.startswith(f"{one}{os.sep}") for one in named):
            raise RecipeError(
                f"{options.archives / NAME}: {path} lies outside of {Path.cwd()}",
                hint="run it in the project's folder, or, if it is right, name the repository with --repository",
            )


def _restored(entry: Entry, session: Session) -> PatchedRecipe:
    path = Path(entry.recipe)
    row = PatchedRecipe(recipe=label(path), state="rolled back", path=path)
    try:
        now = read_text(Path(entry.lock))
        if now not in (entry.after, entry.before):
            raise IntegrityError(
                f"{entry.lock} changed since it was patched", hint="put it back by version control"
            )
        atomic_write(Path(entry.lock), entry.before.encode())
        there = session.at(path.parent)
        if entry.aliases:
            remote = there.remote_store()
            for alias in aliases_of(path.stem, remote, there.store):
                if alias.name in entry.aliases:
                    move_alias(alias, entry.aliases[alias.name], there.store, remote)
    except (EnvbuilderError, OSError) as error:
        told = error if isinstance(error, EnvbuilderError) else IntegrityError(str(error))
        return replace(row, state="refused", error=told)
    return replace(row, aliases=tuple(entry.aliases))
