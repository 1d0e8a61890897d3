"""[deploy.NAME]: what is refused, and what is said about it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kbsync.deployment.hook_problems import hook_problems
from kbsync.deployment.hooks import mapped
from kbsync.errors import BadConfiguration
from kbsync.queries.config_check import check_settings
from kbsync.service.metrics import METRICS
from kbsync.settings.deploy import KINDS, PROGRAM_VARIABLES
from kbsync.settings.loading import load
from tests.support.paths import REPOSITORY
from tests.support.promoted import Place

DOCS = REPOSITORY / "docs"
VLLM = "[deploy.a]\nkind = 'vllm'\nurl = 'http://gpu:8000'\n"
ADAPTERS = VLLM + "form = 'adapter'\nroutes = '/srv/routes.json'\n"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[deploy.a]\nurl = 'http://x'\n", "kind"),
        ("[deploy.a]\nkind = 'triton'\n", "'symlink', 'exec', 'webhook', 'vllm', 'sglang'"),
        (VLLM + "colour = 'red'\n", "deploy.a.vllm.colour: there is no such key"),
        ("[deploy.a]\nkind = 'vllm'\n", "deploy.a.vllm.url: Field required"),
        ("[deploy.a]\nkind = 'vllm'\nurl = 'gpu:8000'\n", "deploy.a.vllm.url"),
        ("[deploy.a]\nkind = 'vllm'\nurl = 'ftp://gpu'\n", "should be 'http' or 'https'"),
        ("[deploy.a]\nkind = 'vllm'\nurl = 'http://me:pw@gpu'\n", "token_env or token_file"),
        (VLLM + "attempts = 0\n", "deploy.a.vllm.attempts"),
        (VLLM + "timeout = 0\n", "deploy.a.vllm.timeout"),
        (VLLM + "backoff = '-1s'\n", "deploy.a.vllm.backoff"),
        (VLLM + "canaries_share = 0\n", "deploy.a.vllm.canaries_share"),
        (VLLM + "on_failure = 'cry'\n", "deploy.a.vllm.on_failure"),
        (VLLM + "token_env = 'A'\ntoken_file = '/a'\n", "not both"),
        (VLLM + "token_env = 'KBSYNC_X'\n", "variables that start with KBSYNC_ are settings"),
        (VLLM + "token_file = 'a'\n", "give an absolute path"),
        (VLLM + "paths = { 'home' = '/models' }\n", "'home' is not an absolute path"),
        ("[deploy.a]\nkind = 'exec'\ndeploy = 'rm -rf /'\nobserve = ['true']\n", "deploy.a.exec.deploy"),
        ("[deploy.a]\nkind = 'exec'\ndeploy = []\nobserve = ['true']\n", "deploy.a.exec.deploy"),
        ("[deploy.a]\nkind = 'exec'\ndeploy = ['x', '{pth}']\nobserve = ['true']\n", "{pth} is not one of"),
        (VLLM + "canaries = 0\nprobes = 0\n", "its version's name is the one that it was given"),
        (VLLM + "precision = 'int8'\n", "deploy.a.vllm.precision"),
        ("[deploy.a]\nkind = 'exec'\ndeploy = ['true']\n", "nothing could be observed of this server"),
        ("[deploy.a]\nkind = 'webhook'\nurl = 'http://x'\nobserve_url = 'http://x'\n", "a webhook is signed"),
        ("[deploy.a]\nkind = 'webhook'\nurl = 'http://x'\ntoken_env = 'A'\n", "give `observe_url`"),
        ("[deploy.a]\nkind = 'symlink'\npath = 'current'\n", "give an absolute path"),
        (VLLM + "form = 'adapter'\n", "give `routes`"),
        (VLLM + "canary = 0.1\n", 'set form = "adapter"'),
        (ADAPTERS + "canary = 1\n", "deploy.a.vllm.canary"),
        (ADAPTERS + "completions = 'http://x'\n", "is asked itself: leave out `completions`"),
        (ADAPTERS + "served_model = 'x'\n", "leave out `served_model`"),
        (ADAPTERS + "alias = 'my kb'\n", "deploy.a.vllm.alias"),
        (VLLM + "replicas = ['http://x']\ndiscover = 'dns'\n", "not both"),
        (VLLM + "discover = 'kubernetes'\n", "need each other"),
        (VLLM + "discover = 'kubernetes'\nservice = 'vllm'\n", "deploy.a.vllm.service"),
    ],
)
def test_what_cannot_be_a_hook_is_named(tmp_path: Path, text: str, named: str) -> None:
    file = tmp_path / "kbsync.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(BadConfiguration) as caught:
        load(file, {})
    assert named in str(caught.value)


def test_a_hook_for_adapters_needs_candidates_with_one(tmp_path: Path) -> None:
    hooks = ADAPTERS.replace("/srv", str(tmp_path))
    problems = [
        (problem.where, problem.advice)
        for problem in check_settings(Place(tmp_path, hooks).application()).problems
        if problem.where.startswith("[deploy")
    ]
    assert problems == [("[deploy.a]", 'set [deliver] as = ["checkpoint", "adapter"]')]
    file = tmp_path / "elsewhere.toml"
    file.write_text(ADAPTERS.replace("/srv", str(tmp_path / "gone")), encoding="utf-8")
    ((where, error),) = hook_problems(load(file, {}).deploy, ["adapter"])
    assert (where, str(error)) == ("[deploy.a] routes", f"there is no directory {tmp_path / 'gone'}")


@pytest.mark.parametrize(
    ("settings", "notice"),
    [
        (
            "[plan]\ncapacity = 100",
            'rank 512 is exact up to 85 key groups with 6 keys each, or with [edit] keys = "average" up to 512; '
            "100 are fitted as well as that rank can",
        ),
        ("[plan]\ncapacity = 85", ""),
        ("[plan]\ncapacity = 512\n[edit]\nkeys = 'average'", ""),
        (
            "[plan]\ncapacity = 600\n[edit]\nlayers = [3]",
            "rank 512 is exact up to 512 key groups with 1 key each; 600 are fitted as well as that rank can",
        ),
    ],
)
def test_a_capacity_that_an_adapter_cannot_hold_exactly_is_said(
    tmp_path: Path, settings: str, notice: str
) -> None:
    text = f"[deliver]\nas = ['checkpoint', 'adapter']\n{settings}\n"
    notices = check_settings(Place(tmp_path, text).application()).notices
    found = [one for one in notices if "max_rank" in one]
    assert found == ([f"[deliver] max_rank: an adapter's {notice}"] if notice else [])


def test_checksums_alone_are_proof_enough(tmp_path: Path) -> None:
    file = tmp_path / "kbsync.toml"
    file.write_text(VLLM + "canaries = 0\nprobes = 0\nchecksums = 'http://x/sums'\n", encoding="utf-8")
    assert load(file, {}).deploy["a"].proves


def test_a_webhooks_signing_key_is_no_bearer_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY", "signs")
    monkeypatch.setenv("READ", "reads")
    text = "[deploy.a]\nkind = 'webhook'\nurl = 'http://x'\nobserve_url = 'http://x'\ntoken_env = 'KEY'\n"
    file = tmp_path / "kbsync.toml"
    file.write_text(text, encoding="utf-8")
    assert load(file, {}).deploy["a"].bearer() is None
    file.write_text(text + "observe_token_env = 'READ'\n", encoding="utf-8")
    assert load(file, {}).deploy["a"].bearer() == "reads"


def test_a_key_of_a_hook_can_come_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "kbsync.toml"
    file.write_text(VLLM, encoding="utf-8")
    monkeypatch.setenv("KBSYNC_DEPLOY__A__URL", "http://other:8000/")
    assert load(file).deploy["a"].asks == "http://other:8000"


@pytest.mark.parametrize(
    ("hooks", "named"),
    [
        (
            VLLM + "token_env = 'NO_SUCH_TOKEN'\n",
            r"\[deploy.a\]: the environment variable NO_SUCH_TOKEN contains no",
        ),
        (VLLM + "token_file = '/no/such/file'\n", r"\[deploy.a\]: the token in /no/such/file cannot be read"),
        (
            "[deploy.a]\nkind = 'exec'\ndeploy = ['/no/such']\nobserve = ['true']\n",
            r"\[deploy.a\] deploy: there is no program /no/such",
        ),
        (
            "[deploy.a]\nkind = 'exec'\ndeploy = ['true']\nobserve = ['/etc/passwd']\n",
            r"\[deploy.a\] observe: there is no program /etc/passwd, or it may not be executed",
        ),
        ("[deploy.a]\nkind = 'symlink'\npath = '/no/such/current'\n", "there is no directory /no/such"),
        ("[deploy.live]\nkind = 'vllm'\nurl = 'http://x'\n", "`live` is the built-in link"),
    ],
)
def test_config_check_finds_hooks_that_cannot_work(tmp_path: Path, hooks: str, named: str) -> None:
    problems = hook_problems(Place(tmp_path, hooks).application().settings.deploy)
    assert re.search(named, "; ".join(f"{where}: {error}" for where, error in problems))


def test_config_check_says_which_hooks_there_are(tmp_path: Path) -> None:
    place = Place(tmp_path, VLLM)
    assert list(hook_problems(place.application().settings.deploy)) == []
    assert check_settings(place.application()).found["deploy hooks"] == "a (vllm)"


def test_a_program_may_call_kbsync(tmp_path: Path) -> None:
    assert load(None, dict.fromkeys(sorted(PROGRAM_VARIABLES), "x"))


EXAMPLES = [
    (page, example)
    for page in ("deploying.md", "metrics.md", "systemd.md")
    for example in re.findall(
        r"```toml\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), flags=re.DOTALL
    )
]


@pytest.mark.parametrize(("page", "example"), EXAMPLES)
def test_the_examples_of_a_page_are_settings(tmp_path: Path, page: str, example: str) -> None:
    file = tmp_path / "kbsync.toml"
    file.write_text(example, encoding="utf-8")
    settings = load(file, {})
    assert settings.deploy or settings.health.listen or settings.tracing.endpoint, page


def test_the_pages_have_examples() -> None:
    assert [page for page, _ in EXAMPLES] == ["deploying.md"] * 7 + ["metrics.md"] * 2 + ["systemd.md"]


def test_the_commented_examples_are_settings(tmp_path: Path) -> None:
    example = (DOCS.parent / "kbsync" / "kbsync.example.toml").read_text(encoding="utf-8")
    at = example.index("# [deploy.")
    lines = [line.removeprefix("# ") for line in example[at : example.index("[edit]")].splitlines()]
    file = tmp_path / "kbsync.toml"
    file.write_text(
        "\n".join(line for line in lines if "=" in line or line.startswith("[")), encoding="utf-8"
    )
    settings = load(file, {})
    assert {hook.kind for hook in settings.deploy.values()} == {"vllm", "exec"}
    assert settings.health.listen == "127.0.0.1:8787"


def test_the_pages_name_every_metric_with_its_labels_and_every_kind() -> None:
    page = (DOCS / "metrics.md").read_text(encoding="utf-8")
    named = dict(re.findall(r"^\| `(kbsync_\w+)(?:\{([\w,]+)\})?` \| .+ \|$", page, flags=re.MULTILINE))
    assert set(named) == set(METRICS)
    page = (DOCS / "deploying.md").read_text(encoding="utf-8")
    for kind in KINDS:
        (name,) = get_args(kind.model_fields["kind"].annotation)
        assert f'kind = "{name}"' in page


def test_every_key_says_what_it_is_for() -> None:
    for kind in KINDS:
        for key, field in kind.model_fields.items():
            assert field.description or key == "kind", f"{kind.__name__}.{key}"


SEGMENTS = st.lists(st.sampled_from(["a", "b", "models", "home"]), min_size=1, max_size=4)


@given(SEGMENTS, SEGMENTS, SEGMENTS)
def test_a_mapped_path_keeps_what_is_below_the_prefix(
    ours: list[str], theirs: list[str], below: list[str]
) -> None:
    prefix, other = "/" + "/".join(ours), "/" + "/".join(theirs)
    path = Path(prefix, *below)
    assert mapped(path, {prefix: other}) == str(Path(other, *below))
    assert mapped(path, {}) == str(path)
    assert mapped(Path(prefix + "x", *below), {prefix: other}) == str(Path(prefix + "x", *below)), (
        "a prefix is of whole names"
    )


def test_the_longest_prefix_wins() -> None:
    prefixes = {"/srv": "/far", "/srv/home": "/near"}
    assert mapped(Path("/srv/home/1-1"), prefixes) == "/near/1-1"
    assert mapped(Path("/srv/other/1-1"), prefixes) == "/far/other/1-1"
