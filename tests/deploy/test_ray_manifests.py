"""The manifests for KubeRay and Kueue: valid, confined like the daemon's pod, and of settings that exist."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from kbsync.settings.loading import load
from tests.support.manifests import KUBERNETES, objects, rendered, the

SCHEMA = json.loads(Path(__file__).with_name("custom_kinds.json").read_text(encoding="utf-8"))
CUSTOM = ("overlays/ray/cluster.yaml", "queue/job.yaml", "queue/queue.yaml")


def custom(file: str) -> list[dict[str, Any]]:
    return objects((KUBERNETES / file).read_text(encoding="utf-8"))


def groups(one: dict[str, Any]) -> list[dict[str, Any]]:
    """The head and the workers of a cluster or a job."""
    spec = one["spec"].get("rayClusterSpec", one["spec"])
    return [spec["headGroupSpec"], *spec["workerGroupSpecs"]] if "headGroupSpec" in spec else []


def templates() -> Iterator[dict[str, Any]]:
    for file in CUSTOM:
        for one in custom(file):
            yield from (group["template"] for group in groups(one))


@pytest.mark.parametrize("file", CUSTOM)
def test_a_file_is_valid(file: str) -> None:
    for one in custom(file):
        jsonschema.validate(one, SCHEMA)


def test_a_misspelt_key_is_found() -> None:
    (one,) = custom("overlays/ray/cluster.yaml")
    wrong = copy.deepcopy(one)
    wrong["spec"]["workerGroupSpec"] = wrong["spec"].pop("workerGroupSpecs")
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, SCHEMA)


def test_pods_of_the_cluster_are_valid_and_confined_like_the_daemons() -> None:
    found = list(templates())
    assert len(found) == 4
    for template in found:
        whole = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "x"}, "template": template}
        kubernetes_validate.validate(whole, kubernetes_validate.latest_version(), strict=True)
        pod = template["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["automountServiceAccountToken"] is False
        (container,) = pod["containers"]
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert {mount["name"] for mount in container["volumeMounts"]} == {
            one["name"] for one in pod["volumes"]
        }
        variables = {one["name"]: one.get("value") for one in container["env"]}
        assert variables["RAY_AUTH_MODE"] == "token", "whoever reaches an open cluster can run programs on it"


def test_the_overlay_renders_to_a_daemon_that_is_a_node_of_the_cluster() -> None:
    found = rendered("ray")
    for one in found:
        if one["apiVersion"] == "ray.io/v1":
            jsonschema.validate(one, SCHEMA)
        else:
            kubernetes_validate.validate(one, kubernetes_validate.latest_version(), strict=True)
    deployment, cluster = the("Deployment", found), the("RayCluster", found)
    daemon, node = deployment["spec"]["template"]["spec"]["containers"]
    head = f"{cluster['metadata']['name']}-head-svc:6379"
    assert f"--address={head}" in node["command"]
    settings = {one["name"]: one.get("value") for one in daemon["env"]}
    assert settings["KBSYNC_EXECUTOR__RAY__ADDRESS"] == head
    assert settings["KBSYNC_EXECUTOR__RAY__WORKERS"] == str(groups(cluster)[1]["replicas"])
    mounts = [{mount["mountPath"] for mount in one["volumeMounts"]} for one in (daemon, node)]
    assert {"/tmp", "/dev/shm", "/etc/ray"} <= mounts[0] & mounts[1], "Ray's processes of one node share them"
    assert the("PersistentVolumeClaim", found)["spec"]["accessModes"] == ["ReadWriteMany"]
    homes = [mount["mountPath"] for mount in daemon["volumeMounts"] if mount["name"] == "home"]
    for group in groups(cluster):
        (container,) = group["template"]["spec"]["containers"]
        assert [m["mountPath"] for m in container["volumeMounts"] if m["name"] == "home"] == homes, "one path"


@pytest.mark.parametrize("file", ["overlays/ray/node.yaml", "queue/job.yaml"])
def test_the_variables_are_settings(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (KUBERNETES / file).read_text(encoding="utf-8")
    (one,) = list(yaml.safe_load_all(text))
    spec = one["spec"]["template"] if "template" in one["spec"] else groups(one)[0]["template"]
    variables = {v["name"]: v["value"] for v in spec["spec"]["containers"][0]["env"] if "value" in v}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    settings = load(None).executor
    assert settings.kind == "ray"
    assert settings.ray.devices_per_worker == 1
    assert settings.ray.address in ("auto", "kbsync-ray-head-svc:6379")


def test_the_job_waits_for_its_queue_and_resumes() -> None:
    (job,) = custom("queue/job.yaml")
    queue = next(one for one in custom("queue/queue.yaml") if one["kind"] == "LocalQueue")
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == queue["metadata"]["name"]
    assert job["spec"]["suspend"] is True
    assert job["spec"]["backoffLimit"] > 0
    workers = groups(job)[1]["maxReplicas"]
    (cluster,) = [one for one in custom("queue/queue.yaml") if one["kind"] == "ClusterQueue"]
    (group,) = cluster["spec"]["resourceGroups"]
    quota = {one["name"]: one["nominalQuota"] for one in group["flavors"][0]["resources"]}
    assert int(quota["nvidia.com/gpu"]) >= workers, "or the job never starts"
