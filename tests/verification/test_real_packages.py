"""Packages as they are published: ten of them locked, built, verified, and served by a real server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tritonclient import http

from envbuilder.archive.manifest import manifest_beside, read_manifest
from envbuilder.building.build import build
from envbuilder.config.settings import Settings
from envbuilder.deployment.layout import deploy
from envbuilder.deployment.options import DeployOptions
from envbuilder.lockfile.check import check_lock
from envbuilder.recipe.load import load_recipe
from envbuilder.resolve.lock import lock_recipe
from envbuilder.store.local import Store
from envbuilder.store.session import Session
from envbuilder.verification.server.servers import ServerChoice
from envbuilder.verification.server.tritonserver import RunningServer, StartOptions, TritonServer
from envbuilder.verification.verify import VerifyRequest, verify
from tests.helpers.environments import assert_all_passed

pytestmark = [pytest.mark.network, pytest.mark.server, pytest.mark.slow]

RECIPE = """\
triton: pytriton-0.7.0
python: "3.11"
torch: "2.13.0"
cuda: cpu
pack: {{level: 1}}
dependencies:
  - numpy
{dependencies}
"""
CONFIG = """\
backend: "python"
input [ { name: "x" data_type: TYPE_FP32 dims: [ 64 ] } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ 1 ] } ]
instance_group [ { kind: KIND_CPU } ]
"""
MODEL = """\
import numpy as np
import triton_python_backend_utils as pb_utils

{imports}


def answer(x):
{body}


class TritonPythonModel:
    def execute(self, requests):
        answers = []
        for request in requests:
            x = pb_utils.get_input_tensor_by_name(request, "x").as_numpy()
            y = np.asarray([answer(x)], dtype=np.float32)
            answers.append(pb_utils.InferenceResponse([pb_utils.Tensor("y", y)]))
        return answers
"""
X = np.linspace(0.0, 6.3, 64, dtype=np.float32)
MODELS: dict[str, tuple[str, str, float]] = {
    "scikit-learn": (
        "from sklearn.linear_model import LinearRegression",
        "return LinearRegression().fit(x[:, None], 2 * x + 1).coef_[0]",
        2.0,
    ),
    "lightgbm": (
        "import lightgbm",
        "model = lightgbm.LGBMRegressor(n_estimators=1, n_jobs=1, verbose=-1)\n"
        "return model.fit(x[:, None], x * 0 + 3).predict([[1]])[0]",
        3.0,
    ),
    "xgboost": (
        "import xgboost",
        "return xgboost.XGBRegressor(n_estimators=1, n_jobs=1).fit(x[:, None], x * 0 + 4).predict([[1]])[0]",
        4.0,
    ),
    "librosa": (
        "import librosa",
        "return librosa.midi_to_hz(69) + 0 * librosa.power_to_db(x + 1).max()",
        440.0,
    ),
    "astropy": (
        "from astropy.stats import sigma_clipped_stats",
        "return sigma_clipped_stats(x * 0 + 5)[0]",
        5.0,
    ),
    "tables": (
        "import tables",
        "with tables.open_file('memory', 'w', driver='H5FD_CORE', driver_core_backing_store=0) as file:\n"
        "    return file.create_array('/', 'x', x)[:].size",
        64.0,
    ),
    "pyarrow": (
        "import pyarrow as pa, pyarrow.compute as pc",
        "return pc.sum(pa.array(np.ones(7))).as_py() + 0 * len(pa.array(x).to_numpy())",
        7.0,
    ),
    "tokenizers": (
        "from tokenizers import Tokenizer, models, pre_tokenizers",
        "words = Tokenizer(models.WordLevel({'a': 8, '?': 0}, unk_token='?'))\n"
        "words.pre_tokenizer = pre_tokenizers.Whitespace()\n"
        "return words.encode('b a').ids[1]",
        8.0,
    ),
    "opencv-python-headless": (
        "import cv2",
        "return cv2.GaussianBlur(np.full((8, 8), 9, np.uint8), (3, 3), 0)[4, 4]",
        9.0,
    ),
    "sentence-transformers": (
        "import torch\nfrom sentence_transformers import util",
        "return util.cos_sim(torch.from_numpy(x), torch.from_numpy(x))[0, 0]",
        1.0,
    ),
}


@pytest.fixture(scope="module")
def session(settings: Settings, store: Store) -> Session:
    return Session(settings=settings, store=store)


@pytest.fixture(scope="module")
def archive(once: Callable[[str, Callable[[Path], None]], Path], session: Session) -> Path:
    """One environment with all of them."""

    def fill(folder: Path) -> None:
        path = folder / "real.yaml"
        path.write_text(RECIPE.format(dependencies="\n".join(f"  - {name}" for name in MODELS)))
        recipe = load_recipe(path)
        lock_recipe(recipe, session)
        build(recipe, check_lock(recipe), session, output=folder / "envs")

    (found,) = (once("real-packages", fill) / "envs").glob("real-*.tar.gz")
    return found


def test_each_of_them_passes_every_check(archive: Path, session: Session) -> None:
    report = verify(archive, session, VerifyRequest(server=ServerChoice(ask=False)))
    assert_all_passed(report.checks)
    found = {check.id: check.found for check in report.checks}
    # What was an alarm: a RUNPATH that leads nowhere, plugins that no import comes to.
    assert "scipy/special" in found["linking.runpath"]
    assert "tbbpool" in found["linking.needs"]
    # What was left out, and is imported.
    kept = {file.path.split("/")[3] for file in read_manifest(manifest_beside(archive)).kept}
    assert {"astropy", "tables"} <= kept
    assert found["probe.packages"].endswith("modules")


def test_each_of_them_is_served(archive: Path, server: TritonServer, tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    for name, (imports, body, _) in MODELS.items():
        version = tmp_path / "models" / name / "1"
        version.mkdir(parents=True)
        (version.parent / "config.pbtxt").write_text(CONFIG)
        lines = "\n".join(f"    {line}" for line in body.splitlines())
        (version / "model.py").write_text(MODEL.format(imports=imports, body=lines))
        deploy(archive, version.parent, repository, DeployOptions(layout="shared"))
    options = StartOptions(ready_timeout=600)
    with server.start(repository, python="3.11", log=tmp_path / "log", options=options) as running:
        answers = {name: ask(running, name) for name in MODELS}
    expected = {name: value for name, (_, _, value) in MODELS.items()}
    assert answers == pytest.approx(expected, rel=1e-4)


def ask(running: RunningServer, model: str) -> float:
    with http.InferenceServerClient(running.http, network_timeout=120) as client:
        request = http.InferInput("x", list(X.shape), "FP32")
        request.set_data_from_numpy(X)
        return float(client.infer(model, [request]).as_numpy("y")[0])
