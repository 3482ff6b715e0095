"""What a scan found, with all that the numbers depend on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from math import ceil, log10
from pathlib import Path
from typing import Any

from napari_memscan.errors import BadInput
from napari_memscan.files import replacing, write_json

FORMAT = 1


@dataclass(frozen=True)
class Neighbour:
    """A training volume near a synthetic one; similarity in [-1, 1], larger is nearer."""

    path: str
    similarity: float


@dataclass(frozen=True)
class SampleResult:
    """What the program says of one synthetic volume.

    Attributes
    ----------
    path : str
        Of the synthetic volume.
    neighbour : str
        Path of the nearest training volume.
    similarity : float
        To it, in [-1, 1], larger is nearer.
    verdict : str
        ``copy``, ``novel`` or ``undecided``.
    reason : str
        Why undecided; else empty.
    neighbours : tuple of Neighbour
        Nearest first.
    """

    path: str
    neighbour: str
    similarity: float
    verdict: str
    reason: str
    neighbours: tuple[Neighbour, ...]


def digits_of(threshold: float) -> int:
    """Return with how many decimals similarities are told apart: 3, more where all are near 1.

    Pooled features of a network are alike in most of their numbers, and their correlations then
    lie between 0.999 and 1.
    """
    gap = max(1 - threshold, 1e-6)
    return 3 if gap >= 0.01 else min(6, ceil(-log10(gap)) + 1)


@dataclass(frozen=True, eq=False)
class ScanResult:
    """A scan: threshold, counts, intervals, null floors, and a verdict for every sample.

    Attributes
    ----------
    threshold : float
        tau; similarity above it is called a copy.
    rule, quantile
        Which rule set it.
    embedder, embedder_hash : str
        What mapped volumes to vectors.
    preprocessing : dict or None
        What volumes went through first.
    n_training, n_validation, n_synthetic : int
        Sizes.
    n_copies, n_mem : int
        Synthetic volumes called copies; training volumes with at least one copy.
    copies_interval, mem_interval : (float, float)
        Clopper-Pearson 95 % intervals of the two shares.
    null_floor_copies, null_floor_mem : float
        Shares the rule would flag at these sizes if nothing were memorised.
    null : tuple of float
        Similarity of each training volume to its nearest validation volume.
    samples : tuple of SampleResult
        Most similar first.
    warnings : tuple of str
        What a reader of the numbers must know.
    """

    threshold: float
    rule: str
    quantile: float
    embedder: str
    embedder_hash: str
    preprocessing: dict[str, Any] | None
    n_training: int
    n_validation: int
    n_synthetic: int
    n_copies: int
    copies_interval: tuple[float, float]
    n_mem: int
    mem_interval: tuple[float, float]
    null_floor_copies: float
    null_floor_mem: float
    null: tuple[float, ...]
    samples: tuple[SampleResult, ...]
    warnings: tuple[str, ...] = ()
    format: int = FORMAT

    @property
    def digits(self) -> int:
        """Decimals with which its similarities are told apart; see `digits_of`."""
        return digits_of(self.threshold)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON-ready values."""
        return json.loads(json.dumps(asdict(self)))

    def to_json(self) -> str:
        """Return one JSON object."""
        return json.dumps(self.to_dict(), sort_keys=True)

    def __str__(self) -> str:
        def share(k: int, n: int, interval: tuple[float, float], floor: float) -> str:
            low, high = interval
            return (
                f"{k} of {n} = {k / max(n, 1):.1%} (95 % interval {low:.1%} to {high:.1%}; "
                f"{floor:.1%} expected if nothing were memorised)"
            )

        lines = [
            f"N_copies  {share(self.n_copies, self.n_synthetic, self.copies_interval, self.null_floor_copies)}",  # noqa: E501
            f"N_mem     {share(self.n_mem, self.n_training, self.mem_interval, self.null_floor_mem)}",  # noqa: E501
            f"tau       {self.threshold:.{max(4, self.digits)}f}, rule {self.rule} "
            f"(quantile {self.quantile:g}, {self.n_validation} validation volumes); "
            "similarity: larger is nearer",
            f"embedder  {self.embedder} ({self.embedder_hash[:8]})",
        ]
        lines += [f"warning   {text}" for text in self.warnings]
        lines.append("")
        lines.append(
            f"{'similarity':>10}  {'verdict':9}  synthetic volume -> nearest training volume"
        )
        for sample in self.samples[:20]:
            lines.append(
                f"{sample.similarity:10.{max(4, self.digits)}f}  {sample.verdict:9}  "
                f"{Path(sample.path).name} -> {Path(sample.neighbour).name}"
            )
        if len(self.samples) > 20:
            lines.append(f"{'...':>10}  and {len(self.samples) - 20} more")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return str(self)

    def save(self, folder: str | Path) -> None:
        """Write ``neighbours.parquet``, ``verdicts.parquet`` and, last, ``summary.json``."""
        folder = Path(folder)
        verdicts = [{k: v for k, v in asdict(s).items() if k != "neighbours"} for s in self.samples]
        neighbours = [
            {"path": s.path, "rank": rank, "neighbour": n.path, "similarity": n.similarity}
            for s in self.samples
            for rank, n in enumerate(s.neighbours, 1)
        ]
        _write_table(folder / "verdicts.parquet", verdicts)
        _write_table(folder / "neighbours.parquet", neighbours)
        write_json(
            folder / "summary.json", {k: v for k, v in self.to_dict().items() if k != "samples"}
        )

    @classmethod
    def load(cls, folder: str | Path) -> ScanResult:
        """Read what `save` wrote.

        Raises
        ------
        BadInput
            A file is missing or damaged; scan again.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        folder = Path(folder)
        try:
            summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
            verdicts = pq.read_table(folder / "verdicts.parquet").to_pylist()
            rows = pq.read_table(folder / "neighbours.parquet").to_pylist()
            return cls._from(summary, verdicts, rows)
        except (OSError, ValueError, TypeError, KeyError, pa.ArrowException) as error:
            raise BadInput(
                f"{folder}: the results of the last scan cannot be read ({error}). Scan again."
            ) from error

    @classmethod
    def _from(
        cls,
        summary: Mapping[str, Any],
        verdicts: list[dict[str, Any]],
        rows: list[dict[str, Any]],
    ) -> ScanResult:
        near: dict[str, list[Neighbour]] = {}
        for row in rows:
            near.setdefault(row["path"], []).append(Neighbour(row["neighbour"], row["similarity"]))
        samples = tuple(SampleResult(**v, neighbours=tuple(near[v["path"]])) for v in verdicts)
        names = {f.name for f in fields(cls)} - {"samples"}
        values: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in summary.items()
        }
        if set(values) != names:
            raise ValueError(f"fields {sorted(set(values) ^ names)} do not fit this version")
        return cls(**values, samples=samples)


def _write_table(path: Path, rows: list[dict[str, Any]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with replacing(path) as temporary:
        pq.write_table(pa.Table.from_pylist(rows), temporary)
