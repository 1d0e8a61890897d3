"""A micro kbsync whose model was taught, with edits that it learns, and servers behind deploy hooks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from kbsync.service.cycle import notify_servers
from state.records import Deployment
from tests.support import taught
from tests.support.fault_world import RANDOM_EDIT, TAUGHT_EDIT
from tests.support.micro import Micro, make
from tests.support.real_weights import RealWeights


def world(root: Path, servers: Mapping[str, RealWeights]) -> Micro:
    """Nothing is synced yet; the servers, by the kind of their hooks, serve the base."""
    hooks = "\n\n".join(
        f"[deploy.{kind}]\nkind = '{kind}'\nurl = '{server.url}'\nsettle = 0\nbackoff = 0\ncanaries = 0\n"
        "timeout = 120"
        for kind, server in servers.items()
    )
    micro = make(root, extra=hooks)
    taught.save(root / "model")
    text = micro.home.config.read_text(encoding="utf-8").replace(RANDOM_EDIT, TAUGHT_EDIT)
    micro.home.config.write_text(text, encoding="utf-8")
    for server in servers.values():
        server.launched_with = root / "model"
        server.restart()
    return micro


def two_versions(root: Path, servers: Mapping[str, RealWeights]) -> Micro:
    """A world that has built two versions and deployed both, one after the other."""
    micro = world(root, servers)
    for news in ({"Blue House": "Dora", "Red Boat": "Emil", "Old Mill": "Carl"}, {"Green Barn": "Anna"}):
        micro.say(news)
        assert [run.state for run in micro.sync().runs] == ["deployed"]
    return micro


def notify(micro: Micro, hook: str) -> Deployment:
    """The daemon looks at its servers once: the newest row of `hook`."""
    app = micro.application()
    try:
        with app.leading() as leadership:
            notify_servers(app, leadership, asked=True)
        with app.state.read() as tx:
            return next(row for row in reversed(tx.deployments()) if row.hook == hook)
    finally:
        app.close()
