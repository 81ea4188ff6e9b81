"""Files of other tools that say what few say: for the tests of single rules, and as seeds for mutations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

UV_EXTRAS: Final = {
    "pyproject.toml": """[project]
name = "project"
requires-python = ">=3.12"
dependencies = ["numpy", "project[more]"]

[project.optional-dependencies]
cpu = ["torch>=2.7.0", "torchvision>=0.22.0"]
cu128 = ["torch>=2.7.0", "torchvision>=0.22.0"]
more = ["six"]

[tool.uv]
conflicts = [[{ extra = "cpu" }, { extra = "cu128" }]]
exclude-newer = "2026-01-01T00:00:00Z"

[tool.uv.pip]
torch-backend = "cu126"

[tool.uv.sources]
torch = [
  { index = "pytorch-cpu", extra = "cpu" },
  { index = "pytorch-cu128", extra = "cu128" },
]
torchvision = [
  { index = "pytorch-cpu", extra = "cpu" },
  { index = "pytorch-cu128", extra = "cu128" },
]

[[tool.uv.index]]
name = "pytorch-cpu"
url = "https://download.pytorch.org/whl/cpu"
explicit = true

[[tool.uv.index]]
name = "pytorch-cu128"
url = "https://download.pytorch.org/whl/cu128"
explicit = true
"""
}
"""uv's own example for PyTorch: a build for each extra."""

UV_CONFLICTS: Final = {
    "uv.lock": """version = 1
revision = 3
requires-python = ">=3.10"
resolution-markers = ["python_full_version >= '3.12'", "python_full_version < '3.12'"]
conflicts = [[
    { package = "demo", extra = "cpu" },
    { package = "demo", extra = "cu124" },
]]

[manifest]
members = ["demo", "part"]

[[package]]
name = "demo"
version = "0.1.0"
source = { virtual = "." }
dependencies = [
    { name = "pandas", version = "2.1.0", marker = "python_full_version < '3.12'" },
    { name = "pandas", version = "2.2.0", marker = "python_full_version >= '3.12'" },
    { name = "part" },
]

[package.optional-dependencies]
cpu = [
    { name = "torch", version = "2.6.0+cpu", marker = "extra == 'extra-4-demo-cpu' and extra != 'extra-4-demo-cu124'" },
]
cu124 = [
    { name = "torch", version = "2.6.0+cu124", source = { registry = "https://download.pytorch.org/whl/cu124" } },
]

[package.dev-dependencies]
serve = [{ name = "uvicorn", extra = ["standard"] }]

[[package]]
name = "pandas"
version = "2.1.0"
source = { registry = "https://pypi.org/simple" }
resolution-markers = ["python_full_version < '3.12'"]

[[package]]
name = "pandas"
version = "2.2.0"
source = { registry = "https://pypi.org/simple" }
resolution-markers = ["python_full_version >= '3.12'"]

[[package]]
name = "part"
version = "0.2.0"
source = { editable = "packages/part" }
dependencies = [{ name = "six" }]

[[package]]
name = "six"
version = "1.17.0"
source = { registry = "https://pypi.org/simple" }
sdist = { url = "https://example.org/six-1.17.0.tar.gz", hash = "sha256:00", size = 1 }

[[package]]
name = "torch"
version = "2.6.0+cpu"
source = { registry = "https://download.pytorch.org/whl/cpu" }

[[package]]
name = "torch"
version = "2.6.0+cu124"
source = { registry = "https://download.pytorch.org/whl/cu124" }

[[package]]
name = "uvicorn"
version = "0.34.0"
source = { registry = "https://pypi.org/simple" }
dependencies = [{ name = "h11" }]

[package.optional-dependencies]
standard = [{ name = "httptools" }]

[[package]]
name = "h11"
version = "0.14.0"
source = { registry = "https://pypi.org/simple" }

[[package]]
name = "httptools"
version = "0.6.4"
source = { registry = "https://pypi.org/simple" }
""",
    "packages/part/pyproject.toml": '[project]\nname = "part"\n',
}
"""Extras that exclude each other, forks by Python, and a member of the workspace that the project depends on."""

POETRY_2: Final = {
    "pyproject.toml": """[project]
name = "svc"
version = "0.1.0"
description = ""
requires-python = ">=3.10,<3.13"
dependencies = ["torch (>=2.6.0,<3.0.0)", "requests (>=2.32.3,<3.0.0)", "helper"]

[project.optional-dependencies]
fast = ["uvloop"]

[tool.poetry]
packages = [{ include = "svc" }]

[tool.poetry.dependencies]
python = "^3.10 || ^3.12"
torch = { source = "pytorch" }
helper = { git = "git@example.org:team/helper.git", rev = "v1" }
unused = "^1.0"

[tool.poetry.group.serve]
include-groups = ["http"]

[tool.poetry.group.serve.dependencies]
bentoml = "~1.4"

[tool.poetry.group.http.dependencies]
httpx = { version = "^0.28", platform = "linux" }

[[tool.poetry.source]]
name = "pytorch"
url = "https://download.pytorch.org/whl/cu126"
priority = "explicit"

[dependency-groups]
dev = ["pytest"]

[build-system]
requires = ["poetry-core>=2.0"]
build-backend = "poetry.core.masonry.api"
"""
}
"""Poetry 2: [project] names the dependencies, Poetry's table where two of them come from."""

POETRY_2_LOCK: Final = {
    "poetry.lock": """[[package]]
name = "requests"
version = "2.32.3"
optional = false
groups = ["main"]
files = [{file = "requests-2.32.3-py3-none-any.whl", hash = "sha256:00"}]

[[package]]
name = "torch"
version = "2.7.1+cu126"
optional = false
groups = ["main"]
files = []

[package.source]
type = "legacy"
url = "https://download.pytorch.org/whl/cu126"
reference = "pytorch"

[[package]]
name = "old"
version = "1.0"
optional = false
groups = ["main"]
files = [{file = "old-1.0.tar.gz", hash = "sha256:00"}]

[[package]]
name = "uvloop"
version = "0.21.0"
optional = true
groups = ["main"]
markers = "extra == \\"fast\\""
files = []

[[package]]
name = "pytest"
version = "8.0.0"
optional = false
groups = ["dev", "test"]
markers = {dev = "sys_platform == 'linux'"}
files = []

[extras]
fast = ["uvloop"]

[metadata]
lock-version = "2.1"
python-versions = "^3.10 || ^3.12"
content-hash = "x"
""",
    **POETRY_2,
}

POETRY_EXTRAS: Final = {
    "pyproject.toml": """[tool.poetry]
name = "x"
[tool.poetry.dependencies]
python = { version = ">=3.9,<3.12" }
torch = [
  { version = "2.1.0", source = "cu121", markers = "sys_platform == 'linux'" },
  { version = "2.1.0", source = "cpu", markers = "sys_platform == 'darwin'" },
]
exact = "=1.2"
wrong = "^2024.1.*"
several = { version = "*", python = "<3.9 || >=3.11" }
mac = { version = "^1.0", platform = "darwin" }
mysqlclient = { version = "^2", optional = true }
[tool.poetry.extras]
mysql = ["mysqlclient"]
[tool.poetry.dev-dependencies]
pytest = "^8"
[[tool.poetry.source]]
name = "cu121"
url = "https://download.pytorch.org/whl/cu121"
priority = "explicit"
[[tool.poetry.source]]
name = "cpu"
url = "https://download.pytorch.org/whl/cpu"
priority = "explicit"
"""
}

PIPFILE_MARKERS: Final = {
    "Pipfile": """[[source]]
name = "pypi"
url = "https://pypi.org/simple"

[packages]
requests = {extras = ["socks"], version = ">=2", markers = "python_version >= '3.8'"}
pywinusb = {version = "*", os_name = "== 'nt'"}
arm = {version = "*", platform_machine = "== 'aarch64'"}
own = {path = "./own", editable = true}
"e682b37" = {file = "https://example.org/e682b37.zip"}

[serve]
gunicorn = "*"

[dev-packages]
pytest = "*"

[pipenv]
allow_prereleases = true
sort_pipfile = true
""",
    "own/pyproject.toml": '[project]\nname = "own"\n',
}

PIPFILE_LOCK_CATEGORIES: Final = {
    "Pipfile.lock": """{
    "_meta": {"sources": [{"name": "pypi", "url": "https://pypi.org/simple"}]},
    "default": {
        "requests": {"extras": ["socks"], "version": "==2.32.3"},
        "idna": {"version": "==3.10"}
    },
    "serve": {"gunicorn": {"version": "==23.0.0"}},
    "develop": {"pytest": {"version": "==8.0.0"}}
}
""",
    **PIPFILE_MARKERS,
}

BENTO_CONDA: Final = {
    "bentofile.yaml": """python:
  packages: [torch==2.7.1]
  trusted_host: [host]
  pack_git_packages: false
conda:
  channels: [conda-forge]
  dependencies:
    - ffmpeg>=6
    - pip: [six]
  pip: [einops]
docker:
  distro: debian
"""
}

BENTO_CONDA_FILE: Final = {
    "bentofile.yaml": "service: svc\nconda:\n  environment_yml: ./env.yml\n  channels: [other]\n",
    "env.yml": "channels: [conda-forge]\ndependencies: [ffmpeg, pip: [torch==2.7.1]]\n",
}

COG_KEYS: Final = {
    "cog.yaml": """build:
  gpu: false
  python_version: 3.10
  python_packages: [torch==2.7.1]
  pre_install: [echo a]
  run:
    - echo b
    - command: echo c
      mounts: []
  fast: true
"""
}

TRUSS_PROJECT: Final = {
    "config.yaml": "model_name: m\nrequirements_file: ./pyproject.toml\npython_version: py311\n",
    "pyproject.toml": '[project]\nname = "m"\nrequires-python = ">=3.10"\ndependencies = ["torch==2.7.1", "six"]\n',
}

TRUSS_LOCK: Final = {"config.yaml": "requirements_file: ./uv.lock\npython_version: py312\n", **UV_CONFLICTS}

PYLOCK_SDIST: Final = {
    "pylock.toml": """lock-version = "1.0"
created-by = "x"
extras = ["fast"]

[[packages]]
name = "old"
version = "1.0"
sdist = {url = "https://example.org/old-1.0.tar.gz", hashes = {sha256 = "00"}}

[[packages]]
name = "fast"
version = "1.0"
marker = "'fast' in extras"
wheels = [{url = "https://example.org/fast-1.0-py3-none-any.whl", hashes = {sha256 = "00"}}]
"""
}

ONLY_GROUPS: Final = {
    "pyproject.toml": """[dependency-groups]
serve = ["six", { include-group = "more" }]
more = ["idna"]
[tool.uv]
package = false
dev-dependencies = ["pytest"]
[tool.pdm.dev-dependencies]
test = ["y"]
[tool.hatch.envs.default]
dependencies = ["z"]
[tool.black]
line-length = 3
"""
}

MORE: Final[Mapping[str, Mapping[str, str]]] = {
    "uv's extras": UV_EXTRAS,
    "uv's conflicts": UV_CONFLICTS,
    "Poetry 2": POETRY_2,
    "a lock of Poetry 2": POETRY_2_LOCK,
    "extras of Poetry": POETRY_EXTRAS,
    "markers of a Pipfile": PIPFILE_MARKERS,
    "categories of a lock": PIPFILE_LOCK_CATEGORIES,
    "conda in a bentofile": BENTO_CONDA,
    "a conda file in a bentofile": BENTO_CONDA_FILE,
    "keys of cog": COG_KEYS,
    "a truss of a project": TRUSS_PROJECT,
    "a truss of a lock": TRUSS_LOCK,
    "sources in a pylock": PYLOCK_SDIST,
    "groups alone": ONLY_GROUPS,
}
