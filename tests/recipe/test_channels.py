from __future__ import annotations

import pytest

from envbuilder.recipe.channels import channel_name, is_anacondas


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("conda-forge", "conda-forge"),
        ("conda-forge/label/dev/", "conda-forge/label/dev"),
        ("https://example.org/our%20own/", "our own"),
        ("file:///srv/channel", "channel"),
        ("https://example.org", "example.org"),
    ],
)
def test_what_a_lock_calls_a_channel(written: str, name: str) -> None:
    assert channel_name(written) == name


@pytest.mark.parametrize(
    ("channel", "theirs"),
    [
        ("defaults", True),
        ("main", True),
        ("pkgs/r", True),
        ("conda-forge", False),
        ("https://conda.anaconda.org/conda-forge", False),
        ("https://conda.anaconda.org/main", True),
        ("https://conda.anaconda.org", False),
        ("https://repo.anaconda.com/pkgs/main", True),
        ("https://mirror.example.org/pkgs/main", False),
        ("file:///srv/main", False),
    ],
)
def test_channels_whose_terms_bind_companies(channel: str, theirs: bool) -> None:
    assert is_anacondas(channel) is theirs
