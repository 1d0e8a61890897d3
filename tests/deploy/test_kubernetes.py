"""The manifests: every overlay renders, validates against Kubernetes' schemas, and keeps what the page promises."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from kbsync.settings.loading import load
from tests.support.manifests import KUBERNETES, RENDERER, objects, rendered, the, validate
from tests.support.paths import REPOSITORY

OVERLAYS = ("sqlite", "postgresql", "gpu")
WHOLE = [
    file
    for file in sorted(KUBERNETES.rglob("*.yaml"))
    if file.name not in ("kustomization.yaml", "volume.yaml", "database.yaml", "network.yaml", "gpu.yaml")
    and file.name
    not in ("daemon.yaml", "home.yaml", "node.yaml", "shared.yaml", "cluster.yaml", "job.yaml", "queue.yaml")
]
"""Files with complete objects of Kubernetes' own kinds; the others are kustomizations, patches, and kinds of KubeRay
and Kueue (test_ray_manifests.py)."""


@pytest.mark.parametrize("file", WHOLE, ids=lambda file: str(file.relative_to(KUBERNETES)))
def test_a_file_is_valid(file: Path) -> None:
    for one in objects(file.read_text(encoding="utf-8")):
        validate(one)


def test_a_misspelt_key_is_found() -> None:
    from kubernetes_validate import ValidationError

    (one,) = objects((KUBERNETES / "base" / "deployment.yaml").read_text(encoding="utf-8"))
    one["spec"]["template"]["spec"]["securityContexts"] = {}
    with pytest.raises(ValidationError):
        validate(one)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_renders_to_valid_manifests(overlay: str) -> None:
    found = rendered(overlay)
    for one in found:
        validate(one)
    assert {one["kind"] for one in found} == {
        "ConfigMap",
        "Deployment",
        "NetworkPolicy",
        "PersistentVolumeClaim",
        "PodDisruptionBudget",
        "Service",
        "ServiceAccount",
    }, "and no secret"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_pod_is_confined_and_probed(overlay: str) -> None:
    deployment = the("Deployment", rendered(overlay))
    assert deployment["spec"]["replicas"] == 1
    assert deployment["spec"]["strategy"]["type"] == "Recreate"
    pod = deployment["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
    assert pod["automountServiceAccountToken"] is False
    (container,) = pod["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    probes = {
        name: container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness", "readiness")
    }
    assert probes == {"startup": "/livez", "liveness": "/livez", "readiness": "/readyz"}
    assert {"cpu", "memory"} <= set(container["resources"]["requests"])
    written = {mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")}
    assert written == {"/tmp", "/var/lib/kbsync"}
    volumes = {volume["name"] for volume in pod["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_selectors_match_the_pods(overlay: str) -> None:
    found = rendered(overlay)
    labels = the("Deployment", found)["spec"]["template"]["metadata"]["labels"].items()
    for kind, path in (
        ("Deployment", ("selector", "matchLabels")),
        ("Service", ("selector",)),
        ("PodDisruptionBudget", ("selector", "matchLabels")),
        ("NetworkPolicy", ("podSelector", "matchLabels")),
    ):
        chosen = the(kind, found)["spec"]
        for key in path:
            chosen = chosen[key]
        assert chosen, f"{kind} would select every pod"
        assert chosen.items() <= labels


def test_what_the_overlays_add() -> None:
    (container,) = the("Deployment", rendered("postgresql"))["spec"]["template"]["spec"]["containers"]
    (url,) = [one for one in container["env"] if one["name"] == "KBSYNC_STATE__URL"]
    assert url["valueFrom"]["secretKeyRef"] == {"name": "kbsync-database", "key": "url"}
    rules = the("NetworkPolicy", rendered("postgresql"))["spec"]["egress"]
    assert any(port["port"] == 5432 for rule in rules for port in rule.get("ports", ()))
    (container,) = the("Deployment", rendered("gpu"))["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert container["image"] == "kbsync:cuda"


def test_the_settings_are_settings_that_the_probes_reach(tmp_path: Path) -> None:
    settings = load(KUBERNETES / "base" / "kbsync.toml", {})
    assert settings.health.listen == "0.0.0.0:8787"
    assert settings.log.format == "json"


def test_no_manifest_holds_a_secret() -> None:
    for file in (REPOSITORY / "deploy").rglob("*"):
        if file.is_file():
            text = file.read_text(encoding="utf-8")
            assert not re.search(r"(?im)^\s*(password|token|secret)\s*[:=]\s*['\"]?\w", text), file
            assert "kind: Secret" not in text


@pytest.mark.skipif(RENDERER is None, reason="kustomize or kubectl lets this test run")
def test_the_overlay_of_the_page_renders(tmp_path: Path) -> None:
    page = (REPOSITORY / "docs" / "kubernetes.md").read_text(encoding="utf-8")
    block = re.search(r"^ {8}# my-kbsync/kustomization.yaml\n((?: {8}.*\n)+)", page, flags=re.MULTILINE)
    assert block is not None
    shutil.copytree(KUBERNETES, tmp_path / "deploy" / "kubernetes")
    own = tmp_path / "my-kbsync"
    own.mkdir()
    text = "".join(line[8:] + "\n" for line in block[1].splitlines())
    (own / "kustomization.yaml").write_text(text, encoding="utf-8")
    (own / "kbsync.toml").write_text("# mine\n", encoding="utf-8")
    assert RENDERER is not None
    done = subprocess.run([*RENDERER, str(own)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = objects(done.stdout)
    assert {one["metadata"]["namespace"] for one in found} == {"kbsync"}
    assert the("ConfigMap", found)["data"]["kbsync.toml"] == "# mine\n"
    (container,) = the("Deployment", found)["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "registry.example.org/kbsync:1"
