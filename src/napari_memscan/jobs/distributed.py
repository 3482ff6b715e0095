"""One job split over several processes, on one host or many, started by torchrun or SLURM.

Only names and numbers go between the processes (Gloo, through Lightning Fabric); volumes and
vectors are written to the study's folder by whoever made them.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

from napari_memscan.errors import JobFailed, MemscanError

if TYPE_CHECKING:
    from napari_memscan.study import Study

T = TypeVar("T")

PEER_TIMEOUT = timedelta(days=7)
"""Processes wait for each other so long; one that dies ends the others at once."""

RANK_VARIABLES = (
    "RANK",
    "WORLD_SIZE",
    "LOCAL_RANK",
    "LOCAL_WORLD_SIZE",
    "TORCHELASTIC_RUN_ID",
    "SLURM_PROCID",
    "SLURM_STEP_NUM_TASKS",
    "SLURM_NTASKS",
    "SLURM_LOCALID",
)
"""Variables by which torchrun and ``srun`` say that a process is one of several."""

POLL_INTERVAL = 0.2
"""Seconds between two looks at how far the others are."""


class PeerFailed(JobFailed):
    """Another process of this job failed, and says itself why."""


def get_rank_and_size() -> tuple[int, int]:
    """Return rank and number of processes, as torchrun or ``srun`` says; (0, 1) for one alone."""
    for rank, size in (("RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS")):
        if os.environ.get(rank, "").isdecimal() and os.environ.get(size, "").isdecimal():
            return int(os.environ[rank]), int(os.environ[size])
    return 0, 1


@contextmanager
def isolate_process() -> Iterator[tuple[int, int]]:
    """Give rank and number of processes; what runs in the block is of this process alone.

    For jobs that are shared as wholes, not volume by volume. Lightning, too, asks these variables.
    """
    found = get_rank_and_size()
    on_host = int(os.environ.get("LOCAL_RANK") or os.environ.get("SLURM_LOCALID") or 0)
    hidden = {name: os.environ.pop(name) for name in RANK_VARIABLES if name in os.environ}
    if found[1] > 1:
        _select_gpu(on_host)
    try:
        yield found
    finally:
        os.environ.update(hidden)


def _select_gpu(on_host: int) -> None:
    """Make "cuda" without a number that of this process."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.set_device(on_host % torch.cuda.device_count())


class ProcessGroup:
    """The processes that work on one job; by default one alone.

    Attributes
    ----------
    rank, size : int
        Number of this one, from 0, and of all.
    """

    def __init__(self, rank: int = 0, size: int = 1, fabric: Any = None) -> None:
        self.rank, self.size, self._fabric = rank, size, fabric
        self._finished = 0
        self._store: Any = None

    @property
    def first(self) -> bool:
        """Whether this is the process that plans, and speaks to people."""
        return self.rank == 0

    def mine(self, items: Sequence[T]) -> Sequence[T]:
        """Return this process's share: every `size`-th item."""
        return items[self.rank :: self.size]

    def share(self, make: Callable[[], T]) -> T:
        """Return what `make` returns in the first process, in all of them.

        Raises
        ------
        OtherFailed
            `make` failed there; the first process raises what it raised.
        """
        if self.size == 1:
            return make()
        answer: tuple[bool, Any] = (True, None)
        failure: Exception | None = None
        if self.first:
            try:
                answer = (True, make())
            except MemscanError as error:
                answer, failure = (False, str(error)), error
        with _explain_lost_peer():
            fine, value = self._fabric.broadcast(answer)
        if failure is not None:
            raise failure
        if not fine:
            raise PeerFailed(str(value))
        return value

    @contextmanager
    def working(self, study: Study, what: str) -> Iterator[None]:
        """Hold the study for a job of all processes: none goes on where one has failed.

        The first holds the lock, and until all are at the end of the block.
        """
        with ExitStack() as stack:
            if self.size == 1:
                stack.enter_context(study.lock(what))
                yield
                return
            self._store = self._open_store()
            try:
                self.share(lambda: stack.enter_context(study.lock(what)))
                yield
                with _explain_lost_peer():
                    self._fabric.barrier()
            except PeerFailed:
                raise
            except BaseException:
                with suppress(RuntimeError):
                    self._store.add("failed", 1)
                raise

    def _open_store(self) -> Any:
        """Open a counter that all reach: of units done, and of failures."""
        from torch.distributed import TCPStore  # type: ignore[attr-defined]

        host = os.environ["MASTER_ADDR"]
        with _explain_lost_peer():
            mine = TCPStore(host, 0, is_master=True) if self.first else None
            port = self._fabric.broadcast(mine.port if mine else 0)
            return mine or TCPStore(host, port, is_master=False)

    def done(self) -> None:
        """Tell the others that one more unit is done."""
        self._finished += 1
        if self._store is not None:
            with _explain_lost_peer():
                self._store.add("done", 1)

    def count(self) -> int:
        """Return how many units all processes have done.

        Raises
        ------
        OtherFailed
            One of them has failed.
        """
        if self._store is None:
            return self._finished
        with _explain_lost_peer():
            if self._store.add("failed", 0):
                raise PeerFailed("another process of this job has failed; see its message.")
            return int(self._store.add("done", 0))

    def rest(self, total: int) -> Iterator[int]:
        """Wait until `total` units are done; several processes yield their number as it grows."""
        before = None
        while self.size > 1 and before != total:
            last = self.count()
            if last != before:
                yield last
            before = last
            if last < total:
                time.sleep(POLL_INTERVAL)


def join_process_group() -> ProcessGroup:
    """Return the processes this one was started with."""
    rank, size = get_rank_and_size()
    if size == 1:
        return ProcessGroup()
    return ProcessGroup(rank, size, _launch_fabric(rank, size))


@lru_cache
def _launch_fabric(rank: int, size: int) -> Any:
    from lightning.fabric import Fabric
    from lightning.fabric.plugins.environments import SLURMEnvironment, TorchElasticEnvironment
    from lightning.fabric.strategies import DDPStrategy

    # Of no use to who only wants volumes.
    for name in ("lightning.fabric", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.WARNING)
    here = _count_local_processes(size)
    with _explain_lost_peer():
        by = TorchElasticEnvironment() if "RANK" in os.environ else SLURMEnvironment(False)
        fabric = Fabric(
            accelerator="cpu",
            strategy=DDPStrategy(process_group_backend="gloo", timeout=PEER_TIMEOUT),
            devices=here,
            num_nodes=size // here,
            plugins=[by],
        )
        fabric.launch()  # The processes are there already: this only makes them meet.
    _select_gpu(fabric.local_rank)
    return fabric


def _count_local_processes(size: int) -> int:
    """Return how many processes each host has."""
    if "RANK" in os.environ:
        return int(os.environ.get("LOCAL_WORLD_SIZE") or size)
    return max(size // int(os.environ.get("SLURM_STEP_NUM_NODES") or 1), 1)


@contextmanager
def _explain_lost_peer() -> Iterator[None]:
    """Say what it means when the others cannot be reached."""
    try:
        yield
    except (RuntimeError, ValueError) as error:
        if isinstance(error, MemscanError):
            raise
        raise PeerFailed(
            f"another process of this job has ended or cannot be reached ({error}). See its "
            "message; the same command goes on where this one stopped."
        ) from error
