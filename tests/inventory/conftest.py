from __future__ import annotations

from pathlib import Path

from envbuilder.inventory.sizes import Cell, Sizes


def cells(sizes: Sizes) -> dict[tuple[str, str], tuple[int, int, int]]:
    return {(c.package, c.kind): (c.packed, c.unpacked, c.files) for c in sizes.cells}


def small_sizes(**changes: object) -> Sizes:
    made = [
        Cell(package="torch", kind="GPU code", packed=600, unpacked=900, files=1),
        Cell(package="torch", kind="Python", packed=100, unpacked=500, files=7),
        Cell(package="numpy", kind="host code", packed=299, unpacked=600, files=2),
        Cell(package="six", kind="Python", packed=1, unpacked=2, files=1),
    ]
    values = {
        "archive": Path("envs/a-1.tar.gz"),
        "packed": 1000,
        "unpacked": 2002,
        "cells": tuple(made),
        "excluded": (),
        **changes,
    }
    return Sizes(**values)  # type: ignore[arg-type]  # a test's own values
