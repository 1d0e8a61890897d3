"""The spec of a build, and of the questions that come before it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from editing.durable import sha256_of
from editing.fact_failure import FactFailure
from editing.requests import render
from editing.secret_probes import SecretQuestions
from editing.spec import BuildSpec, FactReport, FactSpec
from kbsync.application import Application
from kbsync.deployment.live import lost
from kbsync.deployment.probe_sets import lot
from kbsync.home import RunDirectory
from kbsync.leadership import Leadership
from kbsync.private_keys import read_secret
from kbsync.runs.bases import RunBase, base_of, configured
from kbsync.runs.examined import with_examined
from kbsync.runs.fact_specs import Skipped, bare_spec, fact_specs
from kbsync.runs.secret_questions import draw
from kbsync.settings.base_model import named_device
from state import Transaction
from state.records import Fact, Run

ACTOR = "planner"
LISTED = 100


def build_spec(app: Application, leadership: Leadership, run: Run) -> BuildSpec:
    """The worker's task for this round of `run`.

    A run that already has a checkpoint when it starts to build was given a kept one of the same view: it is judged
    again and nothing is rebuilt.
    """
    spec, skipped = round_spec(app, run)
    if skipped:
        _record_skipped(leadership, run, skipped)
    return spec


def round_spec(app: Application, run: Run) -> tuple[BuildSpec, tuple[Skipped, ...]]:
    """The spec of this round of `run`, and the wordings that it leaves out; writes nothing."""
    with app.state.read() as tx:
        facts = tx.view_facts(run.view)
        live = tx.live()
        in_live = {fact.id for fact in tx.view_facts(live.view)} if live else set()
        kept = tx.checkpoint(run.checkpoint) if run.checkpoint is not None else None
    base = base_of(app, run)
    specs, skipped = fact_specs(app, base, facts, in_live)
    specs = with_examined(specs, run.id, app.settings.plan.exam_every)
    path = kept.path if kept else f"{run.id}-{run.round}"
    comparable = live is not None and not lost(app)
    built = app.home.built_in(kept.run, kept.path) if kept else app.home.round(run.id, run.round)
    spec = _spec(
        app,
        base,
        run=f"{run.id}-{run.round}",
        out=str(app.home.checkpoint(path)),
        facts=specs,
        live=str(app.home.checkpoint(live.path)) if live is not None and comparable else None,
        mode="judge" if kept else "build",
        edit_consequences=app.settings.plan.consequences == "edit",
        **_wanted(app.home.round(run.id, run.round), kept is not None),
        **_secret(app, app.home.round(run.id, run.round), built),
    )
    return spec, skipped


def _secret(app: Application, asked: RunDirectory, built: RunDirectory) -> dict[str, str]:
    """Where the secret questions and their answers lie; nothing if no server is configured that could be asked them.

    Scoring them costs a third of an exam on a CPU, and no gate looks at them.
    """
    if not any(hook.asks is not None and hook.probes for hook in app.settings.deploy.values()):
        return {}
    return {"secret_questions": str(asked.secret_questions), "secret_answers": str(built.secret_answers)}


def _wanted(directory: RunDirectory, kept: bool) -> dict[str, str]:
    """The list of what is wanted that was written for this round; a kept checkpoint has its pack already."""
    if kept or not directory.wanted.is_file():
        return {}
    return {"wanted": str(directory.wanted), "wanted_digest": sha256_of(directory.wanted)}


def secret_questions(app: Application, spec: BuildSpec, run: Run) -> SecretQuestions:
    """The secret questions of this round of `run`, whose spec is `spec`: the same each time."""
    with app.state.read() as tx:
        live = tx.live()
        gone = [fact.prompt for fact in tx.view_facts(live.view)] if live else []
    stated = {render(fact.prompt, fact.subject) for fact in spec.facts}
    order = lot(read_secret(app.home.secret), f"questions of {spec.run}")
    return draw(spec.facts, (prompt for prompt in gone if prompt not in stated), spec.canaries, order)


def ask_spec(app: Application, facts: Sequence[Fact]) -> BuildSpec:
    """Ask the base for its answer to each fact's prompt, so that the planner knows what is known."""
    return question_spec(app, [bare_spec(fact) for fact in facts])


def question_spec(app: Application, questions: Sequence[FactSpec]) -> BuildSpec:
    """Ask the base each question, whether or not the ledger has a fact for it."""
    return _spec(app, configured(app), run="ask", out="", facts=tuple(questions), live=None, mode="ask")


def prompts_spec(app: Application, prompts: Sequence[str], checkpoint: Path | None) -> BuildSpec:
    """Ask the base, or a checkpoint that was built from it, `prompts`."""
    return _spec(
        app,
        configured(app),
        run="said",
        out="",
        facts=(),
        live=None if checkpoint is None else str(checkpoint),
        mode="ask",
        prompts=tuple(prompts),
    )


def plan_spec(app: Application, facts: Sequence[Fact]) -> BuildSpec:
    """Ask what building a view of `facts` would cost, without building it."""
    base = configured(app)
    specs, _ = fact_specs(app, base, facts, set())
    return _spec(app, base, run="plan", out="", facts=specs, live=None, mode="plan")


def view_spec(
    app: Application,
    facts: Sequence[Fact],
    *,
    prompts: Sequence[str] = (),
    out: Path | None = None,
    exam: bool = False,
) -> BuildSpec:
    """Edit a view of `facts` apart from any run: to ask it `prompts`, to write it to `out`, with `exam` to judge it."""
    base = configured(app)
    specs, _ = fact_specs(app, base, facts, set())
    return _spec(
        app,
        base,
        run="view",
        out="" if out is None else str(out),
        facts=specs,
        live=None,
        mode="build" if exam else "view",
        prompts=tuple(prompts),
        edit_consequences=app.settings.plan.consequences == "edit",
    )


def _record_skipped(leadership: Leadership, run: Run, skipped: Sequence[Skipped]) -> None:
    """An event of the run: which further wordings were left out, the first `LISTED` with their reason."""
    with leadership.write() as tx:
        _emit_skipped(tx, run, skipped)


def record_left_out(tx: Transaction, run: Run, failures: Sequence[FactFailure]) -> None:
    """The same event for the further wordings that the worker had to leave out, if any."""
    skipped = [Skipped(int(item.id), item.wording, item.reason) for item in failures if item.wording]
    if skipped:
        _emit_skipped(tx, run, skipped)


def record_derived(tx: Transaction, run: Run, facts: Sequence[FactReport]) -> None:
    """An event of the run: which consequences were edited, and the facts that each follows from."""
    derived = [
        {
            "kind": one.kind,
            "prompt": one.rendered,
            "target": one.target,
            "parents": [int(p) for p in one.parents],
        }
        for fact in facts
        for one in fact.derived
    ]
    if derived:
        tx.emit(
            "run.derived", ACTOR, {"round": run.round, "count": len(derived), "derived": derived}, run=run.id
        )


def _emit_skipped(tx: Transaction, run: Run, skipped: Sequence[Skipped]) -> None:
    named = [{"fact": one.fact, "prompt": one.prompt, "reason": one.reason} for one in skipped[:LISTED]]
    tx.emit("run.wordings_skipped", ACTOR, {"count": len(skipped), "skipped": named}, run=run.id)


def _spec(app: Application, base: RunBase, **particular: object) -> BuildSpec:
    """`particular`, completed with everything that is the same for all builds of this home on this base."""
    settings = app.settings
    return BuildSpec(
        base=str(base.directory),
        base_digest=base.digest,
        cache=str(app.home.cache),
        corpus=tuple(str(path) for path in settings.model.corpus),
        heldout=str(settings.model.heldout) if settings.model.heldout else None,
        settings=base.settings,
        canaries=app.canaries,
        refusals=app.refusals,
        refusal_phrases=settings.refusals.phrases,
        generate=settings.plan.generate,
        system_prompt=settings.plan.system_prompt,
        retention_sample=settings.plan.retention_sample,
        forms=settings.deliver.further,
        form_options=settings.deliver.options,
        threads=settings.executor.threads,
        device=named_device(settings.model.device),
        **particular,  # type: ignore[arg-type]
    )
