"""Files as other tools document and write them, and what becomes of each line when they are imported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Example:
    """A file, those beside it, and what is expected of its import for Triton pytriton-0.7.0."""

    name: str
    path: str
    files: Mapping[str, str]
    recipe: Mapping[str, Any]
    """Without ``triton``."""
    fates: Sequence[str]


CONDA = Example(
    name="conda",
    path="environment.yml",
    files={
        "environment.yml": """name: stats
channels:
  - conda-forge
dependencies:
  - python=3.11
  - ffmpeg>=6
  - pip
  - pip:
    - torch==2.7.1
    - einops
"""
    },
    recipe={
        "torch": "2.7.1",
        "cuda": "pypi",
        "python": "3.11",
        "provider": "conda",
        "channels": ["conda-forge"],
        "conda": ["ffmpeg>=6"],
        "dependencies": ["einops"],
    },
    fates=[
        "carried over: 3: conda-forge",
        "carried over: 5: python=3.11",
        "carried over: 6: ffmpeg>=6",
        "left out: 7: pip: wheels are installed without pip; add it with `conda: [pip]`",
        'changed: 9: torch==2.7.1: torch: "2.7.1", cuda: pypi',
        "carried over: 10: einops",
    ],
)

REQUIREMENTS = Example(
    name="requirements",
    path="requirements.txt",
    files={
        "requirements.txt": """# pip's own documentation has most of these
--extra-index-url https://download.pytorch.org/whl/cu126
-c constraints.txt
torch==2.7.1
docopt == 0.6.1             # Version Matching. Must be version 0.6.1
requests [security] >= 2.8.1, == 2.8.* ; python_version < "2.7"
coverage != 3.5 \\
    --hash=sha256:0000000000000000000000000000000000000000000000000000000000000000
pywin32; sys_platform == "win32"
urllib3 @ https://example.org/urllib3-1.26.8-py2.py3-none-any.whl
""",
        "constraints.txt": "idna<3\n",
    },
    recipe={
        "torch": "2.7.1",
        "cuda": "cu126",
        "dependencies": [
            "docopt==0.6.1",
            "coverage!=3.5",
            "urllib3 @ https://example.org/urllib3-1.26.8-py2.py3-none-any.whl",
        ],
        "constraints": ["idna<3"],
    },
    fates=[
        "changed: 2: --extra-index-url https://download.pytorch.org/whl/cu126: cuda: cu126",
        "changed: 3: -c constraints.txt: its lines are in the recipe",
        'changed: 4: torch==2.7.1: torch: "2.7.1", cuda: cu126',
        "carried over: 5: docopt == 0.6.1             # Version Matching. Must be version 0.6.1",
        'left out: 6: requests [security] >= 2.8.1, == 2.8.* ; python_version < "2.7": not for CPython 3.12 on '
        "Linux, x86-64",
        "changed: 7: coverage != 3.5      --hash=sha256:000000000000000000000000000000000000000000000000000000000000"
        "0000: coverage != 3.5: its hashes are those of the lock",
        'left out: 9: pywin32; sys_platform == "win32": not for CPython 3.12 on Linux, x86-64',
        "carried over: 10: urllib3 @ https://example.org/urllib3-1.26.8-py2.py3-none-any.whl",
        "changed: 1: idna<3: constraints: idna<3",
    ],
)

PYPROJECT = Example(
    name="pyproject",
    path="pyproject.toml",
    files={
        "pyproject.toml": """[project]
name = "spam"
requires-python = ">=3.10,<3.12"
dependencies = [
  "torch>=2.7,<2.8",
  "httpx",
  "gidgethub[httpx]>4.0.0",
  "own",
]
[project.optional-dependencies]
cli = ["rich"]
[dependency-groups]
dev = ["pytest"]
[tool.uv]
constraint-dependencies = ["anyio<5"]
prerelease = "allow"
[[tool.uv.index]]
name = "pytorch-cpu"
url = "https://download.pytorch.org/whl/cpu"
explicit = true
[tool.uv.sources]
torch = { index = "pytorch-cpu" }
own = { path = "own" }
""",
        "own/pyproject.toml": '[project]\nname = "own"\n',
    },
    recipe={
        "torch": "2.7.1",
        "cuda": "cpu",
        "python": "3.11",
        "dependencies": ["httpx", "gidgethub[httpx]>4.0.0", "own @ ../project/own"],
        "constraints": ["anyio<5"],
        "prereleases": True,
    },
    fates=[
        'changed: 3: >=3.10,<3.12: python: "3.11"; the lock names the whole version',
        'changed: 5: torch>=2.7,<2.8: torch: "2.7.1", cuda: cpu',
        "carried over: 6: httpx",
        "carried over: 7: gidgethub[httpx]>4.0.0",
        "changed: 8: own: with its source: own",
        "left out: 11: cli (extra): an extra: --group cli takes it",
        "left out: 13: dev (dependency group): a dependency group: --group dev takes it",
        "changed: 15: anyio<5: constraints: anyio<5",
        "changed: 16: prerelease = allow: prereleases: true",
        "changed: 19: index pytorch-cpu: cuda: cpu",
    ],
)

POETRY = Example(
    name="poetry",
    path="project.toml",
    files={
        "project.toml": """[tool.poetry]
name = "poetry-demo"
[tool.poetry.dependencies]
python = "^3.10"
torch = { version = "^2.7.1", source = "pytorch" }
requests = "^2.13.0"
pendulum = "~2.1"
fast = { version = "*", extras = ["all"], markers = "sys_platform == 'linux'" }
flask = { git = "https://example.org/flask.git", tag = "3.0.0" }
maybe = { version = "1.0", optional = true }
either = "1.0 || 2.0"
[tool.poetry.group.test.dependencies]
pytest = "*"
[[tool.poetry.source]]
name = "pytorch"
url = "https://download.pytorch.org/whl/cu128"
priority = "explicit"
"""
    },
    recipe={
        "torch": "2.11.0",
        "cuda": "cu128",
        "python": "3.12",
        "dependencies": [
            "requests<3,>=2.13.0",
            "pendulum<2.2,>=2.1",
            'fast[all]; sys_platform == "linux"',
            "flask @ git+https://example.org/flask.git@3.0.0",
        ],
    },
    fates=[
        'changed: 4: >=3.10,<4: python: "3.12"; the lock names the whole version',
        'changed: 5: torch version, source: torch>=2.7.1,<3; torch: "2.11.0", cuda: cu128',
        "changed: 6: requests ^2.13.0: requests>=2.13.0,<3",
        "changed: 7: pendulum ~2.1: pendulum>=2.1,<2.2",
        "carried over: 8: fast version, extras, markers",
        "carried over: 9: flask git, tag",
        "left out: 10: maybe version, optional: optional: add it to the dependencies",
        "left out: 11: either 1.0 || 2.0: alternatives (||) have no PEP 508 form: choose one",
        "left out: 12: test (dependency group): a dependency group: --group test takes it",
        "changed: 16: source pytorch: cuda: cu128",
    ],
)

UV_LOCK = Example(
    name="uv-lock",
    path="uv.lock",
    files={
        "uv.lock": """version = 1
requires-python = ">=3.11"

[[package]]
name = "demo"
version = "0.1.0"
source = { virtual = "." }
dependencies = [
    { name = "numpy" },
    { name = "torch" },
    { name = "pywin32", marker = "sys_platform == 'win32'" },
]

[[package]]
name = "numpy"
version = "1.26.4"
source = { registry = "https://pypi.org/simple" }

[[package]]
name = "torch"
version = "2.7.1"
source = { registry = "https://download.pytorch.org/whl/cpu" }
resolution-markers = ["sys_platform == 'darwin'"]

[[package]]
name = "torch"
version = "2.7.1+cpu"
source = { registry = "https://download.pytorch.org/whl/cpu" }
resolution-markers = ["sys_platform != 'darwin'"]
dependencies = [{ name = "sympy" }, { name = "helper" }]

[[package]]
name = "sympy"
version = "1.14.0"
source = { registry = "https://pypi.org/simple" }

[[package]]
name = "helper"
version = "1.0"
source = { git = "https://example.org/helper.git?tag=v1#0123456789012345678901234567890123456789" }
"""
    },
    recipe={
        "torch": "2.7.1",
        "cuda": "cpu",
        "python": "3.12",
        "dependencies": [
            "numpy==1.26.4",
            "helper @ git+https://example.org/helper.git@0123456789012345678901234567890123456789",
        ],
        "constraints": ["sympy==1.14.0"],
    },
    fates=[
        'changed: 2: >=3.11: python: "3.12"; the lock names the whole version',
        "left out: 5: demo 0.1.0: the project itself: build it with NAME @ ./folder",
        "carried over: 15: numpy 1.26.4",
        "left out: 20: torch 2.7.1: nothing that is taken requires it on Linux, x86-64",
        'changed: 26: torch 2.7.1+cpu: torch: "2.7.1", cuda: cpu',
        "changed: 33: sympy 1.14.0: constraints: sympy==1.14.0",
        "carried over: 38: helper 1.0",
    ],
)

POETRY_LOCK = Example(
    name="poetry-lock",
    path="poetry.lock",
    files={
        "poetry.lock": """[[package]]
name = "numpy"
version = "1.26.4"
description = "Fundamental package for array computing in Python"
optional = false
python-versions = ">=3.9"
groups = ["main"]
files = []

[[package]]
name = "pytest"
version = "8.0.0"
groups = ["dev"]
files = []

[[package]]
name = "torch"
version = "2.7.1+cu126"
groups = ["main"]
files = []

[package.source]
type = "legacy"
url = "https://download.pytorch.org/whl/cu126"
reference = "pytorch"

[[package]]
name = "sympy"
version = "1.14.0"
groups = ["main"]
files = []

[metadata]
lock-version = "2.1"
python-versions = "~3.11"
content-hash = "0000"
""",
        "pyproject.toml": """[project]
name = "locked"
dependencies = ["numpy (>=1.26,<2)", "torch (>=2.7)"]
""",
    },
    recipe={
        "torch": "2.7.1",
        "cuda": "cu126",
        "python": "3.11",
        "dependencies": ["numpy==1.26.4"],
        "constraints": ["sympy==1.14.0"],
    },
    fates=[
        "carried over: 2: numpy 1.26.4",
        "left out: 11: pytest 8.0.0: of the group dev: --group dev takes it",
        'changed: 17: torch 2.7.1+cu126: torch: "2.7.1", cuda: cu126',
        "changed: 28: sympy 1.14.0: constraints: sympy==1.14.0",
        'changed: 35: >=3.11,<3.12: python: "3.11"; the lock names the whole version',
    ],
)

PIPFILE = Example(
    name="pipfile",
    path="Pipfile",
    files={
        "Pipfile": """[[source]]
url = "https://pypi.org/simple"
verify_ssl = true
name = "pypi"

[[source]]
url = "https://download.pytorch.org/whl/cpu"
name = "pytorch"

[packages]
torch = {version = "==2.7.1", index = "pytorch"}
requests = {extras = ["socks"], version = "*"}
records = ">0.5.0"
django = {git = "https://example.org/django.git", ref = "1.11.4"}

[dev-packages]
pytest = "*"

[requires]
python_version = "3.11"
"""
    },
    recipe={
        "torch": "2.7.1",
        "cuda": "cpu",
        "python": "3.11",
        "dependencies": [
            "requests[socks]",
            "records>0.5.0",
            "django @ git+https://example.org/django.git@1.11.4",
        ],
    },
    fates=[
        "carried over: 2: source pypi",
        "changed: 7: source pytorch: cuda: cpu",
        'changed: 11: torch ==2.7.1: torch: "2.7.1", cuda: cpu',
        "carried over: 12: requests *",
        "carried over: 13: records >0.5.0",
        "carried over: 14: django",
        "left out: 16: [dev-packages]: for development, not for serving: --group dev takes it",
        "carried over: 20: 3.11",
    ],
)

PIPFILE_LOCK = Example(
    name="pipfile-lock",
    path="Pipfile.lock",
    files={
        "Pipfile.lock": """{
    "_meta": {
        "hash": {"sha256": "00"},
        "pipfile-spec": 6,
        "requires": {"python_version": "3.11"},
        "sources": [{"name": "pypi", "url": "https://pypi.org/simple", "verify_ssl": true}]
    },
    "default": {
        "numpy": {"hashes": ["sha256:00"], "index": "pypi", "version": "==1.26.4"},
        "torch": {"hashes": ["sha256:00"], "version": "==2.7.1"}
    },
    "develop": {"pytest": {"version": "==8.0.0"}}
}
"""
    },
    recipe={"torch": "2.7.1", "cuda": "pypi", "python": "3.11", "dependencies": ["numpy==1.26.4"]},
    fates=[
        "carried over: 5: 3.11",
        "carried over: 6: source pypi",
        "carried over: 9: numpy 1.26.4",
        'changed: 10: torch 2.7.1: torch: "2.7.1", cuda: pypi',
        "left out: 12: develop: for development, not for serving: --group dev takes it",
    ],
)

PYLOCK = Example(
    name="pylock",
    path="pylock.toml",
    files={
        "pylock.toml": """lock-version = "1.0"
created-by = "pip"
requires-python = ">=3.11"

[[packages]]
name = "numpy"
version = "1.26.4"
[[packages.wheels]]
name = "numpy-1.26.4-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl"
url = "https://example.org/numpy-1.26.4-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl"
hashes = {sha256 = "00"}
"""
    },
    recipe={"torch": "2.13.0", "cuda": "cpu", "python": "3.12", "dependencies": ["numpy==1.26.4"]},
    fates=[
        'changed: does not mention torch: torch: "2.13.0"; choose another with --torch',
        "changed: sets no CUDA version: cuda: cpu; choose another with --cuda",
        'changed: 3: >=3.11: python: "3.12"; the lock names the whole version',
        "carried over: 6: numpy 1.26.4",
    ],
)

MLFLOW = Example(
    name="mlflow",
    path="MLmodel",
    files={
        "MLmodel": """artifact_path: model
flavors:
  python_function:
    env:
      conda: conda.yaml
      virtualenv: python_env.yaml
    loader_module: mlflow.sklearn
    python_version: 3.10.12
""",
        "python_env.yaml": """python: 3.10.12
build_dependencies:
- pip==23.1.2
- setuptools
dependencies:
- -r requirements.txt
""",
        "conda.yaml": "channels: [conda-forge]\ndependencies: [python=3.10.12]\n",
        "requirements.txt": "mlflow==2.9.2\nscikit-learn==1.3.2\n",
    },
    recipe={
        "torch": "2.13.0",
        "cuda": "cpu",
        "python": "3.10",
        "dependencies": ["mlflow==2.9.2", "scikit-learn==1.3.2"],
    },
    fates=[
        'changed: does not mention torch: torch: "2.13.0"; choose another with --torch',
        "changed: sets no CUDA version: cuda: cpu; choose another with --cuda",
        "left out: 1: artifact_path: not part of a Python environment",
        "left out: 5: conda: conda.yaml: python_env.yaml describes the environment; import conda.yaml itself "
        "to use that one",
        'changed: 1: 3.10.12: python: "3.10"; the lock names the whole version',
        "left out: 3: pip==23.1.2: needed by builds, not by the model",
        "left out: 4: setuptools: needed by builds, not by the model",
        "changed: 6: -r requirements.txt: its lines are in the recipe",
        "carried over: 1: mlflow==2.9.2",
        "carried over: 2: scikit-learn==1.3.2",
    ],
)

BENTOML = Example(
    name="bentoml",
    path="bentofile.yaml",
    files={
        "bentofile.yaml": """service: "service:Summarization"
labels:
  owner: team
include:
  - "*.py"
python:
  requirements_txt: "./requirements.txt"
  packages:
    - transformers
docker:
  python_version: "3.11"
  cuda_version: "12.1"
  system_packages:
    - libblas-dev
""",
        "requirements.txt": "torch==2.7.1\n",
    },
    recipe={"torch": "2.7.1", "cuda": "pypi", "python": "3.11", "dependencies": ["transformers"]},
    fates=[
        "left out: 1: service: not part of a Python environment",
        "left out: 2: labels: not part of a Python environment",
        "left out: 4: include: not part of a Python environment",
        "changed: 7: -r ./requirements.txt: its lines are in the recipe",
        "carried over: 9: transformers",
        "carried over: 11: 3.11",
        "left out: 12: cuda_version: 12.1: the CUDA of the image; torch from pip contains its own: choose another "
        "build with --cuda",
        "left out: 14: libblas-dev: a package of the image, not of the environment: the server's image must have it",
        'changed: 1: torch==2.7.1: torch: "2.7.1", cuda: pypi',
    ],
)

COG = Example(
    name="cog",
    path="cog.yaml",
    files={
        "cog.yaml": """build:
  gpu: true
  cuda: "12.6"
  python_version: "3.11"
  python_packages:
    - pillow==10.4.0
    - torch==2.7.1
  system_packages:
    - libgl1-mesa-glx
  run:
    - command: echo "hello"
predict: "predict.py:Predictor"
"""
    },
    recipe={"torch": "2.7.1", "cuda": "cu126", "python": "3.11", "dependencies": ["pillow==10.4.0"]},
    fates=[
        "left out: 2: gpu: true: part of the image: the wheels contain their own",
        "changed: 3: 12.6: cuda: cu126",
        "carried over: 4: 3.11",
        "carried over: 6: pillow==10.4.0",
        'changed: 7: torch==2.7.1: torch: "2.7.1", cuda: cu126',
        "left out: 9: libgl1-mesa-glx: a package of the image, not of the environment: the server's image must have it",
        'left out: 11: echo "hello": a command of an image\'s build',
        "left out: 12: predict: not part of a Python environment",
    ],
)

TRUSS = Example(
    name="truss",
    path="config.yaml",
    files={
        "config.yaml": """model_name: bert
python_version: py311
requirements:
  - torch==2.7.1
  - transformers==4.50.0
resources:
  cpu: "1"
  use_gpu: false
"""
    },
    recipe={"torch": "2.7.1", "cuda": "pypi", "python": "3.11", "dependencies": ["transformers==4.50.0"]},
    fates=[
        "carried over: 2: 3.11",
        'changed: 4: torch==2.7.1: torch: "2.7.1", cuda: pypi',
        "carried over: 5: transformers==4.50.0",
        "left out: 6: resources: not part of a Python environment",
    ],
)

SOURCES = Example(
    name="sources by platform",
    path="pyproject.toml",
    files={
        "pyproject.toml": """[project]
name = "x"
requires-python = "==3.11.*"
dependencies = ["torch==2.5.1", "mylib"]

[tool.uv.sources]
torch = [
  { index = "cu121", marker = "sys_platform == 'linux'" },
  { index = "cpu", marker = "sys_platform != 'linux'" },
]
mylib = { git = "https://github.com/example/mylib", tag = "v1", subdirectory = "py" }

[[tool.uv.index]]
name = "cpu"
url = "https://download.pytorch.org/whl/cpu"
explicit = true

[[tool.uv.index]]
name = "cu121"
url = "https://download.pytorch.org/whl/cu121"
explicit = true
"""
    },
    recipe={
        "torch": "2.5.1",
        "cuda": "cu121",
        "python": "3.11",
        "dependencies": ["mylib @ git+https://github.com/example/mylib@v1#subdirectory=py"],
    },
    fates=[
        "carried over: 3: ==3.11.*",
        'changed: 4: torch==2.5.1: torch: "2.5.1", cuda: cu121',
        "changed: 4: mylib: with its source: git+https://github.com/example/mylib@v1#subdirectory=py",
        "left out: 9: torch from cpu (sys_platform != 'linux'): not for Linux, x86-64",
        "left out: 15: index cpu: nothing that is taken comes from it (cuda: cu121)",
        "changed: 20: index cu121: cuda: cu121",
    ],
)

SUBFOLDER = Example(
    name="a folder of a repository",
    path="uv.lock",
    files={
        "uv.lock": """version = 1

[[package]]
name = "torch"
version = "2.7.1"
source = { registry = "https://download.pytorch.org/whl/cpu" }

[[package]]
name = "mylib"
version = "1.0"
source = { git = "https://github.com/example/mylib?tag=v1&subdirectory=py#abcdef0123456789abcdef0123456789abcdef01" }
"""
    },
    recipe={
        "torch": "2.7.1",
        "cuda": "cpu",
        "dependencies": [
            "mylib @ git+https://github.com/example/mylib@abcdef0123456789abcdef0123456789abcdef01#subdirectory=py"
        ],
    },
    fates=['changed: 4: torch 2.7.1: torch: "2.7.1", cuda: cpu', "carried over: 9: mylib 1.0"],
)

GROUPS = Example(
    name="groups of a lock",
    path="pylock.toml",
    files={
        "pylock.toml": """lock-version = "1.0"
created-by = "x"
extras = ["fast"]
dependency-groups = ["main", "test"]
default-groups = ["main"]

[[packages]]
name = "torch"
version = "2.7.1"
wheels = [{url = "https://example.org/torch-2.7.1-py3-none-any.whl", hashes = {sha256 = "00"}}]

[[packages]]
name = "main"
version = "1.0"
marker = "'main' in dependency_groups"
wheels = [{url = "https://example.org/main-1.0-py3-none-any.whl", hashes = {sha256 = "00"}}]

[[packages]]
name = "fast"
version = "1.0"
marker = "'fast' in extras"
wheels = [{url = "https://example.org/fast-1.0-py3-none-any.whl", hashes = {sha256 = "00"}}]
"""
    },
    recipe={"torch": "2.7.1", "cuda": "pypi", "dependencies": ["main==1.0"]},
    fates=[
        'changed: 8: torch 2.7.1: torch: "2.7.1", cuda: pypi',
        "carried over: 13: main 1.0",
        "left out: 19: fast 1.0: of an extra or a group that is not taken: --group NAME takes it",
    ],
)

TWICE = Example(
    name="the same package twice",
    path="environment.yml",
    files={
        "environment.yml": """channels: [conda-forge]
dependencies:
  - python=3.11
  - numpy>=1.24,<2
  - scipy=1.13.0
  - tqdm
  - ffmpeg
  - pip:
    - torch==2.7.1
    - Numpy==1.26.0
    - scipy<2
    - tqdm
    - pytorch
"""
    },
    recipe={
        "torch": "2.7.1",
        "cuda": "pypi",
        "python": "3.11",
        "provider": "conda",
        "channels": ["conda-forge"],
        "conda": ["scipy=1.13.0", "tqdm", "ffmpeg"],
        "dependencies": ["Numpy==1.26.0"],
    },
    fates=[
        "carried over: 1: conda-forge",
        "carried over: 3: python=3.11",
        "left out: 4: numpy>=1.24,<2: clash: pip replaces it by Numpy==1.26.0, "
        "which is what that environment ended with",
        "carried over: 5: scipy=1.13.0",
        "carried over: 6: tqdm",
        "carried over: 7: ffmpeg",
        'changed: 9: torch==2.7.1: torch: "2.7.1", cuda: pypi',
        "carried over: 10: Numpy==1.26.0",
        "left out: 11: scipy<2: clash: pip leaves conda's scipy=1.13.0 in place, which satisfies it",
        "left out: 12: tqdm: clash: pip leaves conda's tqdm in place, which satisfies it",
        "left out: 13: pytorch: pip's pytorch is a placeholder that cannot be installed: use torch",
    ],
)

BENTO_OPTIONS = Example(
    name="options of a bentofile",
    path="bentofile.yaml",
    files={
        "bentofile.yaml": """service: "service:svc"
python:
  packages: ["torch==2.7.1"]
  lock_packages: false
  no_index: true
  find_links: ["./w"]
  pip_args: "--pre"
conda:
  environment_yml: ./env.yml
"""
    },
    recipe={"torch": "2.7.1", "cuda": "pypi", "prereleases": True},
    fates=[
        "left out: 1: service: not part of a Python environment",
        'changed: 3: torch==2.7.1: torch: "2.7.1", cuda: pypi',
        "left out: 4: lock_packages: false: a recipe is always locked",
        "left out: 5: --no-index: set package sources in envbuilder.toml, not in a recipe: no-index = true",
        "left out: 6: --find-links ./w: set package sources in envbuilder.toml, not in a recipe: find-links "
        '= ["…"]',
        "changed: 7: --pre: prereleases: true",
        "left out: 9: conda: environment_yml: ./env.yml: there is no file {folder}/env.yml",
    ],
)

PIPFILE_SECTIONS = Example(
    name="sections of a Pipfile",
    path="Pipfile",
    files={
        "Pipfile": """[[source]]
url = "https://download.pytorch.org/whl/cpu"
name = "pt"

[packages]
torch = {version = "==2.7.1", index = "pt"}

[docs]
sphinx = "*"

[scripts]
serve = "python serve.py"
"""
    },
    recipe={"torch": "2.7.1", "cuda": "cpu"},
    fates=[
        "changed: 2: source pt: cuda: cpu",
        'changed: 6: torch ==2.7.1: torch: "2.7.1", cuda: cpu',
        "left out: 8: [docs]: a custom category: --group docs takes it",
        "left out: 11: [scripts]: not part of a Python environment",
    ],
)


FILES = (
    CONDA,
    REQUIREMENTS,
    PYPROJECT,
    POETRY,
    UV_LOCK,
    POETRY_LOCK,
    PIPFILE,
    PIPFILE_LOCK,
    PYLOCK,
    MLFLOW,
    BENTOML,
    COG,
    TRUSS,
    SOURCES,
    SUBFOLDER,
    GROUPS,
    TWICE,
    BENTO_OPTIONS,
    PIPFILE_SECTIONS,
)
