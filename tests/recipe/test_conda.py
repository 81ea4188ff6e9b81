from __future__ import annotations

from pathlib import Path

import pytest

from envbuilder.errors import RecipeError
from envbuilder.recipe.load import load_recipe
from envbuilder.recipe.model import Recipe

PLAIN = 'triton: "25.06"\ntorch: "2.7.1"\ncuda: cpu\n'
CONDA = PLAIN + "provider: conda\n"


def load(folder: Path, text: str) -> Recipe:
    path = folder / "mine.yaml"
    path.write_text(text)
    return load_recipe(path)


def test_channels_and_specs_are_read_as_written(tmp_path: Path) -> None:
    recipe = load(
        tmp_path,
        CONDA + "channels: [conda-forge, https://example.org/our/, ./here]\n"
        "conda: [ffmpeg >=6, our::tool]\ncompiler: bundled\nlink-scripts: [tool]\n",
    )
    assert recipe.channels == ("conda-forge", "https://example.org/our", (tmp_path / "here").as_uri())
    assert recipe.conda == ("ffmpeg >=6", "our::tool")
    assert (recipe.compiler, recipe.link_scripts) == ("bundled", ("tool",))


def test_where_a_channel_lies_is_no_part_of_the_digest(tmp_path: Path) -> None:
    digests = set()
    for channel in ("./one/our", "./two/our", "https://example.org/x/our"):
        digests.add(load(tmp_path, CONDA + f"channels: [{channel}]\n").digest())
    assert len(digests) == 1
    others = [
        "channels: [./other]\n",
        "channels: [./our]\nconda: [x]\n",
        "channels: [./our]\nlink-scripts: [x]\n",
        "channels: [./our, ./z]\n",
        "channels: [./z, ./our]\n",
    ]
    found = {load(tmp_path, CONDA + text).digest() for text in others}
    assert len(found | digests) == 6


def test_torch_of_a_channel_is_not_held_against_the_table_of_wheels(tmp_path: Path) -> None:
    text = CONDA.replace("cpu", "cu124") + "channels: [conda-forge]\n"
    with pytest.raises(RecipeError):
        load(tmp_path, text)
    assert load(tmp_path, text + "conda: [pytorch]\n").cuda == "cu124"


BAD: dict[str, tuple[str, str, str | None]] = {
    "no channel": (
        CONDA,
        ":4: `provider: conda` without `channels`",
        "for instance channels: [conda-forge]",
    ),
    "an empty list of channels": (
        CONDA + "channels: []\n",
        ":4: `provider: conda` without `channels`",
        "for instance channels: [conda-forge]",
    ),
    "channels of another provider": (
        PLAIN + "channels: [conda-forge]\n",
        ":4: `channels` without `provider: conda`",
        "provider: conda",
    ),
    "specs of another provider": (
        PLAIN + "provider: cpython\nconda: [x]\n",
        ":5: `conda` without `provider: conda`",
        "provider: conda",
    ),
    "the bundled compiler of another provider": (
        PLAIN + "compiler: bundled\n",
        ":4: `compiler: bundled` without `provider: conda`: only a channel has a compiler that can be packed",
        "possible with provider: cpython: none or system",
    ),
    "defaults": (
        CONDA + "channels: [conda-forge, defaults]\n",
        ":5: the channel defaults is Anaconda's, whose terms of service bind companies",
        "conda-forge has nearly all of its packages; set `anaconda-terms: accepted` if you may use it",
    ),
    "defaults by another name": (
        CONDA + "channels: [https://repo.anaconda.com/pkgs/main]\n",
        ":5: the channel https://repo.anaconda.com/pkgs/main is Anaconda's, whose terms of service bind companies",
        "conda-forge has nearly all of its packages; set `anaconda-terms: accepted` if you may use it",
    ),
    "terms that are not accepted": (
        CONDA + "channels: [defaults]\nanaconda-terms: yes please\n",
        ":6: `anaconda-terms` is 'yes please'",
        "possible: accepted",
    ),
    "one name for two channels": (
        CONDA + "channels: [./a/our, ./b/our]\n",
        ":5: two channels are called our",
        "a lock contains no hosts: channels are identified by their name, the last part of the address",
    ),
    "a password": (
        CONDA + "channels: ['https://me:secret@example.org/our']\n",
        ":5: a channel with a password or a token in it",
        "put credentials into .netrc or the conda configuration (channel_alias, custom_channels)",
    ),
    "a token": (
        CONDA + "channels: ['https://example.org/t/ab-12/our']\n",
        ":5: a channel with a password or a token in it",
        "put credentials into .netrc or the conda configuration (channel_alias, custom_channels)",
    ),
    "no channel at all": (
        CONDA + "channels: ['a channel']\n",
        ":5: 'a channel' is no channel",
        "a name, an address (https:, file:), or a folder (./channel)",
    ),
    "an address that is none": (
        CONDA + "channels: ['ftp://example.org/our']\n",
        ":5: 'ftp://example.org/our' is no channel",
        "a name, an address (https:, file:), or a folder (./channel)",
    ),
    "a spec of a channel that is not named": (
        CONDA + "channels: [conda-forge]\nconda: [bioconda::samtools]\n",
        ":6: 'bioconda::samtools' names a channel that is not in `channels`: bioconda",
        "channels: conda-forge",
    ),
    "a spec that is none": (
        CONDA + "channels: [conda-forge]\nconda: ['>=3']\n",
        ":6: '>=3' is not a match spec",
        "for example ffmpeg, ffmpeg >=6, or conda-forge::ffmpeg 6.1.*",
    ),
    "python as a spec": (
        CONDA + "channels: [conda-forge]\nconda: [python 3.11]\n",
        ":6: python among `conda`",
        "set its version with `python`, or by the release",
    ),
    "a version of torch as a spec": (
        CONDA + "channels: [conda-forge]\nconda: [pytorch 2.6]\n",
        ":6: 'pytorch 2.6': set the version of torch with `torch`, and its build with `cuda`",
        "conda: [pytorch]",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_recipe(tmp_path: Path, case: str) -> None:
    text, message, hint = BAD[case]
    with pytest.raises(RecipeError) as caught:
        load(tmp_path, text)
    assert (caught.value.message, caught.value.hint) == (f"{tmp_path / 'mine.yaml'}{message}", hint)
    assert caught.value.exit_code == 2


def test_defaults_may_be_used_when_the_recipe_says_so(tmp_path: Path) -> None:
    recipe = load(tmp_path, CONDA + "channels: [defaults]\nanaconda-terms: accepted\n")
    assert (recipe.channels, recipe.anaconda_terms) == (("defaults",), True)
