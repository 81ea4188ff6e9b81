"""Read a report of `verify --report` again."""

from __future__ import annotations

from pathlib import Path
from typing import cast, get_args

from envbuilder.errors import RecipeError
from envbuilder.util.documents import DocumentError, Record, load_json
from envbuilder.verification.report import FORMAT, Check, Report, Status


def read_report(path: Path) -> Report:
    """Return the report in the file *path*.

    Raises:
        RecipeError: it cannot be read, or is not a report.
    """
    try:
        record = load_json(path)
        record.integer("format", FORMAT, FORMAT)
        return _report(record)
    except DocumentError as error:
        raise RecipeError(str(error), hint="`envbuilder verify --report FILE` writes one") from error
    except OSError as error:
        raise RecipeError(f"{path} cannot be read: {error.strerror}") from error


def _report(record: Record) -> Report:
    return Report(
        archive=record.free_text("archive"),
        sha256=_maybe(record, "sha256"),
        size=record.integer("size"),
        unpacked_size=record.integer("unpacked_size"),
        recipe=_maybe(record, "recipe"),
        releases=record.texts("releases"),
        isolated=record.boolean("isolated"),
        server=_maybe(record, "server"),
        environment=record.text_map("environment"),
        checks=tuple(_check(one) for one in record.records("checks")),
        seconds=record.number("seconds", 0),
    )


def _check(record: Record) -> Check:
    return Check(
        id=record.text("id"),
        status=cast("Status", record.choice("status", *get_args(Status))),
        found=record.free_text("found"),
        fix=_maybe(record, "fix"),
        release=_maybe(record, "release"),
        seconds=record.number("seconds", 0),
    )


def _maybe(record: Record, key: str) -> str | None:
    return record.free_text(key) if key in record else None
