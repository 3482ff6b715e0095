"""What a scan found, with all that the numbers depend on."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from math import ceil, log10
from pathlib import Path
from typing import Any

from napari_memscan.detection.results.calibration_record import CalibrationRecord, RuleResult
from napari_memscan.errors import BadInput
from napari_memscan.files import hash_json, write_atomically, write_json
from napari_memscan.typing import Verdict

FORMAT = 4

MOST_SHOWN = 20

MEASURES = {
    "similarity": "similarity of embeddings",
    "score": "score after registration (local correlation)",
}


OTHER_METRICS_HINT = "more      other metrics of copying and of quality: memscan evidence STUDY"


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


def hash_references(*splits: Iterable[tuple[str, str]]) -> str:
    """Return what stands for training and validation volumes: (content, subject) of each."""
    return hash_json(["references", *([list(row) for row in split] for split in splits)])


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
    references : str
        Stands for what synthetic volumes were held against: see `hash_references`; empty where
        only vectors were known.
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
    references: str = ""
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
        return _format_summary(self)

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
        cls, summary: Mapping[str, Any], verdicts: list[dict[str, Any]], rows: list[dict[str, Any]]
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


def _format_summary(result: ScanResult) -> str:
    """Return counts, rules side by side, calibration, warnings and the nearest pairs."""
    copies = _format_share(result.n_copies, result.n_synthetic, result.copies_interval)
    mem = _format_share(result.n_mem, result.n_training, result.mem_interval)
    lines = [
        f"N_copies  {copies}{_format_floor(result.null_floor_copies)}",
        f"N_mem     {mem}{_format_floor(result.null_floor_mem)}",
    ]
    if result.measure == "score":
        lines.append(
            f"verdicts  {result.n_copies} copy, {result.n_near} near-duplicate, "
            f"{result.count(Verdict.NOVEL)} novel, {result.count(Verdict.UNDECIDED)} undecided"
        )
    lines += [
        f"embedder  {result.embedder} ({result.embedder_hash[:8]})",
        f"measure   {MEASURES[result.measure]}; larger is nearer",
        "",
        *_format_rules(result.rules, result.digits),
    ]
    if result.calibration is not None:
        lines += ["", *_format_calibration(result.calibration)]
    lines += [f"warning   {text}" for text in result.warnings]
    lines += [OTHER_METRICS_HINT, "", *_format_pairs(result)]
    return "\n".join(lines)


def _format_share(k: int, n: int, interval: tuple[float, float]) -> str:
    low, high = interval
    return f"{k} of {n} = {k / max(n, 1):.1%} (95 % interval {low:.1%} to {high:.1%})"


def _format_floor(floor: float | None) -> str:
    return "" if floor is None else f"; {floor:.1%} expected if nothing were memorised"


def _format_rules(rules: tuple[RuleResult, ...], digits: int) -> list[str]:
    lines = [f"  {'rule':14}{'calls':>7}{'from':>9}  {'95 % interval':18}  by chance"]
    for rule in rules:
        places = max(4, digits) if rule.measure == "similarity" else 4
        level = "-" if rule.threshold is None else f"{rule.threshold:.{places}f}"
        within = "-"
        if rule.threshold_interval is not None:
            low, high = rule.threshold_interval
            within = f"{low:.{places}f} to {high:.{places}f}"
        lines.append(
            f"{'*' if rule.decides else ' '} {rule.name:14}{rule.n_copies:7}{level:>9}  "
            f"{within:18}  {rule.by_chance}"
        )
        if rule.note:
            lines.append(f"  {'':14}{rule.note}")
    return [*lines, "  * decides"]


def _format_calibration(calibration: CalibrationRecord) -> list[str]:
    def limit(value: float | None, interval: tuple[float, float] | None) -> str:
        if value is None or interval is None:
            return "not known"
        return f"{value:.3f} ({interval[0]:.3f} to {interval[1]:.3f})"

    moved = limit(calibration.displacement_limit, calibration.displacement_limit_interval)
    novel = limit(calibration.novel_limit, calibration.novel_limit_interval)

    lines = [
        f"limits    novel up to a score of {novel}, copy up to a displacement of {moved} mm; from "
        f"{calibration.n_planted} planted copies, as many near-duplicates and {calibration.n_null} "
        "validation subjects"
        + (", all decoded by the generator's autoencoder first" if calibration.decoded else "")
    ]
    lines += [f"          {text}" for text in calibration.limit_reasons]
    kind = "warning  " if calibration.assumption_shifted else "assumed  "
    return [*lines, f"{kind} {calibration.assumption}"]


def _format_pairs(result: ScanResult) -> list[str]:
    scored, places = result.measure == "score", max(4, result.digits)
    head = f"{'similarity':>10}  {'verdict':14}  synthetic volume -> nearest training volume"
    if scored:
        head = f"{'score':>7}{'mm':>6}{'p':>8}  {head}"
    lines = [head]
    for sample in result.samples[:MOST_SHOWN]:
        lines.append(
            (_format_score(sample) if scored else "")
            + (
                f"{sample.similarity:10.{places}f}  {sample.verdict:14}  "
                f"{sample.name} -> {sample.neighbour}"
            )
        )
    if len(result.samples) > MOST_SHOWN:
        lines.append(f"{'...':>10}  and {len(result.samples) - MOST_SHOWN} more")
    return lines


def _format_score(sample: SampleResult) -> str:
    score = "-" if sample.score is None else f"{sample.score:.3f}"
    p_value = "-" if sample.p_value is None else f"{sample.p_value:.4f}"
    apart = sample.neighbours[0].displacement
    moved = "-" if apart is None else f"{apart:.2f}"
    return f"{score:>7}{moved:>6}{p_value:>8}  "
