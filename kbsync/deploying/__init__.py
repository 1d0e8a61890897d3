"""Telling servers of a promotion, and believing only what they are seen to serve.

    settings.py   one typed table a hook: `[deploy.NAME]`
    hooks.py      what a hook is: `deploy(version)`, `observed_version()`, `rollback(version)`
    link.py, program.py, webhook.py, vllm.py, sglang.py   the kinds
    http.py, patience.py   bounded requests; waiting without being held
    connect.py    from a table of the settings to the hook it describes
    canaries.py   facts asked of the server after a deploy
    outbox.py     the rows a promotion leaves behind, worked off at least once
    finish.py     how a promoted run ends
    served.py     what each server was last seen to serve
    checks.py     what `config check` looks at

The built-in target is the `live` link itself: a server that loads `<home>/checkpoints/live` when it
starts needs no hook.  `docs/deploying.md` gives each kind's exact requests.
"""
