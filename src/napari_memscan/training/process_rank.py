"""Which of several processes this one is, before anything that is slow to import knows."""

from __future__ import annotations

import os


def is_first_process() -> bool:
    """Tell whether this process speaks for all; Lightning, torchrun and SLURM say it."""
    names = ("RANK", "SLURM_PROCID") if _started_by_slurm() else ("RANK",)
    for name in names:
        if os.environ.get(name, "").isdecimal():
            return os.environ[name] == "0"
    return all(os.environ.get(name, "0") == "0" for name in ("LOCAL_RANK", "NODE_RANK"))


def _started_by_slurm() -> bool:
    return os.environ.get("SLURM_NTASKS", "1") != "1"
