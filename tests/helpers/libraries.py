"""Shared libraries of a few bytes, which define and ask versions of symbols as real ones do."""

from __future__ import annotations

import functools
import subprocess
import tempfile
from pathlib import Path


@functools.cache
def shared_library(
    *, soname: str = "", defines: tuple[str, ...] = (), asks: tuple[str, str] | None = None
) -> bytes:
    """A library *soname* that defines a symbol of each version, and *asks* a version of another library."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        needed = []
        if asks is not None:
            (folder / "needed.so").write_bytes(shared_library(soname=asks[0], defines=(asks[1],)))
            needed = [str(folder / "needed.so")]
        calls = "extern int symbol_0(void); int call(void) { return symbol_0(); }\n" if needed else ""
        symbols = "".join(f"int symbol_{n}(void) {{ return {n}; }}\n" for n in range(len(defines)))
        (folder / "source.c").write_text(calls + symbols)
        versions = [f"{name} {{ global: symbol_{n}; }};\n" for n, name in enumerate(defines)]
        (folder / "versions").write_text("".join(versions))
        script = [f"-Wl,--version-script={folder / 'versions'}"] if defines else []
        out = folder / "library.so"
        named = [f"-Wl,-soname,{soname}"] if soname else []
        source = ["-x", "c", str(folder / "source.c"), "-x", "none"]
        command = ["g++", "-shared", "-fPIC", "-nostdlib", "-o", str(out), *source]
        subprocess.run([*command, *needed, *named, *script], check=True)
        return out.read_bytes()
