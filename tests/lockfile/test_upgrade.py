from __future__ import annotations

from envbuilder.lockfile.upgrade import Upgrade


def test_what_is_taken_anew() -> None:
    assert not Upgrade().takes("torch")
    assert Upgrade(everything=True).takes("torch")
    assert Upgrade(packages=("torch",)).takes("torch")
    assert not Upgrade(packages=("torch",)).takes("numpy")
