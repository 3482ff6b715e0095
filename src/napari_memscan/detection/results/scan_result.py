"""What a scan found, with all that the numbers depend on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from math import ceil, log10
from pathlib import Path
from typing import Any

from napari_memscan.detection.results.calibration_record import CalibrationRecord, RuleResult
from napari_memscan.errors import BadInput
from napari_memscan.files import write_atomically, write_json
from napari_memscan.typing import Verdict

FORMAT = 4


@dataclass(frozen=True)
class Neighbour:
    """A training volume near a synthetic one; whatever is compared, larger is nearer.

    Attributes
    ----------
    name : str
        Of the training volume, as its cohort calls it; see `volumes.names`.
    similarity : float
        Of the embeddings, in [-1, 1].
    score : float or None
        Local correlation after registration, in [-1, 1]; None where it was not registered.
    correlation, ssim, overlap : float or None
        Global correlation and SSIM after registration, and the share of the synthetic volume that
        the training volume covers.
    transform : tuple of float or None
        The pose (4, 4), row after row: from points of the synthetic volume to points of the
        training volume, in mm about their centres.
    displacement : float or None
        How far their anatomy lies apart on average, in mm; smaller is nearer.
    """

    name: str
    similarity: float
    score: float | None = None
    correlation: float | None = None
    ssim: float | None = None
    overlap: float | None = None
    transform: tuple[float, ...] | None = None
    displacement: float | None = None


@dataclass(frozen=True)
class SampleResult:
    """What the program says of one synthetic volume.

    Attributes
    ----------
    name : str
        Of the synthetic volume: the sample of a study.
    neighbour : str
        Name of the nearest training volume: after registration where that was done, else by
        embedding.
    similarity : float
        Largest of the embeddings, in [-1, 1], larger is nearer.
    verdict : Verdict
    reason : str
        Why undecided, or what is to be known of the verdict; mostly empty.
    neighbours : tuple of Neighbour
        Nearest first.
    score : float or None
        Largest after registration, in [-1, 1], larger is nearer; None without registration.
    p_value : float or None
        How often a new patient's volume would be as near; None where the rule knows none.
    content : str
        Stands for the volume as it was read, see `volumes.volume.compute_content_key`: it tells
        later whether it is still the one that was scanned. Empty where nobody said it.
    """

    name: str
    neighbour: str
    similarity: float
    verdict: Verdict
    reason: str
    neighbours: tuple[Neighbour, ...]
    score: float | None = None
    p_value: float | None = None
    content: str = ""


def choose_decimals(threshold: float | None) -> int:
    """Return with how many decimals similarities are told apart: 3, more where all are near 1.

    Pooled features of a network are alike in most of their numbers, and their correlations then
    lie between 0.999 and 1.
    """
    if threshold is None:
        return 3
    gap = max(1 - threshold, 1e-6)
    return 3 if gap >= 0.01 else min(6, ceil(-log10(gap)) + 1)


@dataclass(frozen=True, eq=False)
class ScanResult:
    """A scan: rules side by side, counts, intervals, and a verdict for every sample.

    Attributes
    ----------
    measure : str
        What verdicts rest on: ``similarity`` of embeddings, or ``score`` after registration.
    threshold : float or None
        Of the deciding rule on that measure; None where it calls nothing.
    rule, quantile
        Which rule decides; the quantile is that of the rules with a tau.
    embedder, embedder_hash : str
        What mapped volumes to vectors.
    preprocessing : dict or None
        What volumes went through first.
    n_training, n_validation, n_synthetic : int
        Sizes.
    n_copies, n_near : int
        Synthetic volumes called copies, and called near-duplicates.
    n_mem : int
        Training volumes with at least one copy.
    copies_interval, mem_interval : (float, float)
        Clopper-Pearson 95 % intervals of the shares of `n_copies` and `n_mem`.
    null_floor_copies, null_floor_mem : float or None
        Shares that the rule would flag at these sizes if nothing were memorised; None for a rule
        that bounds the share of mistakes instead.
    null : tuple of float
        What volumes known not to be copies have of that measure.
    samples : tuple of SampleResult
        Nearest first.
    rules : tuple of RuleResult
        Every rule on the same volumes.
    tau : float
        The paper's, on similarities of embeddings, whatever decides.
    calibration : CalibrationRecord or None
        How verdicts were calibrated; None where a rule of embeddings alone decides.
    warnings : tuple of str
        What a reader of the numbers must know.
    """

    measure: str
    threshold: float | None
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
    n_near: int
    n_mem: int
    mem_interval: tuple[float, float]
    null_floor_copies: float | None
    null_floor_mem: float | None
    null: tuple[float, ...]
    samples: tuple[SampleResult, ...]
    rules: tuple[RuleResult, ...]
    tau: float
    calibration: CalibrationRecord | None = None
    warnings: tuple[str, ...] = ()
    format: int = FORMAT

    @property
    def digits(self) -> int:
        """Decimals with which its similarities are told apart; see `choose_decimals`."""
        return choose_decimals(self.tau)

    def value(self, sample: SampleResult) -> float:
        """Return what a sample's verdict rests on, in [-1, 1], larger is nearer."""
        if self.measure == "score" and sample.score is not None:
            return sample.score
        return sample.similarity

    def count(self, verdict: Verdict) -> int:
        """Return how many samples have a verdict."""
        return sum(s.verdict == verdict for s in self.samples)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON-ready values."""
        return json.loads(json.dumps(asdict(self)))

    def to_json(self) -> str:
        """Return one JSON object."""
        return json.dumps(self.to_dict(), sort_keys=True)

    def __str__(self) -> str:
        from napari_memscan.detection.results.summary import format_summary

        return format_summary(self)

    def __repr__(self) -> str:
        return str(self)

    def save(self, folder: str | Path) -> None:
        """Write ``neighbours.parquet``, ``verdicts.parquet`` and, last, ``summary.json``."""
        folder = Path(folder)
        verdicts = [{k: v for k, v in vars(s).items() if k != "neighbours"} for s in self.samples]
        neighbours = [
            {"sample": s.name, "rank": rank} | vars(n)
            for s in self.samples
            for rank, n in enumerate(s.neighbours, 1)
        ]
        _write_table(folder / "verdicts.parquet", verdicts)
        _write_table(folder / "neighbours.parquet", neighbours)
        rest = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "samples"}
        rest["rules"] = [asdict(rule) for rule in self.rules]
        rest["calibration"] = asdict(self.calibration) if self.calibration else None
        write_json(folder / "summary.json", rest)

    @classmethod
    def load(cls, folder: str | Path) -> ScanResult:
        """Read what `save` wrote.

        Raises
        ------
        BadInput
            A file is missing or damaged, or of another version; scan again.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        folder = Path(folder)
        try:
            summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
            if summary["format"] != FORMAT:
                raise ValueError(f"format {summary['format']}, this version reads {FORMAT}")
            verdicts = pq.read_table(folder / "verdicts.parquet").to_pylist()
            rows = pq.read_table(folder / "neighbours.parquet").to_pylist()
            return cls._from(summary, verdicts, rows)
        except (
            OSError,
            ValueError,
            TypeError,
            LookupError,
            AttributeError,
            RecursionError,
            pa.ArrowException,
        ) as error:
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
            values = {k: v for k, v in row.items() if k not in ("sample", "rank")}
            if values["transform"] is not None:
                values["transform"] = tuple(values["transform"])
            near.setdefault(row["sample"], []).append(Neighbour(**values))
        samples = tuple(
            SampleResult(
                **v | {"verdict": Verdict(v["verdict"])}, neighbours=tuple(near[v["name"]])
            )
            for v in verdicts
        )
        names = {f.name for f in fields(cls)} - {"samples"}
        if set(summary) != names:
            raise ValueError(f"fields {sorted(set(summary) ^ names)} do not fit this version")
        tuples: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in summary.items()
        }
        tuples["rules"] = tuple(RuleResult.from_dict(rule) for rule in summary["rules"])
        if summary["calibration"] is not None:
            tuples["calibration"] = CalibrationRecord.from_dict(summary["calibration"])
        return cls(**tuples, samples=samples)


def _write_table(path: Path, rows: list[dict[str, Any]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with write_atomically(path) as temporary:
        pq.write_table(pa.Table.from_pylist(rows), temporary)
