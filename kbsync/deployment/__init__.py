"""Serve a promotion and verify it: servers are notified, and only what they are seen to serve is believed.

    hooks.py      what a hook is: `deploy(version)`, `observed_version()`, `rollback(version)`
    link.py, program.py, webhook.py, vllm.py, sglang.py   the kinds
    http.py, patience.py   bounded requests; waiting without being held
    connect.py    from a table of the settings to the hook it describes
    canaries.py   facts asked of the server after a deploy
    outbox.py     the rows that a promotion creates for its hooks, processed at least once
    served.py     what each server was last seen to serve
    checks.py     what `config check` looks at

The settings of a hook are in `kbsync.settings.deploy`; how a promoted run ends is in `kbsync.runs.rollout`.

The built-in target is the `live` link itself: a server that loads `<home>/checkpoints/live` when it
starts needs no hook.  `docs/deploying.md` gives each kind's exact requests.
"""
