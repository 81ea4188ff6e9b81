"""The command line as a program: ``envbuilder``, and ``python -m envbuilder``.

Signals are handled before the rest is imported, which takes half a second.
"""

from __future__ import annotations

from envbuilder.util.interruption import handled


def main() -> None:
    """Run the command line."""
    with handled():
        from envbuilder.cli import run

        run()


if __name__ == "__main__":
    main()
