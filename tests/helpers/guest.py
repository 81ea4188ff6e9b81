"""The guest run by the Python of the tests, where a test needs no packed environment."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from envbuilder import guest
from envbuilder.catalog.triton import Launch
from envbuilder.util.documents import load_json
from envbuilder.verification.live.guest_process import Ended
from envbuilder.verification.live.launch import Sandbox


def run_guest_here(
    sandbox: Sandbox, _: Launch, name: str, job: Mapping[str, Any], *, timeout: float, **__: Any
) -> Ended:
    """Do as ``run_guest`` does, with the Python that runs the tests."""
    path, answer = (sandbox.root / "verify" / f"{name}{end}" for end in (".json", ".answer"))
    path.write_text(json.dumps({**job, "answer": str(answer)}))
    main = Path(guest.__file__).parent / "__main__.py"
    done = subprocess.run([sys.executable, str(main), str(path)], capture_output=True, timeout=timeout)
    found = load_json(answer, where="the answer", allow_nan=True) if answer.is_file() else None
    return Ended(answer=found, file=answer, how=f"it exited with {done.returncode}")
