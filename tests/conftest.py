"""Makes tests run alike on every machine: no network, no personal files, no colour, one thread to a worker.

Set here, before anything is imported, because libraries read these once. One thread, because pytest-xdist runs as many
workers as there are cores: PyTorch is told so, and nearlight takes the cores that a worker may use, which is one each.
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import tempfile
from pathlib import Path

import pytest

worker = os.environ.get("PYTEST_XDIST_WORKER", "")
if not worker:  # workers inherit it, and end too abruptly to tidy up
    os.environ["NEARLIGHT_TEST_HOME"] = tempfile.mkdtemp(prefix="nearlight-tests-")
    atexit.register(shutil.rmtree, os.environ["NEARLIGHT_TEST_HOME"], ignore_errors=True)
home = Path(os.environ["NEARLIGHT_TEST_HOME"], worker)

os.environ.update(
    HF_HUB_OFFLINE="1",
    HF_HOME=str(home / "huggingface"),
    XDG_CACHE_HOME=str(home / "cache"),
    XDG_CONFIG_HOME=str(home / "config"),
    XDG_DATA_HOME=str(home / "data"),
    XDG_STATE_HOME=str(home / "state"),
    NO_COLOR="1",
    OMP_NUM_THREADS="1",
    MKL_NUM_THREADS="1",
    TOKENIZERS_PARALLELISM="false",
)
for name in (
    "FORCE_COLOR",
    "CLICOLOR_FORCE",
    "HF_TOKEN",
    "NEARLIGHT_CACHE",
    "NEARLIGHT_CACHE_BYTES",
    "HF_HUB_CACHE",
    "TRANSFORMERS_CACHE",
):
    os.environ.pop(name, None)

if not worker and signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell's background job is started deaf to Ctrl-C, and so would be the programs that tests interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)

if worker and hasattr(os, "sched_setaffinity"):
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[int(worker.removeprefix("gw")) % len(cores)]})


@pytest.fixture
def planned_only(monkeypatch: pytest.MonkeyPatch) -> str:
    """Have a family leave something out, so that it can only be planned; return its name."""
    from nearlight import models

    monkeypatch.setattr(models.FAMILIES["phi3"], "leaves_out", "a part")
    monkeypatch.setattr(models, "RUNNABLE", tuple(name for name in models.RUNNABLE if name != "phi3"))
    return "phi3"
