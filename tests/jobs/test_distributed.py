"""Several processes give the bytes of one, whatever happens to them on the way."""

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from napari_memscan import jobs
from napari_memscan.errors import BadInput, JobFailed
from napari_memscan.jobs import Progress
from napari_memscan.jobs import distributed as processes
from napari_memscan.jobs.distributed import PeerFailed, ProcessGroup, get_rank_and_size
from napari_memscan.study import Study

MEMSCAN = [sys.executable, "-c", "from napari_memscan.cli import main; main()"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


@pytest.fixture
def whole(make_study, tmp_path):
    """A study whose volumes one process made."""
    study = make_study(tmp_path / "whole")
    jobs.run_job(jobs.generate_volumes(study, 5))
    return study


def settings_of(study):
    """Return what makes another process choose as the study's did, whatever it measures."""
    pairs = dict(pair.split("=", 1) for pair in study.samples()[0].settings.split())
    return {name: pairs[name] for name in ("batch", "precision", "threads", "decode")}


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


def torchrun(tmp_path, *arguments):
    """Start a command of memscan in two processes."""
    script = tmp_path / "memscan.py"
    script.write_text("from napari_memscan.cli import main\nmain()\n")
    command = [*TORCHRUN, str(script), *(str(a) for a in arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_torchrun_gives_the_bytes_of_one_process(whole, make_study, tmp_path):
    study = make_study(tmp_path / "two")
    options = [f"--{name}={value}" for name, value in settings_of(whole).items()]
    run = torchrun(tmp_path, "generate", study.folder, "-n", 5, *options)
    out, err = run.communicate(timeout=120)
    assert run.returncode == 0, err
    # One of them speaks.
    assert out.splitlines() == [f"{study.synthetic_dir}: 5 new volumes, 5 in all"]
    assert err.count("settings: batch=") == 1
    assert err.count("Next: memscan scan") == 1
    assert contents(study.synthetic_dir) == contents(whole.synthetic_dir)


def test_a_killed_run_of_two_goes_on_alone_with_the_same_bytes(whole, make_study, tmp_path):
    study = make_study(tmp_path / "two")
    options = [f"--{name}={value}" for name, value in settings_of(whole).items()]
    # Kills itself, and so torchrun the other, once its second volume is on disk without its row.
    killing = tmp_path / "killing.py"
    killing.write_text(
        "import os, signal\n"
        "from napari_memscan.study import Study\n"
        "add, calls = Study.add_samples, 0\n"
        "def killed(self, rows):\n"
        "    global calls\n"
        "    calls += 1\n"
        "    if os.environ['RANK'] == '1' and calls == 2:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    add(self, rows)\n"
        "Study.add_samples = killed\n"
        "from napari_memscan.cli import main\nmain()\n"
    )
    command = [*TORCHRUN, str(killing), "generate", str(study.folder), "-n", "5", *options]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert run.returncode != 0, run.stderr
    again = Study.open(study.folder)
    made = [row.sample for row in again.samples()]
    assert 1 <= len(made) < 5
    news = list(jobs.generate_volumes(again, 5))
    assert (news[-1].done, news[-1].total) == (5, 5)
    assert contents(again.synthetic_dir) == contents(whole.synthetic_dir)


OTHER = """
import sys
from napari_memscan import jobs
from napari_memscan.errors import MemscanError
from napari_memscan.jobs import distributed as processes
from napari_memscan.study import Study

study, settings = Study.open(sys.argv[1]), eval(sys.argv[2])
print(jobs.run_job(jobs.generate_volumes(study, 5, **settings)))
print(jobs.run_job(jobs.embed_cohort(study)))
for what in range(3):
    try:
        jobs.run_job(jobs.generate_volumes(study, 5, **settings))
    except MemscanError as error:
        print(type(error).__name__, error)
with processes.join_process_group().working(study, "fail"):
    raise MemscanError("this one fails")
"""


@pytest.fixture
def slurm(monkeypatch):
    """Make this process the first of two as ``srun`` starts them; return the other's variables."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    both = {
        "SLURM_NTASKS": "2",
        "SLURM_NTASKS_PER_NODE": "2",
        "SLURM_STEP_NUM_TASKS": "2",
        "SLURM_STEP_NUM_NODES": "1",
        "SLURM_NNODES": "1",
        "SLURM_NODEID": "0",
        "SLURM_NODELIST": "127.0.0.1",
        "SLURM_JOB_ID": "1",
        "SLURM_JOB_NAME": "audit",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    for name, value in (both | {"SLURM_PROCID": "0", "SLURM_LOCALID": "0"}).items():
        monkeypatch.setenv(name, value)
    for name in ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    processes._launch_fabric.cache_clear()
    yield {**os.environ, **both, "SLURM_PROCID": "1", "SLURM_LOCALID": "1"}
    import torch

    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    processes._launch_fabric.cache_clear()


def wait_for_the_other(together, study):
    with together.working(study, "fail"):
        list(together.rest(1))


def test_slurm_generates_and_embeds_and_a_failure_ends_all(whole, make_study, tmp_path, slurm):
    study = make_study(tmp_path / "two")
    settings = settings_of(whole)
    other = subprocess.Popen(
        [sys.executable, "-c", OTHER, str(study.folder), repr(settings)],
        env=slurm,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        news = list(jobs.generate_volumes(study, 5, **settings))
        made = [n.done for n in news if isinstance(n, Progress)]
        assert made == sorted(made)
        assert made[-1] == 5
        assert contents(study.synthetic_dir) == contents(whole.synthetic_dir)

        news = list(jobs.embed_cohort(study))
        assert news[-1].done == news[-1].total == 19
        # Held by another memscan: both hear of it, and each goes on.
        holder = study.lock("x")
        with holder, pytest.raises(JobFailed, match="another memscan is working on this study"):
            jobs.run_job(jobs.generate_volumes(study, 5))
        with pytest.raises(BadInput, match="seed -1"):
            jobs.run_job(jobs.generate_volumes(study, 5, seed=-1))
        # A stop in one stops all.
        job = jobs.generate_volumes(study, 5, seed=90)
        next(job)
        job.close()
        with study.lock("check that it was freed"):
            pass
        together = processes.join_process_group()
        with pytest.raises(PeerFailed, match=r"has failed|has ended"):
            wait_for_the_other(together, study)
    finally:
        if sys.exc_info()[0] is not None:
            other.kill()
        out, err = other.communicate(timeout=60)
    lines = out.splitlines()
    assert lines[0] == str([f"s{i:06d}" for i in range(5)]), err
    assert lines[1] == "19"
    assert "this one fails" in err


def test_who_is_asked_for_rank_and_number(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS"):
        monkeypatch.delenv(name, raising=False)
    assert get_rank_and_size() == (0, 1)
    # Inside a batch script, but not below srun, there is one process.
    monkeypatch.setenv("SLURM_PROCID", "0")
    assert get_rank_and_size() == (0, 1)
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "4")
    assert get_rank_and_size() == (0, 4)
    # torchrun below SLURM goes first.
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("WORLD_SIZE", "8")
    assert get_rank_and_size() == (3, 8)
    # Whole jobs are shared by number, and each then is of one process.
    with processes.isolate_process() as found:
        assert found == (3, 8)
        assert get_rank_and_size() == (0, 1)
    assert get_rank_and_size() == (3, 8)


def test_shares_are_whole_and_apart():
    items = list(range(7))
    shares = [ProcessGroup(rank, 3).mine(items) for rank in range(3)]
    assert shares == [[0, 3, 6], [1, 4], [2, 5]]


def test_rows_from_many_threads_are_all_there_in_order(make_study, tmp_path):
    from napari_memscan.study import SampleRow

    study = make_study(tmp_path / "study")
    names = [f"s{i:06d}" for i in range(12)]

    def add(some):
        for name in some:
            study.add_samples([SampleRow(name, name, seed=name[1:])])

    threads = [threading.Thread(target=add, args=(names[i::3][::-1],)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [row.sample for row in study.samples()] == names
    assert Path(study.samples_path).read_text().count("\n") == 13
