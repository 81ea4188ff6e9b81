"""The program that imports every package, in an environment."""

from __future__ import annotations

from pathlib import Path

from envbuilder.verification.live.packages import ModuleOutcome, import_packages
from tests.helpers.environments import SITE
from tests.helpers.packages import distribution, opened


def test_each_package_is_imported_in_a_process_of_its_own(tmp_path: Path) -> None:
    tree = {
        **distribution("good", {"good/__init__.py": "import sys\nassert 'other' not in sys.modules"}),
        **distribution("other", {"other.py": "", "other_too.py": "import other"}),
        **distribution("bad", {"bad.py": "try:\n    import nowhere\nexcept ImportError:\n    raise ValueError('x')"}),
        **distribution("leaves", {"leaves.py": "raise SystemExit(3)"}),
        **distribution("dies", {"dies.py": "import os, signal, sys\nprint('why', flush=1)\nos.kill(os.getpid(), 11)"}),
        **distribution("slow", {"slow.py": "import time\ntime.sleep(60)"}),
        **distribution("daemon", {"daemon.py": "import os, time\nif not os.fork():\n    time.sleep(60)"}),
        **distribution("home", {"home.py": "import os\nos.mkdir(os.environ['HOME'] + '/.home')"}),
        **distribution("file", {"file.py": "import os\nopen(os.path.dirname(__file__) + '/data')"}),
    }  # fmt: skip
    archive, place = opened(tree, tmp_path)
    imported = import_packages(
        place, "sourced", archive.installed, archive.contents.members, each=4.0, total=60.0
    )
    found = imported.found
    assert found is not None, imported.ended
    assert found["good"].modules == {"good": ModuleOutcome(done=True)}
    assert set(found["other"].modules) == {"other", "other_too"}
    bad = found["bad"].modules["bad"]
    assert (bad.error, bad.text) == ("ValueError", "x")
    assert bad.causes == ("ModuleNotFoundError: No module named 'nowhere'",)
    assert found["leaves"].modules["leaves"].error == "SystemExit"
    assert (found["dies"].signal, found["dies"].output) == (11, "why\n")
    assert found["slow"].timeout
    assert found["daemon"].modules == {"daemon": ModuleOutcome(done=True)}
    assert not found["daemon"].timeout
    assert found["home"].modules == {"home": ModuleOutcome(done=True)}, "containers have one, too"
    assert found["file"].modules["file"].file == str(place.environment / SITE / "data")
    assert "numpy" not in found  # it has no modules here


def test_what_there_was_no_time_for_is_named(tmp_path: Path) -> None:
    tree = {
        path: data
        for number in range(6)
        for path, data in distribution(
            f"slow{number}", {f"slow{number}.py": "import time\ntime.sleep(60)"}
        ).items()
    }
    archive, place = opened(tree, tmp_path)
    imported = import_packages(
        place, "direct", archive.installed, archive.contents.members, each=60.0, total=2.0
    )
    assert imported.found is not None, imported.ended
    assert {name: one.timeout for name, one in imported.found.items()} == {f"slow{n}": True for n in range(6)}
