"""The store: ``store info``, ``store prune`` and ``store clear``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from envbuilder.cli.options import shared_options
from envbuilder.cli.output import out
from envbuilder.cli.tables import show_table
from envbuilder.util.text import counted, human

if TYPE_CHECKING:
    from envbuilder.store.local import StoreEntry


@click.group()
def store() -> None:
    """Manage the local store of artifacts and segments.

    Fetched and assembled files are kept there and reused. Its path is ENVBUILDER_CACHE, by default in the
    platform's cache directory; its limit is ENVBUILDER_CACHE_LIMIT (for instance 40G, or none).
    """


@store.command("info")
@shared_options
def store_info(as_json: bool, quiet: bool) -> None:
    """Show the path and the contents of the store."""
    from envbuilder.store.local import Store

    opened = Store.open()
    entries = opened.entries()
    rows = []
    for kind in sorted({entry.kind for entry in entries}):
        sizes = [entry.size for entry in entries if entry.kind == kind]
        rows.append((kind, str(len(sizes)), human(sum(sizes))))
    if as_json:
        out(
            {"root": opened.root, "limit": opened.limit, "readonly": opened.readonly, "entries": entries},
            True,
        )
        return
    limit = human(opened.limit) if opened.limit is not None else "none"
    click.echo(f"{opened.root}{' (read-only)' if opened.readonly else ''}, limit {limit}")
    if rows:
        rows.append(("total", str(len(entries)), human(sum(entry.size for entry in entries))))
    show_table(["kind", "entries", "size"], rows)


@store.command("prune")
@click.option(
    "--limit",
    metavar="SIZE",
    help="Evict until the store is at most this large, for instance 20G. Default: the configured limit.",
)
@shared_options
def store_prune(limit: str | None, as_json: bool, quiet: bool) -> None:
    """Evict the least recently used entries."""
    from envbuilder.store.local import Store, parse_size

    bound = parse_size(limit, where="--limit") if limit else None
    _print_evicted(Store.open().prune(bound), as_json)


@store.command("clear")
@shared_options
def store_clear(as_json: bool, quiet: bool) -> None:
    """Evict everything."""
    from envbuilder.store.local import Store

    _print_evicted(Store.open().clear(), as_json)


def _print_evicted(evicted: Sequence[StoreEntry], as_json: bool) -> None:
    freed = sum(entry.size for entry in evicted)
    entries = counted(len(evicted), "entry", "entries")
    out({"evicted": evicted, "freed": freed}, as_json, f"evicted {entries}, {human(freed)}")
