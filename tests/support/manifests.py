"""Manifests as objects: from their files, or rendered by kustomize."""

from __future__ import annotations

import shutil
import subprocess
from typing import Any

import pytest
import yaml

from tests.support.paths import REPOSITORY

KUBERNETES = REPOSITORY / "deploy" / "kubernetes"
RENDERER = next(
    (
        command
        for program, command in (("kustomize", ["kustomize", "build"]), ("kubectl", ["kubectl", "kustomize"]))
        if shutil.which(program)
    ),
    None,
)


def objects(text: str) -> list[dict[str, Any]]:
    return [one for one in yaml.safe_load_all(text) if one is not None]


def rendered(overlay: str) -> list[dict[str, Any]]:
    if RENDERER is None:
        pytest.skip("kustomize or kubectl lets this test run: only the complete files were validated")
    done = subprocess.run(
        [*RENDERER, str(KUBERNETES / "overlays" / overlay)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return objects(done.stdout)


def the(kind: str, found: list[dict[str, Any]]) -> dict[str, Any]:
    (one,) = [each for each in found if each["kind"] == kind]
    return one


def validate(one: dict[str, Any], schema: dict[str, Any] | None = None) -> None:
    """Against `schema`, or that of its own kind of Kubernetes' latest version; raises jsonschema.ValidationError."""
    # jsonschema compiles dozens of grammars when it is imported: seconds, which only these tests should take.
    import jsonschema
    import kubernetes_validate

    if schema is not None:
        jsonschema.validate(one, schema)
    else:
        kubernetes_validate.validate(one, kubernetes_validate.latest_version(), strict=True)
