"""Kubernetes manifests that serve a model from a mounted image: a Pod, and an InferenceService of KServe.

Sources: Kubernetes's API (``ImageVolumeSource``, stable in 1.36, on by default since 1.35, until then documented as
``noexec``) and KServe's ``serving.kserve.io/v1beta1``, whose predictor is a PodSpec with a model.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections.abc import Mapping
from typing import Any, Final

from ruamel.yaml import YAML

from envbuilder.catalog.triton import PYTRITON

MODELS: Final = "/models"
PYTRITON_IMAGE: Final = "24.10"
"""The release of the server in the wheel, which has no image of its own."""
_CLAIM: Final = "models"
_LONGEST: Final = 50
"""Longest name, in characters."""
_HEAD: Final = """\
# Written by `envbuilder deploy --layout image`: {what}.
# The environment is the image {image}, mounted read-only at {path}.
# It needs Kubernetes 1.35 or later (image volumes), a runtime that has them, and no `noexec` on the mount, which
# versions before 1.36 document: `kubectl exec POD -- grep {path} /proc/mounts` shows it.
# Replace the claim `{claim}` by the one that holds your model repository.
"""


def pod(model: str, release: str, cuda: str, image: str, path: str) -> str:
    """Return a Pod that serves *model* by Triton *release*, the environment *image* mounted at *path*."""
    container = {
        "name": "triton",
        "image": _server(release),
        "args": ["tritonserver", f"--model-repository={MODELS}"],
        "ports": [
            {"name": name, "containerPort": port}
            for name, port in (("http", 8000), ("grpc", 8001), ("metrics", 8002))
        ],
        "readinessProbe": {"httpGet": {"path": "/v2/health/ready", "port": "http"}, "periodSeconds": 5},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        **_resources(cuda),
        "volumeMounts": [*_mounts(path), {"name": "models", "mountPath": MODELS, "readOnly": True}],
    }
    found = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": _metadata(model),
        "spec": {
            "containers": [container],
            "volumes": [
                *_volumes(image),
                {"name": "models", "persistentVolumeClaim": {"claimName": _CLAIM, "readOnly": True}},
            ],
        },
    }
    return _head("a Pod", image, path) + _yaml(found)


def inference_service(model: str, release: str, cuda: str, image: str, path: str) -> str:
    """Return an InferenceService of KServe that does the same."""
    served = {
        "modelFormat": {"name": "triton"},
        "protocolVersion": "v2",
        "image": _server(release),
        "storageUri": f"pvc://{_CLAIM}",
        **_resources(cuda),
        "volumeMounts": _mounts(path),
    }
    found = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": _metadata(model),
        "spec": {"predictor": {"model": served, "volumes": _volumes(image)}},
    }
    return _head("an InferenceService of KServe", image, path) + _yaml(found)


def object_name(model: str) -> str:
    """Return a model's name as KServe takes names: letters, digits and ``-``, the first a letter (RFC 1035).

    KServe appends ``-predictor`` and more, within the 63 characters of a label. A shortened name ends with digits
    of a hash of the model's name, so two models never get the same name.
    """
    name = re.sub(r"[^a-z0-9]+", "-", model.lower()).strip("-")
    name = name if name[:1].isalpha() else f"m-{name}".strip("-")
    if name == model and len(name) <= _LONGEST:
        return name
    digits = hashlib.sha256(os.fsencode(model)).hexdigest()[:6]
    return f"{name[: _LONGEST - len(digits) - 1].strip('-')}-{digits}"


def _server(release: str) -> str:
    return f"nvcr.io/nvidia/tritonserver:{PYTRITON_IMAGE if release == PYTRITON else release}-py3"


def _metadata(model: str) -> dict[str, Any]:
    name = object_name(model)
    return {
        "name": name,
        "labels": {"app.kubernetes.io/name": name, "app.kubernetes.io/managed-by": "envbuilder"},
    }


def _resources(cuda: str) -> dict[str, Any]:
    return {} if cuda == "cpu" else {"resources": {"limits": {"nvidia.com/gpu": 1}}}


def _mounts(path: str) -> list[dict[str, Any]]:
    return [
        {"name": "environment", "mountPath": path, "readOnly": True},
        {"name": "shm", "mountPath": "/dev/shm"},  # tensors pass through it, and a container has 64 MiB
    ]


def _volumes(image: str) -> list[dict[str, Any]]:
    return [
        {"name": "environment", "image": {"reference": image, "pullPolicy": "IfNotPresent"}},
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}},
    ]


def _head(what: str, image: str, path: str) -> str:
    return _HEAD.format(what=what, image=image, path=path, claim=_CLAIM)


def _yaml(document: Mapping[str, Any]) -> str:
    writer = YAML(typ="safe", pure=True)
    writer.default_flow_style = False
    writer.sort_base_mapping_type_on_output = False  # type: ignore[assignment]  # its stub has no type for it
    writer.width = 200
    out = io.StringIO()
    writer.dump(document, out)
    return out.getvalue()
