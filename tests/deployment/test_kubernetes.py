from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
from ruamel.yaml import YAML

from envbuilder.deployment.kubernetes import inference_service, object_name, pod

IMAGE = f"registry.example.com/envs/resnet@sha256:{'ab' * 32}"


def load(text: str) -> dict[str, Any]:
    found: dict[str, Any] = YAML(typ="safe", pure=True).load(text)
    return found


@pytest.mark.parametrize("version", ["1.35.0", "1.36.0"])
@pytest.mark.parametrize("cuda", ["cpu", "cu126"])
def test_the_pod_follows_kubernetes_s_schema(version: str, cuda: str) -> None:
    found = load(pod("My_Model.v2", "25.06", cuda, IMAGE, "/envs/resnet"))
    kubernetes_validate.validate(found, version, strict=True)
    (container,) = found["spec"]["containers"]
    assert {"name": "environment", "mountPath": "/envs/resnet", "readOnly": True} in container["volumeMounts"]
    assert found["spec"]["volumes"][0]["image"]["reference"] == IMAGE
    assert found["metadata"]["name"] == object_name("My_Model.v2")
    assert {"name": "shm", "mountPath": "/dev/shm"} in container["volumeMounts"]
    assert ("resources" in container) == (cuda != "cpu")
    # And a schema that has no image volumes refuses it: the check can fail.
    found["spec"]["volumes"][0]["image"]["digest"] = "x"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(found, version, strict=True)


@pytest.mark.parametrize(("version", "noexec"), [("1.33.0", True), ("1.35.0", True), ("1.36.0", False)])
def test_until_which_version_kubernetes_documents_noexec(version: str, noexec: bool) -> None:
    """What the page and the manifests say of versions."""
    schemas = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema"
    text = (schemas / f"v{version}-local-strict" / "volume-v1.json").read_text()
    (said,) = set(re.findall(r"The volume will be mounted read-only \(ro\)([^.]*)\.", text))
    assert ("noexec" in said) is noexec


@pytest.mark.parametrize("cuda", ["cpu", "cu126"])
def test_the_inference_service_is_a_pod_s_spec_with_a_model(cuda: str) -> None:
    """KServe's predictor is Kubernetes's PodSpec, and its model a container, with a few fields of its own."""
    found = load(inference_service("resnet", "25.06", cuda, IMAGE, "/envs/resnet"))
    assert (found["apiVersion"], found["kind"]) == ("serving.kserve.io/v1beta1", "InferenceService")
    predictor = found["spec"].pop("predictor")
    assert found["spec"] == {}
    served = predictor.pop("model")
    own = {name: served.pop(name) for name in ("modelFormat", "protocolVersion", "storageUri")}
    assert own == {"modelFormat": {"name": "triton"}, "protocolVersion": "v2", "storageUri": "pvc://models"}
    as_pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": found["metadata"],
        "spec": {**predictor, "containers": [{"name": "kserve-container", **served}]},
    }
    kubernetes_validate.validate(as_pod, "1.35.0", strict=True)
    assert predictor["volumes"][0]["image"]["reference"] == IMAGE


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("resnet", "resnet"),
        ("a-b1", "a-b1"),
        ("A_b.C", "a-b-c-[0-9a-f]{6}"),
        ("__", "m-[0-9a-f]{6}"),
        ("x" * 50, "x" * 50),
        ("x" * 51, "x{43}-[0-9a-f]{6}"),
        ("x" * 42 + "-" * 20 + "y", "x{42}-[0-9a-f]{6}"),
        ("3dunet", "m-3dunet-[0-9a-f]{6}"),
        ("é1", "m-1-[0-9a-f]{6}"),
        ("ünet", "net-[0-9a-f]{6}"),
        ("\udce9", "m-[0-9a-f]{6}"),
    ],
)
def test_names(model: str, name: str) -> None:
    found = object_name(model)
    assert re.fullmatch(name, found)
    assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", found), "what KServe's webhook demands"
    assert len(f"{found}-predictor") <= 63


def test_two_models_have_two_names() -> None:
    models = ["a.b", "a_b", "a-b", "A-b", "a--b", "m-3d", "3d", "x" * 60, "x" * 61]
    assert len({object_name(model) for model in models}) == len(models)
