"""What the machine is asked, what it is believed, and what follows from its memory."""

import os
import subprocess
import sys

import pytest
import torch

from napari_memscan.checkpoints.latent_model import LatentModel
from napari_memscan.errors import BadInput
from napari_memscan.generators import memory as needs
from napari_memscan.generators import runtime as machine
from napari_memscan.generators.memory import MemoryNeed, estimate_need
from napari_memscan.generators.sample import SamplingSettings

CPU = torch.device("cpu")
KEYS = [(p, m) for p in ("float32", "bfloat16") for m in ("contiguous", "channels_last")]


def measured(monkeypatch, *times):
    """Let the probe have found these seconds, as far as there are any."""
    found = dict(zip(KEYS, times, strict=False))
    monkeypatch.setattr(machine, "time_convolutions", lambda device, threads: found)


@pytest.mark.parametrize(
    ("times", "precision", "memory"),
    [
        ((1.0, 1.0, 0.35, 0.35), "bfloat16", "contiguous"),
        ((1.0, 1.0, 0.60, 0.10), "float32", "contiguous"),
        ((1.0, 0.7, 0.35, 0.20), "bfloat16", "channels_last"),
        ((1.0, 0.7, 500.0, 500.0), "float32", "channels_last"),
        ((1.0, 0.9), "float32", "contiguous"),
    ],
)
def test_only_a_clear_gain_changes_bytes(monkeypatch, times, precision, memory):
    measured(monkeypatch, *times)
    assert machine.choose_precision(CPU, 1) == precision
    assert machine.choose_memory_format(CPU, 1, precision) == memory


def test_a_wish_goes_before_what_was_measured(monkeypatch):
    measured(monkeypatch, 1.0, 0.1, 0.1, 0.1)
    assert machine.choose_precision(CPU, 1, "float32") == "float32"
    assert machine.choose_memory_format(CPU, 1, "bfloat16", "contiguous") == "contiguous"
    # A precision that the probe left out has no times.
    assert machine.choose_memory_format(torch.device("cuda"), 1, "float16") == "contiguous"
    with pytest.raises(BadInput, match="on mps choose auto, float32"):
        machine.choose_precision(torch.device("mps"), 1, "bfloat16")


def test_the_probe_takes_part_of_a_second_and_is_made_once():
    machine.time_convolutions.cache_clear()
    times = machine.time_convolutions("cpu", 1)
    assert set(times) in (set(KEYS), set(KEYS[:2]))
    assert all(0 < seconds < 1 for seconds in times.values())
    assert machine.time_convolutions("cpu", 1) is times


def test_a_processor_without_bfloat16_is_not_asked_to_compute_in_it(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True}, raising=False)
    machine.time_convolutions.cache_clear()
    try:
        assert set(machine.time_convolutions("cpu", 1)) == set(KEYS[:2])
        assert machine.choose_precision(CPU, 1) == "float32"
    finally:
        machine.time_convolutions.cache_clear()
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True}, raising=False)
    assert machine._find_reduced_precisions(CPU) == ("bfloat16",)
    assert set(machine.time_convolutions("mps", 1)) == set(KEYS[:2])


def test_threads_count_in_the_block_only():
    before = torch.get_num_threads()
    with machine.use_threads(before + 1):
        assert torch.get_num_threads() == before + 1
    with machine.use_threads(0):
        assert torch.get_num_threads() == before
    assert torch.get_num_threads() == before


def test_networks_and_tensors_are_brought_into_a_format():
    layer = torch.nn.Sequential(torch.nn.Conv3d(4, 8, 3), torch.nn.Linear(3, 3))
    machine.to_memory_format(layer, "channels_last")
    weight = layer[0].weight
    assert weight.is_contiguous(memory_format=torch.channels_last_3d)
    machine.to_memory_format(layer, "contiguous")
    assert layer[0].weight.is_contiguous()
    data = machine.to_memory_format(torch.zeros(1, 4, 5, 5, 5), "channels_last")
    assert data.is_contiguous(memory_format=torch.channels_last_3d)


# What a run needs


def test_what_lives_at_one_time_is_counted():
    def run(x):
        y = x + 1  # x, y
        y = y * 2  # x, old y, new y
        return y[:1].sum()

    x = torch.zeros(1000, device="meta")
    assert estimate_need(run, x).bytes == 3 * 4000
    # A view takes no memory.
    assert estimate_need(lambda x: x.view(10, 100).T, x).bytes == 4000


def test_the_share_of_slow_convolutions_is_counted():
    with torch.device("meta"):
        layer = torch.nn.Conv3d(32, 32, 3, padding=1)
        small, large = torch.zeros(1, 32, 8, 8, 8), torch.zeros(1, 32, 64, 64, 8)
    assert estimate_need(layer, small).small == 1
    assert estimate_need(layer, large).small == 0
    assert estimate_need(lambda x: x + 1, large).small == 0


# VmHWM, not ru_maxrss: that one begins with the memory of the process that starts this one.
PEAK = """
import psutil, torch
torch.set_num_threads(1)
net = torch.nn.Sequential(*[torch.nn.Conv3d(16, 16, 3, padding=1) for _ in range(3)])
with torch.inference_mode():
    net(torch.zeros(1, 16, 8, 8, 8))
    before = psutil.Process().memory_info().rss
    net(torch.zeros(1, 16, 112, 112, 112))
    peak = next(l for l in open("/proc/self/status") if l.startswith("VmHWM"))
    print(int(peak.split()[1]) * 1024 - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="counts as Linux does")
def test_what_is_counted_is_what_a_run_takes():
    """The real peak lies between what lives at one time and that times `WORKSPACE`."""
    with torch.device("meta"):
        net = torch.nn.Sequential(*[torch.nn.Conv3d(16, 16, 3, padding=1) for _ in range(3)])
        expected = estimate_need(net, torch.zeros(1, 16, 112, 112, 112)).bytes
    run = subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True, check=True)
    assert 0.8 * expected < int(run.stdout) < needs.WORKSPACE_FACTOR * expected


def test_the_batch_goes_by_memory_on_a_gpu_and_by_kernels_on_a_processor(monkeypatch):
    cuda = torch.device("cuda")
    for free, expected in ((2.0**40, 8), (8.1, 8), (7.9, 4), (3.9, 2), (0.1, 1)):
        monkeypatch.setattr(machine, "get_free_bytes", lambda device, free=free: free * 1000)
        needed = MemoryNeed(int(1000 * needs.USABLE_SHARE / needs.WORKSPACE_FACTOR), 0.0)
        assert machine.choose_batch_size(needed, cuda) == expected
    assert machine.choose_batch_size(MemoryNeed(1, 1.0), CPU) == 2
    assert machine.choose_batch_size(MemoryNeed(1, 0.1), CPU) == 1


def test_processes_on_one_host_share_its_memory(monkeypatch):
    for name in ("LOCAL_WORLD_SIZE", "SLURM_NTASKS_PER_NODE"):
        monkeypatch.delenv(name, raising=False)
    alone = needs.get_free_bytes(CPU)
    assert 0 < alone < os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert needs.get_free_bytes(CPU) == pytest.approx(alone / 4, rel=0.3)


def test_the_limit_of_a_batch_job_counts(tmp_path):
    own = tmp_path / "own"
    own.write_text("0::/slurm/job_1\n")
    job = tmp_path / "slurm" / "job_1"
    job.mkdir(parents=True)
    assert needs._read_cgroup_room(tmp_path, own) == []
    (job / "memory.max").write_text("max\n")
    (job / "memory.current").write_text("100\n")
    (job.parent / "memory.max").write_text("1000\n")
    (job.parent / "memory.current").write_text("400\n")
    assert needs._read_cgroup_room(tmp_path, own) == [600]
    assert needs._read_cgroup_room(tmp_path, tmp_path / "missing") == []


# Settings as text


def test_settings_are_read_as_they_were_written():
    settings = SamplingSettings(4, "bfloat16", "channels_last", 2, "window:8x8x8:0.5")
    assert SamplingSettings.parse(str(settings)) == settings
    assert SamplingSettings.parse("") == SamplingSettings()
    assert str(settings) == (
        "batch=4 precision=bfloat16 memory=channels_last threads=2 decode=window:8x8x8:0.5"
    )


@pytest.mark.parametrize("text", ["batch=x threads=1", "nonsense", "batch=1 threads=1 speed=9"])
def test_other_texts_are_no_settings(text):
    with pytest.raises(BadInput, match=r"in samples\.csv: not readable"):
        SamplingSettings.parse(text)


def test_a_model_on_the_meta_device_says_what_it_needs(tiny_ldm):
    from napari_memscan.generators.ldm import LDMGenerator

    generator = LDMGenerator(tiny_ldm, "cpu")
    assert isinstance(generator._on_meta, LatentModel)
    assert generator._need_of_a_step.small == 1
    assert generator.choose().batch == 2
