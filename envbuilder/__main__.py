"""``python -m envbuilder``: the command line of the Python that is named, whatever is on ``PATH``."""

from __future__ import annotations

from envbuilder.cli import main

main()
