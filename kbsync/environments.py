"""The environment of kbsync's child processes: what a program needs to start, without secrets.

The daemon's environment may hold the ledger's password and the tokens of several servers.  A child
inherits only the variables listed here and those named in its settings.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

BASIC = (
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "LANGUAGE",
    "TZ",
    "TMPDIR",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "VIRTUAL_ENV",
)
BASIC_PREFIXES = ("LC_",)

COMPUTE_PREFIXES = (
    "PYTHON",
    "LD_",
    "OMP_",
    "GOMP_",
    "KMP_",
    "MKL_",
    "OPENBLAS_",
    "CUDA_",
    "NVIDIA_",
    "NCCL_",
    "CUBLAS_",
    "HIP_",
    "ROCR_",
    "ROCM_",
    "HSA_",
    "TORCH",
    "PYTORCH_",
    "TRITON_",
    "ACCELERATE_",
    "TOKENIZERS_",
    "TRANSFORMERS_",
    "XDG_CACHE_HOME",
    "HF_HOME",
    "HF_HUB_OFFLINE",
    "HF_HUB_CACHE",
    "HF_DATASETS_",
    "HF_XET_",
    "SLURM_",
    "RAY_",
)
"""Variables that torch and transformers read; variables that hold a token (HF_TOKEN) are not included."""

STORE_PREFIXES = ("AWS_", "AZURE_", "GOOGLE_")
"""Variables with which an object store is reached, credentials included."""


def minimal(
    *,
    named: Iterable[str] = (),
    prefixes: tuple[str, ...] = (),
    environment: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """The basic variables of `environment` (default: this process's), those `named`, and those with a prefix."""
    environment = os.environ if environment is None else environment
    wanted = {*BASIC, *named}
    starts = (*BASIC_PREFIXES, *prefixes)
    return {name: value for name, value in environment.items() if name in wanted or name.startswith(starts)}
