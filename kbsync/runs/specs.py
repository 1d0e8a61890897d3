"""Writing the spec of a build or of the questions that come before it: ledger rows to plain values."""

from __future__ import annotations

from collections.abc import Sequence

from editing.requests import prompt_key, render
from editing.spec import BuildSpec, FactFailure, FactSpec
from editing.special_tokens import control_token_in
from kbsync.application import Application
from kbsync.catalogue.wordings import Ledger, Skipped, without_conflicts
from kbsync.deployment.live import lost
from kbsync.leadership import Leadership
from kbsync.runs.planning import fact_spec
from state import Transaction
from state.fact_queries import previous_value
from state.records import Fact, Probe, Run

ACTOR = "planner"
LISTED = 100


def build_spec(app: Application, leadership: Leadership, run: Run) -> BuildSpec:
    """What the worker has to do for this round of `run`.

    A run that already has a checkpoint when it starts to build was given a kept one of the same view:
    it is judged again and nothing is rebuilt.
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
    specs, skipped = fact_specs(app, facts, in_live)
    path = kept.path if kept else f"{run.id}-{run.round}"
    comparable = live is not None and not lost(app)
    spec = _spec(
        app,
        run=f"{run.id}-{run.round}",
        out=str(app.home.checkpoint(path)),
        facts=specs,
        live=str(app.home.checkpoint(live.path)) if live is not None and comparable else None,
        mode="judge" if kept else "build",
    )
    return spec, skipped


def ask_spec(app: Application, facts: Sequence[Fact]) -> BuildSpec:
    """Ask the base what it answers to each fact's prompt, so that the planner knows what is known."""
    bare = tuple(
        FactSpec(id=str(fact.id), prompt=fact.template, subject=fact.subject_label, target=fact.target)
        for fact in facts
    )
    return question_spec(app, bare)


def question_spec(app: Application, questions: Sequence[FactSpec]) -> BuildSpec:
    """Ask the base what it answers to each question, whether or not the ledger has a fact for it."""
    return _spec(app, run="ask", out="", facts=tuple(questions), live=None, mode="ask")


def plan_spec(app: Application, facts: Sequence[Fact]) -> BuildSpec:
    """Ask what building a view of `facts` would take, without building it."""
    specs, _ = fact_specs(app, facts, set())
    return _spec(app, run="plan", out="", facts=specs, live=None, mode="plan")


def fact_specs(
    app: Application, facts: Sequence[Fact], in_live: set[int]
) -> tuple[tuple[FactSpec, ...], tuple[Skipped, ...]]:
    """The facts with what the ledger stores about them (known or not, predecessor, probes), and the further
    wordings that none of them is edited with, because they would contradict something."""
    with app.state.read() as tx:
        answers = tx.base_answers(app.base.digest, [fact.id for fact in facts])
        edited = [fact for fact in facts if not answers.get(fact.id, (False, ""))[0]]
        probes = {fact.id: _usable(tx.probes(fact.id), app.base.control_tokens) for fact in edited}
        slots = tx.facts_of((fact.subject, fact.relation) for fact in edited)
    prompts = {fact.prompt_key for fact in edited}
    specs = tuple(
        fact_spec(
            fact,
            app.catalogue,
            app.settings.plan,
            known=answers[fact.id][0] if fact.id in answers else None,
            base_answer=answers[fact.id][1] if fact.id in answers else None,
            in_live=fact.id in in_live,
            previous=_target(previous_value(fact, slots.get((fact.subject, fact.relation), ()))),
            probes=probes.get(fact.id, ()),
            edited=prompts,
        )
        for fact in facts
    )
    return without_conflicts(facts, specs, _ledger(app, facts, specs))


def _usable(probes: Sequence[Probe], control_tokens: frozenset[str]) -> tuple[Probe, ...]:
    """Without probes whose labels contain a control token of the base's tokenizer: nobody is asked those."""
    return tuple(
        probe for probe in probes if not control_token_in(f"{probe.prompt} {probe.target}", control_tokens)
    )


def _ledger(app: Application, facts: Sequence[Fact], specs: Sequence[FactSpec]) -> Ledger:
    """What has to be known of the prompts and objects of further wordings."""
    more = [(fact, said) for fact, spec in zip(facts, specs, strict=True) for said in spec.further]
    with app.state.read() as tx:
        slots = tx.slots_with_prompt_keys(prompt_key(render(said.prompt, said.subject)) for _, said in more)
        holders = tx.holders_of_objects(fact.object for fact, _ in more)
    watched = {key: frozenset(slot.subject for slot in making) for key, making in slots.items()}
    return Ledger(watched, holders)


def _record_skipped(leadership: Leadership, run: Run, skipped: Sequence[Skipped]) -> None:
    """An event of the run: which further wordings were left out, the first `LISTED` with their reason."""
    with leadership.write() as tx:
        _emit_skipped(tx, run, skipped)


def record_left_out(tx: Transaction, run: Run, failures: Sequence[FactFailure]) -> None:
    """The same event for the further wordings that the worker had to leave out, if there are any."""
    skipped = [Skipped(int(item.id), item.wording, item.reason) for item in failures if item.wording]
    if skipped:
        _emit_skipped(tx, run, skipped)


def _emit_skipped(tx: Transaction, run: Run, skipped: Sequence[Skipped]) -> None:
    named = [{"fact": one.fact, "prompt": one.prompt, "reason": one.reason} for one in skipped[:LISTED]]
    tx.emit("run.wordings_skipped", ACTOR, {"count": len(skipped), "skipped": named}, run=run.id)


def _target(fact: Fact | None) -> str | None:
    return None if fact is None else fact.target


def _spec(app: Application, **particular: object) -> BuildSpec:
    """`particular` and everything that is the same for all builds of this home."""
    settings = app.settings
    return BuildSpec(
        base=str(app.base.directory),
        base_digest=app.base.digest,
        cache=str(app.home.cache),
        corpus=tuple(str(path) for path in settings.model.corpus),
        heldout=str(settings.model.heldout) if settings.model.heldout else None,
        settings=settings.edit_settings(app.base.edit_settings),
        canaries=app.canaries,
        generate=settings.plan.generate,
        retention_sample=settings.plan.retention_sample,
        forms=settings.deliver.further,
        threads=settings.executor.threads,
        device=None if settings.model.device == "auto" else settings.model.device,
        **particular,  # type: ignore[arg-type]
    )
