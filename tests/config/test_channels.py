from __future__ import annotations

import pytest

from envbuilder.config.channels import open_channels
from envbuilder.config.condarc import Condarc
from envbuilder.errors import RecipeError


def opened(*channels: str, condarc: Condarc | None = None, terms: bool = False) -> list[tuple[str, ...]]:
    found = open_channels(channels, condarc or Condarc(), anaconda_terms=terms)
    return [(channel.name, *channel.urls) for channel in found]


def test_names_and_addresses() -> None:
    assert opened("conda-forge", "https://example.org/our/", "conda-forge") == [
        ("conda-forge", "https://conda.anaconda.org/conda-forge"),
        ("our", "https://example.org/our"),
    ]


def test_mirrors_of_a_name_and_of_an_address() -> None:
    condarc = Condarc(
        mirrors={
            "conda-forge": ("https://a.example.org/cf/", "https://b.example.org/cf"),
            "https://example.org/our": ("https://c.example.org/our",),
        }
    )
    assert opened("conda-forge", "https://example.org/our", condarc=condarc) == [
        ("conda-forge", "https://a.example.org/cf", "https://b.example.org/cf"),
        ("our", "https://c.example.org/our"),
    ]


def test_one_name_for_many_channels() -> None:
    condarc = Condarc(
        multichannels={"ours": ("one", "https://example.org/two", "more"), "more": ("three",)},
        channel_alias="https://alias.example.org/",
    )
    assert opened("ours", condarc=condarc) == [
        ("one", "https://alias.example.org/one"),
        ("two", "https://example.org/two"),
        ("three", "https://alias.example.org/three"),
    ]


def test_defaults_are_what_the_configuration_says() -> None:
    assert opened("defaults", terms=True) == [
        ("main", "https://repo.anaconda.com/pkgs/main"),
        ("r", "https://repo.anaconda.com/pkgs/r"),
    ]
    condarc = Condarc(default_channels=("https://mirror.example.org/main", "conda-forge"))
    assert opened("defaults", condarc=condarc, terms=False) == [
        ("main", "https://mirror.example.org/main"),
        ("conda-forge", "https://conda.anaconda.org/conda-forge"),
    ]


def test_a_name_that_the_configuration_makes_anacondas() -> None:
    condarc = Condarc(custom_channels={"ours": "https://me:secret@repo.anaconda.com/t/ab-12/pkgs"})
    with pytest.raises(RecipeError) as caught:
        opened("ours", condarc=condarc)
    assert caught.value.message == (
        "the channel ours is Anaconda's (https://repo.anaconda.com/pkgs/ours), whose terms of service bind companies"
    )
    assert caught.value.hint == "set `anaconda-terms: accepted` in the recipe if you may use it"
    assert caught.value.exit_code == 2
    assert opened("ours", condarc=condarc, terms=True)


@pytest.mark.parametrize(
    ("origin", "named"), [("", "the conda configuration"), ("/etc/condarc", "/etc/condarc")]
)
def test_a_channel_that_is_not_allowed(origin: str, named: str) -> None:
    with pytest.raises(RecipeError) as caught:
        opened("conda-forge", condarc=Condarc(denylist=("conda-forge",), origin=origin))
    assert caught.value.message == f"the channel conda-forge is not allowed by {named}"
    assert caught.value.hint == "allowlist_channels and denylist_channels there say which are"
