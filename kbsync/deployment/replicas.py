"""The replicas of a server: listed in the settings, the addresses of a name, or the endpoints of a Kubernetes service.

They are looked up for each call, since a cluster may replace them at any time.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import SplitResult, urlsplit

from kbsync.deployment.hooks import HookFailed
from kbsync.deployment.http import Server, object_of
from kbsync.settings.servers import ServerSettings

T = TypeVar("T")
ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where Kubernetes mounts the token of a pod's service account."""
_AT_ONCE = 16
"""Replicas that are called at the same time."""
_NAMED = 3


def replicas_of(settings: ServerSettings, timeout_s: float) -> tuple[str, ...]:
    """The base URLs of all replicas, sorted; raises HookFailed if none is found."""
    match settings.discover:
        case "dns":
            found = _addresses(settings.url)
        case "kubernetes":
            assert settings.service is not None  # the settings require it
            found = endpoints(cluster(timeout_s), settings.service, settings.url)
        case _:
            found = settings.replicas or (settings.url,)
    if not found:
        raise HookFailed(
            f"no replica of {settings.service or settings.url} is ready", "is it scaled to zero?"
        )
    return tuple(sorted(set(found)))


def each(replicas: Sequence[str], call: Callable[[str], T]) -> tuple[dict[str, T], dict[str, HookFailed]]:
    """`call(url)` of all replicas at the same time: the results, and the errors of those that failed."""
    results: dict[str, T] = {}
    errors: dict[str, HookFailed] = {}

    def one(url: str) -> None:
        try:
            results[url] = call(url)
        except HookFailed as error:
            errors[url] = error

    with ThreadPoolExecutor(min(_AT_ONCE, len(replicas))) as pool:
        list(pool.map(one, replicas))
    return dict(sorted(results.items())), dict(sorted(errors.items()))


def named(replicas: Sequence[str]) -> str:
    """Replicas for a message: the first few, and how many more."""
    more = f" and {len(replicas) - _NAMED} more" if len(replicas) > _NAMED else ""
    return f"{', '.join(replicas[:_NAMED])}{more}"


def failure(errors: Mapping[str, HookFailed], of: int) -> HookFailed:
    """One error for all replicas that failed, of the kind of the first."""
    first = next(iter(errors.values()))
    if of == 1:
        return first
    which = f"{len(errors)} of {of} replicas failed ({named(list(errors))}): {first}"
    return type(first)(which, first.advice)


def cluster(
    timeout_s: float, environment: Mapping[str, str] | None = None, account: Path = ACCOUNT
) -> Server:
    """The API server of the cluster in which this process runs; raises HookFailed outside of one."""
    environment = os.environ if environment is None else environment
    host, port = (environment.get(f"KUBERNETES_SERVICE_{name}", "") for name in ("HOST", "PORT"))
    try:
        token = (account / "token").read_text(encoding="utf-8").strip()
    except OSError as error:
        raise HookFailed(
            f"the token of the pod's service account cannot be read: {error}",
            "kbsync has to run in the cluster, with automountServiceAccountToken",
        ) from error
    if not host:
        raise HookFailed("KUBERNETES_SERVICE_HOST is not set", "kbsync has to run in the cluster")
    return Server(f"https://{_bracketed(host)}:{port or 443}", token, timeout_s, account / "ca.crt")


def endpoints(api: Server, service: str, url: str) -> tuple[str, ...]:
    """Base URLs of the ready endpoints of `namespace/name`, with the scheme of `url`.

    They are those of its EndpointSlices (discovery.k8s.io/v1).  The port is the slice's only one, or the one of the
    name `http`.  Raises HookFailed.
    """
    namespace, _, name = service.partition("/")
    path = f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
    answer = api.get(f"{path}?labelSelector=kubernetes.io%2Fservice-name%3D{name}")
    if answer.status_code in (401, 403):
        raise HookFailed(
            f"the API server refuses to list the endpoints of {service}: HTTP {answer.status_code}",
            f"let kbsync's service account list endpointslices.discovery.k8s.io in {namespace}",
        )
    parts, found = urlsplit(url), []
    try:
        for part in object_of(answer)["items"]:
            port = _port(part["ports"] or (), service)
            for endpoint in part["endpoints"] or ():
                if (endpoint.get("conditions") or {}).get("ready") is not False:
                    found += [_url(parts, address, port) for address in endpoint["addresses"]]
    except (KeyError, TypeError, AttributeError) as error:
        raise HookFailed(f"the API server's list of the endpoints of {service} cannot be read") from error
    return tuple(found)


def _port(ports: Sequence[Mapping[str, Any]], service: str) -> int:
    chosen = ports if len(ports) == 1 else [port for port in ports if port.get("name") == "http"]
    if len(chosen) != 1:
        raise HookFailed(
            f"the service {service} has {len(ports)} ports, and not one of the name http",
            "name the port of the server http",
        )
    return int(chosen[0]["port"])


def _addresses(url: str) -> tuple[str, ...]:
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        found = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise HookFailed(f"{parts.hostname} cannot be resolved: {error}") from error
    return tuple(_url(parts, str(address[0]), port) for *_, address in found)


def _url(parts: SplitResult, address: str, port: int) -> str:
    return f"{parts.scheme}://{_bracketed(address)}:{port}{parts.path}"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
