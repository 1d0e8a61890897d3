"""Serve a promotion and verify it: servers are notified, and then asked what they serve.

    hooks.py      what a hook is: `deploy(version)`, `observed_version()`, `rollback(version)`
    link.py, program.py, webhook.py, vllm.py, sglang.py   the kinds
    adapters.py, lora_servers.py, resolver.py   adapters beside a base: on servers, or in vLLM's directory
    routes.py, release.py   the routing table, and how traffic moves to a confirmed version
    fleet.py, replicas.py   servers with replicas: each is notified and observed
    http.py, patience.py   bounded requests; waiting without blocking the daemon
    connect.py    creates the hook that a table of the settings describes
    canaries.py   facts asked of the server after a deploy
    probe_sets.py, judgement.py   pure: which secret probes a check asks, and what the answers show
    asking.py     the requests with which a server is asked
    exam_sample.py, departures.py   pure: questions of a checkpoint's exam, and which differences rounding explains
    served_exam.py   asks a served model a sample of the exam
    proof.py      what proves that a server serves a version: checksums, secret probes, canary facts
    outbox.py     the rows that a promotion creates for its hooks, processed at least once
    served.py     what each server was last observed to serve
    live.py       whether the live checkpoint is there and may be served
    hook_problems.py   what is wrong with the hooks' settings, for `config check`

The settings of a hook are in `kbsync.settings.deploy`; how a promoted run ends is in `kbsync.runs.rollout`.

The built-in target is the `live` link itself: a server that loads `<home>/checkpoints/live` when it
starts needs no hook.  `docs/deploying.md` gives each kind's exact requests.
"""
