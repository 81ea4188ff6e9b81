from __future__ import annotations

import pytest

from envbuilder.archive.exclude import DEFAULT_EXCLUDE, DEFAULT_RULES, LINKER_EXCLUDE, PackRules, rule_of
from envbuilder.archive.tar import COMPRESSOR

SITE = "lib/python3.11/site-packages"


@pytest.mark.parametrize(
    ("path", "rule"),
    [
        ("lib/libx.a", "static libraries"),
        (f"{SITE}/torch/lib/libgtest.a", "static libraries"),
        ("lib/python3.11/test/regrtest.py", "interpreter's tests"),
        ("lib/python3.11/sqlite3/test/dbapi.py", "interpreter's tests"),
        ("lib/python3.11/lib2to3/tests/data/x.py", "interpreter's tests"),
        ("lib/python3.11/tkinter/__init__.py", "windows and teaching"),
        ("lib/python3.11/lib-dynload/_testcapi.cpython-311-x86_64-linux-gnu.so", "windows and teaching"),
        ("lib/python3.11/ensurepip/__init__.py", "installers"),
        ("lib/python3.11/config-3.11-x86_64-linux-gnu/Makefile", "installers"),
        (f"{SITE}/numpy/core/tests/test_api.py", "tests of packages"),
        (f"{SITE}/torch/test/cpp.py", "tests of packages"),
        (f"{SITE}/p/__pycache__/x.cpython-39.pyc", "foreign bytecode"),
        (f"{SITE}/p/x.pyo", "foreign bytecode"),
        (f"{SITE}/torch/bin/protoc-3.13.0.0", "build tools of torch"),
    ],
)
def test_what_the_defaults_leave_out_and_by_which_rule(path: str, rule: str) -> None:
    pattern = PackRules().excluded_by(path)
    assert pattern is not None
    assert rule_of(pattern) == rule


@pytest.mark.parametrize(
    "path",
    [
        "include/python3.11/Python.h",
        f"{SITE}/torch/include/ATen/ATen.h",
        f"{SITE}/torch/bin/torch_shm_manager",
        f"{SITE}/torch/lib/libtorch_cpu.so",
        f"{SITE}/torch/testing/_internal/common.py",
        f"{SITE}/numpy/testing/__init__.py",
        f"{SITE}/tests.py",
        f"{SITE}/torch/_inductor/codegen/cpp_prefix.h",
        "lib/python3.11/unittest/mock.py",
        "lib/python3.11/lib-dynload/_ssl.cpython-311-x86_64-linux-gnu.so",
        "lib/libpython3.11.so.1.0",
        "bin/python3.11",
        "bin/activate",
    ],
)
def test_what_torch_compile_and_serving_need_stays(path: str) -> None:
    assert PackRules().excluded_by(path) is None


def test_no_patterns_leave_nothing_out() -> None:
    assert PackRules(exclude=()).excluded_by("lib/python3.11/test/regrtest.py") is None


def test_the_first_pattern_that_matches_is_named() -> None:
    rules = PackRules(exclude=("a/*", "**/x", "a/x"))
    assert rules.excluded_by("a/x") == "a/*"
    assert rules.excluded_by("b/c/x") == "**/x"
    assert rules.excluded_by("x") == "**/x"
    assert rules.excluded_by("b/y") is None


def test_a_pattern_of_the_recipe_is_its_own_rule() -> None:
    assert rule_of("**/docs/**") == "**/docs/**"
    assert {rule_of(pattern) for pattern in DEFAULT_EXCLUDE} == {rule.name for rule in DEFAULT_RULES}


def test_a_compiler_keeps_what_it_links() -> None:
    rules = PackRules(exclude=LINKER_EXCLUDE)
    for kept in ("lib/gcc/x86_64-linux-gnu/12/libgcc.a", "x/sysroot/usr/lib64/libc_nonshared.a"):
        assert rules.excluded_by(kept) is None
    for dropped in ("lib/libz.a", "lib/python3.11/site-packages/torch/lib/libx.a"):
        assert rule_of(rules.excluded_by(dropped) or "") == "static libraries"
    assert rules.excluded_by("lib/python3.11/test/regrtest.py") == "lib/python3.*/test/**"


def test_the_key_has_everything_that_decides_bytes() -> None:
    rules = PackRules()
    others = [
        PackRules(bytecode=False),
        PackRules(level=5),
        PackRules(exclude=()),
        PackRules(exclude=tuple(reversed(DEFAULT_EXCLUDE))),
    ]
    assert len({one.key() for one in [rules, *others]}) == 5
    assert COMPRESSOR in rules.key()
    assert PackRules().key() == rules.key()
