from __future__ import annotations

from envbuilder.archive.manifest import ManifestKept
from envbuilder.inventory.kept import kept_for

SITE = "lib/python3.11/site-packages"


def test_a_line_for_each_folder_names_who_imports_it_from_outside() -> None:
    kept = [
        ManifestKept(path=f"{SITE}/astropy/tests/a.py", imported_by="astropy.tests.b"),
        ManifestKept(path=f"{SITE}/astropy/tests/deep/b.py", imported_by="astropy"),
        ManifestKept(path="lib/python3.11/test/c.py", imported_by="numpy.testing"),
        ManifestKept(path=f"{SITE}/alone.py", imported_by="beta"),
    ]
    assert kept_for(kept) == [
        "alone.py (1 file): beta imports it",
        "astropy/tests (2 files): astropy imports it",
        "test (1 file): numpy.testing imports it",
    ]
    assert kept_for([]) == []
