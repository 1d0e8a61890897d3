"""`config check`: every setting that is well-formed and cannot work is named, with what was meant."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest
from typer.testing import CliRunner

from editing.spec import Case
from kbsync.application import Application
from kbsync.cli.app import app as cli
from kbsync.errors import BadConfiguration, BadData
from kbsync.home import Home
from kbsync.queries.config_check import Checked, check_settings
from kbsync.settings.canaries import read_canaries
from kbsync.settings.loading import load
from tests.support.shell import Shell

GOOD = """
[model]
path = "model"
corpus = ["corpus.txt"]
[sources.wd]
kind = "wikidata"
endpoint = "http://127.0.0.1:1/sparql"
agent = "tests/1.0 (mailto:tests@kbsync.example)"
subjects = ["wd:Q1"]
relations = ["wdt:P6"]
"""


def home(tmp_path: Path, text: str) -> Home:
    (tmp_path / "model").mkdir(exist_ok=True)
    (tmp_path / "model" / "config.json").write_text(
        json.dumps({"model_type": "llama", "num_hidden_layers": 4})
    )
    (tmp_path / "corpus.txt").write_text("some text")
    (tmp_path / "kbsync.toml").write_text(text, encoding="utf-8")
    return Home(tmp_path)


def checked(tmp_path: Path, text: str) -> Checked:
    place = home(tmp_path, text)
    return check_settings(Application(place, load(place.config, {})))


def test_settings_that_can_work_have_no_problem(tmp_path: Path) -> None:
    found = checked(tmp_path, GOOD)
    assert found.problems == ()
    assert found.found["sources"] == "wd"


@pytest.mark.parametrize(
    ("more", "where", "advice"),
    [
        ("[review]\nrelations = ['wdt:P66']\n", "[review] relations", "did you mean 'wdt:P6"),
        ("[policy.relations.'wdt:P169x']\nlabel_max = 50\n", "[policy.relations]", "'wdt:P169'"),
        ("[policy]\ndeny_relations = ['P6']\n", "[policy] deny_relations", "wdt:P6"),
        ("[policy.sources.wdd]\npriority = 1\n", "[policy.sources]", "did you mean 'wd'?"),
        ("[gates.efficacy]\nthreshold = 85\n", "[gates.efficacy] threshold", "did you mean 0.85?"),
        ("[gates.perplexity_ratio]\nthreshold = 0\n", "[gates.perplexity_ratio] threshold", "about 1"),
        ("[gates.retention]\nmargin = 2\n", "[gates.retention] margin", "from 0 to 1"),
        ("[edit]\neditor = 'memti'\n", "[edit] editor", "did you mean 'memit'?"),
        ("[edit]\neditor = 'auto'\n", "[edit] editor", "kbsync bench editors"),
        ("[edit]\nlayers = []\n", "[edit] layers", "name each layer once"),
        ("[edit]\nlayers = [1, 1]\n", "[edit] layers", "name each layer once"),
        ("[edit]\nlayers = [3, 9]\n", "[edit] layers", "layers from 0 to 3"),
        ("[edit]\nbare_steps = 9\n", "[edit] bare_steps", "set bare_steps = 0"),
        ("[edit]\noptimiser = 'lbfgs'\nbare_steps = 25\n", "[edit] bare_steps", "set bare_steps = 0"),
        ("[sources.x]\nkind = 'wikidaat'\n", "[sources.x]", "docs/connectors.md"),
    ],
)
def test_what_cannot_work_is_named(tmp_path: Path, more: str, where: str, advice: str) -> None:
    (problem,) = checked(tmp_path, GOOD + more).problems
    assert problem.where == where
    assert advice in problem.advice


def test_a_relation_that_a_source_names_and_nobody_knows_is_a_problem(tmp_path: Path) -> None:
    (problem,) = checked(tmp_path, GOOD.replace("wdt:P6", "wdt:P3555")).problems
    assert problem.where == "[sources.wd] relations"
    assert "there is no relation 'wdt:P3555'" in problem.what


def test_cuda_without_cuda_is_a_problem(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="needs torch; `make test` runs it")

    number = torch.cuda.device_count()
    text = GOOD.replace("[sources.wd]", f"device = 'cuda:{number}'\n[sources.wd]")
    (problem,) = checked(tmp_path, text).problems
    assert problem.where == "[model] device"
    assert f"this machine has {number}" in problem.what


def test_all_problems_are_named_at_once_and_the_exit_code_is_78(tmp_path: Path) -> None:
    place = home(tmp_path, GOOD + "[review]\nrelations = ['wdt:P66']\n[gates.efficacy]\nthreshold = 85\n")
    (tmp_path / "corpus.txt").unlink()
    done = CliRunner().invoke(cli, ["--home", str(place.root), "config", "check", "--json"])
    shown = json.loads(done.stdout)
    assert [one["where"] for one in shown["problems"]] == [
        "[model] corpus",
        "[gates.efficacy] threshold",
        "[review] relations",
    ]
    assert getattr(done.exception, "exit_code", None) == 78


def test_each_problem_is_printed_on_a_line_of_its_own(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    place = home(tmp_path, GOOD + "[review]\nrelations = ['wdt:P66']\n[gates.efficacy]\nthreshold = 85\n")
    code, _, error = Shell(place, capfd)("config", "check")
    assert code == 78
    lines = error.splitlines()
    assert [line.partition(":")[0] for line in lines[lines.index("error: 2 settings cannot work") + 1 :]] == [
        "  → [gates.efficacy] threshold",
        "  → [review] relations",
    ]


def test_the_settings_are_printed_without_passwords(tmp_path: Path) -> None:
    secret = "hunter2"
    text = GOOD.replace("subjects", f"user = 'me'\npassword = '{secret}'\nsubjects")
    place = home(tmp_path, text + f"[state]\nurl = 'postgresql+psycopg://kbsync:{secret}@db/kbsync'\n")
    done = CliRunner().invoke(cli, ["--home", str(place.root), "config", "check", "--json"])
    assert secret not in done.output
    assert "@db/kbsync" in done.output


# Files


def test_a_home_and_what_it_holds_are_for_their_owner_alone(tmp_path: Path) -> None:
    previous = os.umask(0)
    try:
        place = Home(tmp_path / "made" / "home")
        done = CliRunner().invoke(cli, ["--home", str(place.root), "init"])
        assert done.exit_code == 0
        Application(place, load(None, {})).state.close()
    finally:
        os.umask(previous)
    modes = {
        path.name: stat.S_IMODE(path.stat().st_mode) for path in (place.root, place.config, place.database)
    }
    assert modes == {"home": 0o700, "kbsync.toml": 0o600, "kbsync.db": 0o600}


def test_a_home_that_exists_keeps_its_mode(tmp_path: Path) -> None:
    tmp_path.chmod(0o750)
    Home(tmp_path).prepare()
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o750


@pytest.mark.parametrize(
    "line",
    [
        b'{"prompt": "The capital of France is"}',
        b'{"prompt": "", "target": "Paris"}',
        b'{"prompt": 5, "target": "Paris"}',
        b'{"prompt": "The", "target": "\\ud800"}',
        b'{"prompt": "The", "target": "Paris", "more": 1}',
        b"[" * 100_000,
        b"\xff",
    ],
)
def test_a_line_that_is_no_canary_is_named(tmp_path: Path, line: bytes) -> None:
    file = tmp_path / "canaries.jsonl"
    file.write_bytes(b'\xef\xbb\xbf{"prompt": "The capital of Italy is", "target": "Rome"}\n\n' + line)
    with pytest.raises(BadData, match=r"line 3|not UTF-8"):
        read_canaries(file)
    file.write_bytes(file.read_bytes().replace(line, b""))
    assert read_canaries(file) == (Case("The capital of Italy is", "Rome"),)


def test_a_kind_of_source_that_is_nearly_right_comes_with_the_one_that_was_meant(tmp_path: Path) -> None:
    (problem,) = checked(tmp_path, GOOD + "[sources.x]\nkind = 'wikidaat'\n").problems
    assert "did you mean 'wikidata'?" in problem.what


@pytest.mark.parametrize(
    ("more", "meant"),
    [
        ("[deploy.x]\nkind = 'exce'\n", "'exce' is not a kind; did you mean 'exec'?"),
        ("[gates.eficacy]\nthreshold = 0.9\n", "did you mean 'efficacy'?"),
        ("[eddit]\nlayers = [1]\n", "did you mean 'edit'?"),
        ("[edit]\nlayerz = [1]\n", "did you mean 'layers'?"),
    ],
)
def test_a_key_that_is_nearly_right_comes_with_the_one_that_was_meant(
    tmp_path: Path, more: str, meant: str
) -> None:
    with pytest.raises(BadConfiguration) as raised:
        checked(tmp_path, GOOD + more)
    assert meant in f"{raised.value} {raised.value.advice}"


def test_a_drop_folder_has_to_exist(tmp_path: Path) -> None:
    settings = GOOD + "[sources.x]\nkind = 'files'\nfolder = 'drop'\n"
    (problem,) = checked(tmp_path, settings).problems
    assert (problem.where, problem.what) == ("[sources.x] folder", f"there is no folder {tmp_path / 'drop'}")
    assert problem.advice.startswith("create it")
    (tmp_path / "drop").mkdir()
    assert checked(tmp_path, settings).problems == ()


def test_a_setting_of_a_source_that_is_nearly_right_comes_with_the_one_that_was_meant(tmp_path: Path) -> None:
    (problem,) = checked(tmp_path, GOOD + "[sources.x]\nkind = 'files'\nfolder = 'd'\nqerry = 'q'\n").problems
    assert "did you mean 'query'?" in problem.what


@pytest.mark.parametrize(
    ("endpoint", "agent", "asks"),
    [
        ("https://query.wikidata.org/sparql", "acme-sync/1.0 (mailto:data@example.org)", True),
        ("https://query.wikidata.org/sparql", "acme-sync/1.0 (https://acme.example/kbsync)", True),
        ("https://query.wikidata.org/sparql", "acme-sync/1.0 (mailto:data@acme.org)", False),
        ("https://sparql.acme.org/", "acme-sync/1.0 (mailto:data@example.org)", False),
        ("https://notwikidata.org/", "acme-sync/1.0 (mailto:data@example.org)", False),
    ],
)
def test_wikimedia_is_asked_by_somebody_who_can_be_reached(
    tmp_path: Path, endpoint: str, agent: str, asks: bool
) -> None:
    text = GOOD.replace("http://127.0.0.1:1/sparql", endpoint).replace(
        "tests/1.0 (mailto:tests@kbsync.example)", agent
    )
    found = [one.where for one in checked(tmp_path, text).problems]
    assert found == (["[sources.wd] agent"] if asks else [])
