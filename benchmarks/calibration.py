"""Mistakes and power of the three rules on simulated studies where every copy is known.

Simulates studies with a known share of copies, on scores (fast, the procedure alone) and on vectors
(embeddings, nearest neighbours and the paper's rule on the same studies), and prints for each rule
the false-discovery proportion with its Monte Carlo interval against q, how often a study without
copies is called at all, and the share of copies found. Then the floors of a study where nothing is
memorised, and how often the test of the assumption is right.

PASS: the mean over studies is at most q. A mean above q whose interval reaches q is neither PASS
nor FAIL, and said apart. Where the procedure is exact, as with 100 volumes, 1000 of the null, no
copies and q = 0.1 (the expectation is 100/1001), about half of all runs must end so.

    python benchmarks/calibration.py [--studies 200] [--score-studies 2000]
        [--part scores vectors floor assumption verdicts]
"""

from __future__ import annotations

import argparse
import sys
import time

import numpy as np

from napari_memscan.detection.decision.class_limits import ClassLimits
from napari_memscan.detection.decision.conformal import ConformalRule
from napari_memscan.detection.decision.exchangeability import run_exchangeability_test
from napari_memscan.detection.decision.thresholds import (
    PaperRule,
    SizeMatchedRule,
    compute_null_floor,
)
from napari_memscan.detection.decision.verdicts import assign_verdicts
from napari_memscan.detection.retrieval.neighbours import NeighbourIndex
from napari_memscan.detection.statistics.intervals import clopper_pearson

WITHIN = "mean above q, within error"
SHARES = (0.0, 0.02, 0.1, 0.3)
LEVELS = (0.05, 0.1)
SIZES = ((904, 226), (242, 58), (200, 20), (100, 1000))
"""Synthetic (as many as training) and validation volumes."""


def score_study(m: int, n: int, share: float, random: np.random.Generator):
    """Null, scores of a batch, and which are copies: normal scores, copies 4 above on average."""
    k = round(share * m)
    scores = np.concatenate([random.normal(4, 1, size=k), random.normal(size=m - k)])
    return random.normal(size=n), scores, np.arange(m) < k


def vector_study(m: int, n: int, share: float, random: np.random.Generator, dim: int = 16):
    """Vectors (training, validation, synthetic) in 32-d, varying in `dim` directions, and copies.

    A copy is a training vector with noise that leaves a correlation of about 0.97, drawn with
    replacement, as generators repeat some patients more than others.
    """
    directions = random.normal(size=(dim, 32))

    def draw(count: int) -> np.ndarray:
        return (random.normal(size=(count, dim)) @ directions).astype(np.float32)

    training, validation, synthetic = draw(m), draw(n), draw(m)
    k = round(share * m)
    copied = training[random.integers(m, size=k)]
    noise = random.normal(size=copied.shape) * copied.std(axis=1, keepdims=True)
    synthetic[:k] = copied + 0.25 * noise
    return training, validation, synthetic, np.arange(m) < k


def nearest(queries: np.ndarray, references: np.ndarray) -> np.ndarray:
    return NeighbourIndex().fit(references).kneighbors(queries, 1)[0][:, 0]


class Tally:
    """What one rule did in all studies of one kind."""

    def __init__(self) -> None:
        self.proportions: list[float] = []
        self.power: list[float] = []
        self.any_false: list[bool] = []

    def add(self, called: np.ndarray, copies: np.ndarray) -> None:
        """Count one study."""
        false = int((called & ~copies).sum())
        self.proportions.append(false / max(int(called.sum()), 1))
        self.any_false.append(false > 0)
        if copies.any():
            self.power.append(float(called[copies].mean()))

    def line(self, name: str, m: int, n: int, share: float, q: float | None) -> tuple[str, str]:
        """Return a line to print and PASS, FAIL or `WITHIN`; without q, nothing is promised."""
        count = len(self.proportions)
        mean = float(np.mean(self.proportions))
        if share == 0:
            # Then the proportion is 1 or 0: of a study with any call, and of one without.
            low, high = clopper_pearson(sum(self.any_false), count)
        else:
            error = 1.96 * float(np.std(self.proportions, ddof=1)) / count**0.5
            low, high = max(0.0, mean - error), mean + error
        any_false = f"{np.mean(self.any_false):6.1%}" if share == 0 else f"{'':6}"
        power = f"{np.mean(self.power):6.1%}" if self.power else f"{'':6}"
        verdict = judged(mean, low, q or 0.1)
        return (
            f"{name:20}{m:5}{n:5}{share:7.0%}  {mean:6.1%} ({low:6.1%} to {high:6.1%})  "
            f"{np.percentile(self.proportions, 90):6.1%}  {any_false}  {power}  "
            f"{verdict} at q = {q or 0.1:g}{'' if q else ' (promises none)'}"
        ), verdict if q else ""


def judged(mean: float, low: float, q: float) -> str:
    """Return PASS, FAIL or `WITHIN`; `low` is the low end of the interval of the mean."""
    return "PASS" if mean <= q else WITHIN if low <= q else "FAIL"


HEAD = (
    f"{'rule':20}{'m':>5}{'n':>5}{'copies':>7}  {'FDP, mean (95 % interval)':25} {'90th':>7}  "
    f"{'any':>6}  {'power':>6}"
)


def calibrate(kind: str, studies: int, seed: int) -> list[str]:
    """Print a line for each rule, size and share of copies; return what is said of each."""
    rules = [f"conformal q={q:g}" for q in LEVELS] + ["size-matched"]
    rules += ["dar2024"] if kind == "vectors" else []
    print(
        f"\n{kind}: {studies} studies a line; FDP: false ones among the called; 90th: percentile "
        "of FDP over studies;\nany: share of studies without copies in which any volume is called"
    )
    print(HEAD)
    said = []
    for m, n in SIZES:
        for share in SHARES:
            tallies = {name: Tally() for name in rules}
            for study in range(studies):
                random = np.random.default_rng([seed, m, n, round(100 * share), study])
                if kind == "scores":
                    null, scores, copies = score_study(m, n, share, random)
                else:
                    training, validation, synthetic, copies = vector_study(m, n, share, random)
                    null, scores = nearest(validation, training), nearest(synthetic, training)
                    called = PaperRule().fit(training, validation).is_copy(scores)
                    tallies["dar2024"].add(called, copies)
                for q in LEVELS:
                    called = ConformalRule(q).fit(null).is_copy(scores)
                    tallies[f"conformal q={q:g}"].add(called, copies)
                called = SizeMatchedRule(n_draws=1).fit(null).is_copy(scores)
                tallies["size-matched"].add(called, copies)
            for name, tally in tallies.items():
                q = float(name.split("=")[1]) if "=" in name else None
                line, verdict = tally.line(name, m, n, share, q)
                print(line)
                said += [verdict] if verdict else []
    return said


def floors(studies: int, seed: int) -> bool:
    print("\nfloor: shares flagged where nothing is memorised, mean over studies of 4 to 32 dims")
    print(
        f"{'sizes':14}{'formula':>9}{'N_copies':>10}{'N_mem':>8}{'matched N_copies':>18}"
        f"{'matched N_mem':>15}"
    )
    good = True
    for m, n in SIZES:
        rows = []
        for study in range(studies // 2):
            random = np.random.default_rng([seed, m, n, study])
            dim = (4, 8, 16, 32)[study % 4]
            training, validation, synthetic, _ = vector_study(m, n, 0.0, random, dim)
            paper, scores = PaperRule().fit(training, validation), nearest(synthetic, training)
            matched = SizeMatchedRule(n_draws=1, n_subsets=20).fit(nearest(validation, training))
            rows.append(
                [
                    paper.is_copy(scores).mean(),
                    paper.is_copy(nearest(training, synthetic)).mean(),
                    matched.is_copy(scores).mean(),
                    matched.n_mem(training, validation, synthetic).share,
                ]
            )
        means, floor = np.mean(rows, axis=0), compute_null_floor(m, n)
        error = 1.96 * np.std(rows, axis=0, ddof=1) / len(rows) ** 0.5
        kept = bool(abs(means[0] - floor) < 0.03 + error[0] and means[2] < 0.1 and means[3] < 0.1)
        good &= kept
        print(
            f"{f'{m}/{n}/{m}':14}{floor:9.1%}{means[0]:10.1%}{means[1]:8.1%}{means[2]:18.1%}"
            f"{means[3]:15.1%}  {'PASS' if kept else 'FAIL'}"
        )
    return good


def assumption(studies: int, seed: int) -> bool:
    print(
        "\nassumption: share of studies in which the bulk is called shifted (level 5 %); shift in "
        "standard deviations of the null"
    )
    print(f"{'m':>5}{'n':>5}{'copies':>8}" + "".join(f"{d:>8.1f}" for d in (0, 0.3, 0.5, 1, 3, -1)))
    good = True
    for m, n in SIZES:
        for share in (0.0, 0.1, 0.3, 0.5):
            found = []
            for shift in (0, 0.3, 0.5, 1, 3, -1):
                calls = 0
                for study in range(studies):
                    random = np.random.default_rng([seed, m, n, round(100 * share), study])
                    null, scores, copies = score_study(m, n, share, random)
                    calls += run_exchangeability_test(scores + shift * ~copies, null).shifted
                found.append(calls)
            kept = clopper_pearson(found[0], studies)[0] <= 0.05
            good &= kept
            print(
                f"{m:5}{n:5}{share:8.0%}"
                + "".join(f"{c / studies:8.1%}" for c in found)
                + f"  {'PASS' if kept else 'FAIL'} at 5 % without a shift"
            )
    return good


def judge(studies: int, seed: int) -> bool:
    """Half novel at 0, a tenth near-duplicates at `near`, the rest copies at 7; sd 1 each."""
    names = ("copy", "near-duplicate", "novel", "undecided")
    print(
        "\nverdicts: share of each true class that gets each verdict, q = 0.1; 60 planted of each"
    )
    print(
        f"{'m':>5}{'n':>5}{'near at':>8} {'planted':9}{'truth':16}"
        + "".join(f"{name:>16}" for name in names)
    )
    good = True
    for m, n in SIZES:
        for near in (3.5, 1.5):
            for planted in (True, False):
                table = np.zeros((3, 4))
                truth = np.repeat([0, 1, 2], [m - m // 10 - m // 5, m // 10, m // 5])
                for study in range(studies // 2):
                    random = np.random.default_rng([seed, m, n, study])
                    where = np.array([0.0, near, 7.0])
                    scores, null = random.normal(where[truth]), random.normal(size=n)
                    limits = ClassLimits(n_draws=1) if planted else None
                    if limits is not None:
                        limits.fit(null, random.normal(near, 1, 60), random.normal(7, 1, 60))
                    decision = ConformalRule().fit(null).decide(scores)
                    for true, (verdict, _) in zip(
                        truth, assign_verdicts(scores, decision, limits), strict=True
                    ):
                        table[true, names.index(verdict)] += 1
                table /= table.sum(axis=1, keepdims=True)
                for true, row in zip(("novel", "near-duplicate", "copy"), table, strict=True):
                    line = "".join(f"{share:16.1%}" for share in row)
                    end = ""
                    if true == "copy" or (true == "near-duplicate" and planted):
                        # A limit at the 5th percentile of 60: about 5 % in new ones, a little more.
                        kept = row[2] <= 0.08
                        good &= kept
                        end = f"  {'PASS' if kept else 'FAIL'} at 5 % called novel"
                    label = "yes" if planted else "no"
                    print(f"{m:5}{n:5}{near:8.1f} {label:9}{true:16}{line}{end}")
    return good


def main() -> None:
    parts = ("scores", "vectors", "floor", "assumption", "verdicts")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=200)
    parser.add_argument("--score-studies", type=int, default=2000, help="of the part `scores`")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--part", nargs="+", choices=parts, default=parts)
    options = parser.parse_args()
    start, good, said = time.perf_counter(), [], []
    for part in options.part:
        if part in ("scores", "vectors"):
            studies = options.score_studies if part == "scores" else options.studies
            said += calibrate(part, studies, options.seed)
        else:
            run = {"floor": floors, "assumption": assumption, "verdicts": judge}[part]
            good.append(run(options.studies, options.seed))
    kept = all(good) and "FAIL" not in said
    above = f"; {WITHIN}: {said.count(WITHIN)} of {len(said)} lines" if WITHIN in said else ""
    print(f"\n{'PASS' if kept else 'FAIL'}{above} ({time.perf_counter() - start:.0f} s)")
    sys.exit(not kept)


if __name__ == "__main__":
    main()
