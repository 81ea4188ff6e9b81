"""The command line as a program: ``envbuilder``, and ``python -m envbuilder``.

Signals are handled before the rest is imported, which takes half a second.
"""

from __future__ import annotations

import os

from envbuilder.util.interruption import handled


def main() -> None:
    """Run the command line."""
    _occupy_streams()
    with handled():
        from envbuilder.cli import run

        run()


def _occupy_streams() -> None:
    """Reopen closed standard streams; otherwise a file that is written gets the descriptor of one."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest that is free


if __name__ == "__main__":
    main()
