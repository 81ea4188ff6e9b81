from __future__ import annotations

import pytest

from envbuilder.cli.tables import show_table


def test_a_table_has_a_line_for_each_row_where_there_is_no_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show_table(["what", "size", "where"], [("[a]", "1 B", "x" * 300), ("bb", "10 B", ""), ("c", "", "y")])
    assert capsys.readouterr().out == (
        f"what  size  where\n[a]    1 B  {'x' * 300}\nbb    10 B\nc           y\n"
    )


def test_a_table_without_rows_is_its_headings(capsys: pytest.CaptureFixture[str]) -> None:
    show_table(["what", "size"], [])
    assert capsys.readouterr().out == "what  size\n"


def test_a_table_folds_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "33")
    show_table(["what", "where"], [("a", "x" * 40), ("b", "some words that are longer than a line")])
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.count("x") for line in lines) == 40
    assert lines[3:] == ["b     some words that are longer", "      than a line"]


def test_columns_too_narrow_for_their_words_become_lists(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv(
        "TERM", "dumb"
    )  # no bold text, and its width counts only where its height is given, too
    monkeypatch.setenv("LINES", "25")
    monkeypatch.setenv("COLUMNS", "24")
    rows = [("contract.libpython", "25.06", "-"), ("probe.compile", "25.06", "a model is compiled")]
    show_table(["check", "release", "found"], rows)
    assert capsys.readouterr().out == (
        "check    contract.libpyt\n         hon\nrelease  25.06\n\n"
        "check    probe.compile\nrelease  25.06\nfound    a model is\n         compiled\n"
    )
