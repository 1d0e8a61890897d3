"""The manifests for KubeRay and Kueue: valid, confined like the daemon's pod, and of settings that exist."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from kbsync.settings.loading import load
from tests.support.manifests import KUBERNETES, objects, rendered, the, validate

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
        validate(one, SCHEMA)


def test_a_misspelt_key_is_found() -> None:
    from jsonschema import ValidationError

    (one,) = custom("overlays/ray/cluster.yaml")
    wrong = copy.deepcopy(one)
    wrong["spec"]["workerGroupSpec"] = wrong["spec"].pop("workerGroupSpecs")
    with pytest.raises(ValidationError):
        validate(wrong, SCHEMA)


def test_pods_of_the_cluster_are_valid_and_confined_like_the_daemons() -> None:
    found = list(templates())
    assert len(found) == 4
    for template in found:
        whole = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "x"}, "template": template}
        validate(whole)
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
            validate(one, SCHEMA)
        else:
            validate(one)
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


def patched(one: dict[str, Any], file: str) -> dict[str, Any]:
    """`one` after the operations (RFC 6902) of a file, of the kinds that it has."""
    (operations,) = list(yaml.safe_load_all((KUBERNETES / file).read_text(encoding="utf-8")))
    found = copy.deepcopy(one)
    for operation in operations:
        *parents, last = operation["path"].strip("/").split("/")
        place: Any = found
        for name in parents:
            place = place[int(name)] if isinstance(place, list) else place[name]
        if operation["op"] == "remove":
            del place[int(last)]
        elif last == "-":
            place.append(operation["value"])
        else:
            assert (last in place) is (operation["op"] == "replace")
            place[last] = operation["value"]
    return found


def test_with_an_object_store_nodes_mount_nothing_of_the_daemon_and_reach_the_store() -> None:
    folder = "overlays/ray-object-store"
    (plain,) = custom("overlays/ray/cluster.yaml")
    cluster = patched(plain, f"{folder}/cluster.yaml")
    validate(cluster, SCHEMA)
    for group in groups(cluster):
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        assert [one["name"] for one in container["volumeMounts"]] == [one["name"] for one in pod["volumes"]]
        assert {one["name"] for one in pod["volumes"]} == {"ray-token", "tmp", "shared-memory"}
        assert container["envFrom"] == [{"secretRef": {"name": "kbsync-object-store"}}]
    (_, worker) = groups(cluster)
    sizes = {
        one["name"]: one.get("emptyDir", {}).get("sizeLimit") for one in worker["template"]["spec"]["volumes"]
    }
    assert sizes["tmp"] == "64Gi", "the base is fetched there"
    (policy,) = objects((KUBERNETES / "overlays/ray/ray-network.yaml").read_text(encoding="utf-8"))
    policy = patched(policy, f"{folder}/network.yaml")
    validate(policy)
    assert {"ports": [{"port": 443, "protocol": "TCP"}]} in policy["spec"]["egress"]


def test_the_overlay_with_an_object_store_renders_to_a_daemon_that_has_its_credentials() -> None:
    found = rendered("ray-object-store")
    daemon = the("Deployment", found)["spec"]["template"]["spec"]["containers"][0]
    assert daemon["envFrom"] == [{"secretRef": {"name": "kbsync-object-store"}}]
    assert the("PersistentVolumeClaim", found)["spec"]["accessModes"] == ["ReadWriteOnce"]


def test_the_variable_of_the_object_store_is_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    (deployment,) = objects(
        (KUBERNETES / "overlays/ray-object-store/daemon.yaml").read_text(encoding="utf-8")
    )
    (variable,) = deployment["spec"]["template"]["spec"]["containers"][0]["env"]
    monkeypatch.setenv(variable["name"], variable["value"])
    settings = load(None).executor.ray
    assert settings.storage == "s3://example-bucket/kbsync"
    assert f"--storage={settings.storage}" in settings.command()


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
