"""The detector against others, on planted and generated copies of three cohorts.

Cohorts: the demo's phantoms, real hippocampus MR (left out where its folder is missing), and
individuals of one template body, far more alike than phantoms. Each is split by subject into
training, validation (the null), unseen (honest novel ones) and a set that is in no split and
teaches the generator of honest novel samples. Subjects for choosing settings are set aside for
good: only `--tuning` looks at them, and it looks at no others.

Settings: `registered` (lies where its source lies; blur and noise), `perturbed` (flips, rotation,
shift, zoom, blur, noise, gamma and bias field at once), `generated` (samples of a latent diffusion
model that has learnt training volumes by heart, against samples of one that has never met them;
for this setting validation and planted volumes go through the same decoder).

Class limits are learnt from both kinds planted, as a study learns them; `alone` is macro-F1 with
limits from the setting's own kinds, which is kinder to methods that no pose is made up for.
Undecided counts as wrong. Every number is of the unseen truth, every method sees the same volumes.

    python benchmarks/detection.py [--quick] [--seeds 0 1] [--cohorts phantoms bodies hippocampus]
    python benchmarks/detection.py --tuning [--quick]

A run trains embedders and generators; with --work FOLDER the next one takes those that are there.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np

from _cohorts import Batch, Sizes, Split, batches, likeness_of_strangers, split
from _scoring import (
    CLASSES,
    VERDICTS,
    area,
    confusion,
    f1_interval,
    false_discoveries,
    macro_f1,
    recall,
    tpr_at,
)

COHORTS = ("phantoms", "bodies", "hippocampus")
GENERATED = ("phantoms", "hippocampus")
"""Cohorts for which generators are trained, in the first seed."""

FULL = Sizes(training=60, validation=50, unseen=24, memorised=8, queries=20, planted=12)
QUICK = Sizes(training=30, validation=30, unseen=12, memorised=6, queries=10, planted=10)
TINY = Sizes(training=6, validation=3, unseen=2, memorised=3, queries=2, planted=1)
GOALS = {"macro-F1": 0.95, "recall@20": 0.99, "TPR at 5 % FPR": 0.99}
DATA = Path(__file__).parents[1] / ".." / "shared" / "data" / "msd_hippocampus"


@dataclass(frozen=True)
class Job:
    """One cohort and one seed."""

    cohort: str
    seed: int
    sizes: Sizes
    work: Path
    folder: Path
    embedders: bool
    generated: bool
    short: float = 1.0
    tuning: bool = False
    verified: int = 3

    @property
    def out(self) -> Path:
        """Where its models are kept: other sizes and subjects make other models."""
        s = self.sizes
        name = f"{self.cohort}-{self.seed}-{s.training}-{s.memorised}-{self.short:g}"
        return self.work / (name + ("-tuning" if self.tuning else ""))


@dataclass
class Result:
    """What all methods said in one job."""

    job: Job
    text: list[str]
    batches: list[Batch]
    answers: dict
    fits: dict
    tuning: list[str]


def run(job: Job) -> Result:
    """Make the queries of a job and ask every method."""
    import torch

    from _methods import fresh_peak, methods, peak_megabytes

    torch.set_num_threads(1)
    study = split(job.cohort, job.seed, job.sizes, job.folder, job.tuning)
    alike = likeness_of_strangers(study.training)
    text = [f"{job.cohort}, seed {job.seed}: {study}; mean correlation of strangers {alike:.2f}"]
    # The same cohort as it is, and as a generator would have made it, with what is asked of each.
    asked = [(study, batches(study, job.sizes))]
    if job.generated:
        made, decode = _generated(job, study, text)
        if len(set(made.truth)) == 2:
            asked.append((replace(study, decode=decode), [made]))
        else:
            text.append("  too few generated volumes are certain: that setting is left out")
    if job.tuning:
        from _tuning import explore

        return Result(job, text, [], {}, {}, [t for one in asked for t in explore(job, *one)])
    answers: dict = {}
    fits: dict = {}
    for name, method in methods(
        job.out, study, job.sizes.planted, job.embedders, job.short, job.verified
    ).items():
        answers[name] = {}
        for cohort, own in asked:
            fresh_peak()
            start = time.perf_counter()
            method.fit(cohort)
            seconds = time.perf_counter() - start
            for batch in own:
                answers[name][batch.name] = method.answer(batch)
                answers[name][batch.name].found = ()
            fits.setdefault(name, (seconds, peak_megabytes()))
    named = [replace(batch, volumes=[]) for _, own in asked for batch in own]
    return Result(job, text, named, answers, fits, [])


def _generated(job: Job, study: Split, text: list[str]) -> tuple[Batch, Callable]:
    from _generated import AUTOENCODER, DENOISER, generate

    # Half learnt, nothing is memorised: what is quick elsewhere cannot be that short here.
    share = min(1, 2 * job.short)

    def short(settings):
        return settings.model_copy(update={"steps": max(2, round(share * settings.steps))})

    start = time.perf_counter()
    made = generate(
        study, job.out, job.sizes.memorised, job.sizes.generated, short(AUTOENCODER),
        short(DENOISER),
    )  # fmt: skip
    text.append(f"  {made} ({time.perf_counter() - start:.0f} s)")
    n, m = len(made.near), len(made.novel)
    batch = Batch(
        "generated",
        [*made.near, *made.novel],
        ["near-duplicate"] * n + ["novel"] * m,
        ["generated"] * (n + m),
        [*made.sources, *[-1] * m],
    )
    return batch, made.decode


@dataclass(frozen=True)
class Line:
    """Numbers of one method, cohort and setting over all seeds."""

    table: np.ndarray
    f1: float
    by_seed: list[float]
    tpr: tuple[float, float]
    recall20: float
    text: str


HEAD = (
    f"{'':21}{'macro-F1 (95 %, by seed)':32}{'alone':>6}{'undec.':>7}  "
    f"{'TPR at 5 % FPR':16}{'AUC':20}"
    f"{'recall@1/5/20':17}{'FDP at q = 0.05':17}{'at q = 0.1':14}"
    f"{'s a query':>9}{'fit s':>7}{'MB':>6}\n"
    f"{'':66}  {'copy  copy+near':16}{'c/near near/nov c/nov':20}{'':17}{'(calls)'}"
)


def line(name: str, setting: str, results: list[Result]) -> Line:
    """Pool one method's answers to one setting over the seeds."""
    tables, tprs, areas, found, fdp, seconds = [], [], [], {1: [], 5: [], 20: []}, [], []
    own: list[np.ndarray] = []
    for result in results:
        batch = next(b for b in result.batches if b.name == setting)
        answer = result.answers[name][setting]
        truth, scores = np.array(batch.truth), answer.scores
        copyness = answer.copyness if len(answer.copyness) else scores
        tables.append(confusion(batch.truth, answer.verdicts))
        tprs.append((tpr_at(copyness, truth == "copy"), tpr_at(scores, truth != "novel")))
        areas.append([
            area(copyness, truth, "near-duplicate", "copy"),
            area(scores, truth, "novel", "near-duplicate"),
            area(copyness, truth, "novel", "copy"),
        ])  # fmt: skip
        for k, hits in found.items():
            hits.append(recall(answer.ranked, batch.sources, k))
        fdp.append([
            false_discoveries(scores, truth, answer.null, called, q, result.job.seed)
            for q, called in answer.called.items()
        ])  # fmt: skip
        seconds.append(answer.seconds)
        if answer.own is not None:
            own.append(confusion(batch.truth, answer.own))
    table = np.sum(tables, axis=0)
    classes = [i for i in range(3) if table[i].sum()]
    f1, by_seed = macro_f1(table, classes), [macro_f1(t, classes) for t in tables]
    low, high = f1_interval(table) if len(classes) == 3 else (float("nan"), float("nan"))
    tpr, three = np.mean(tprs, axis=0), np.mean(areas, axis=0)
    at = [float(np.concatenate(hits).mean()) for hits in found.values()]
    (fdp5, calls5), (fdp10, calls10) = np.mean(fdp, axis=0)
    fits = np.mean([r.fits[name] for r in results], axis=0)
    alone = f"{macro_f1(np.sum(own, axis=0), classes):.3f}" if own else ""
    seeds = " ".join(f"{one:.2f}" for one in by_seed)
    shown = f"{f1:.3f} ({low:.2f} to {high:.2f}; {seeds})"
    rates = f"{tpr[0]:.2f}  {tpr[1]:.2f}"
    curves = " ".join(f"{one:.3f}" for one in three)
    text = (
        f"{name:21}{shown:32}{alone:>6}{table[:, 3].sum():7}  {rates:16}{curves:20}"
        f"{'/'.join(f'{one:.2f}' for one in at):17}{f'{fdp5:.3f} ({calls5:.0f})':17}"
        f"{f'{fdp10:.3f} ({calls10:.0f})':14}{np.mean(seconds):9.3f}{fits[0]:7.0f}{fits[1]:6.0f}"
    )
    return Line(table, f1, by_seed, (float(tpr[0]), float(tpr[1])), at[2], text)


def report(cohort: str, results: list[Result]) -> dict[tuple[str, str], Line]:
    """Print the tables of a cohort; return the lines by method and setting."""
    lines: dict[tuple[str, str], Line] = {}
    for result in results:
        print("\n".join(result.text))
    for setting in ("registered", "perturbed", "generated"):
        asked = [r for r in results if any(b.name == setting for b in r.batches)]
        if not asked:
            continue
        names = list(dict.fromkeys(name for r in asked for name in r.answers))
        if setting == "generated":
            print(f"\n{cohort}, generated: {len(asked)} seeds")
            _print_generated(asked, names)
            continue
        print(f"\n{cohort}, {setting}: {len(asked)} seeds\n{HEAD}")
        for name in names:
            with_it = [r for r in asked if name in r.answers]
            lines[name, setting] = line(name, setting, with_it)
            note = "" if len(with_it) == len(asked) else f"  ({len(with_it)} of {len(asked)} seeds)"
            print(lines[name, setting].text + note)
        print(f"{'':21}" + "".join(f"{f'true {c}':28}" for c in CLASSES))
        print(f"{'':21}" + f"{'copy near novel undecided':28}" * 3)
        for name in names:
            rows = lines[name, setting].table
            cells = ["".join(f"{n:<6}" for n in row) for row in rows]
            print(f"{name:21}" + "".join(f"{cell:28}" for cell in cells))
    return lines


def _print_generated(results: list[Result], names: list[str]) -> None:
    print(
        "Samples that repeat a training volume, called copy or near-duplicate: at 5 % FPR on the\n"
        "novel samples; by the verdict. Novel samples called. AUC. Recall of the repeated volume.\n"
        "False ones among the called of the whole mixture at nominal q = 0.05 and 0.1."
    )
    print(
        f"{'':21}{'at 5 % FPR':12}{'verdicts':12}{'(as copy)':11}{'novel called':14}{'AUC':8}"
        f"{'recall@1/5/20':17}{'q = 0.05':11}{'q = 0.1':9}"
    )
    for name in names:
        for result in results:
            if name not in result.answers:
                continue
            batch = next(b for b in result.batches if b.name == "generated")
            answer, truth = result.answers[name]["generated"], np.array(batch.truth)
            near, verdicts = truth != "novel", np.array(answer.verdicts)
            said = np.isin(verdicts, CLASSES[:2])
            at = [recall(answer.ranked, batch.sources, k).mean() for k in (1, 5, 20)]
            false = [f"{c[~near].sum()} of {c.sum()}" for c in answer.called.values()]
            called = f"{said[near].sum()} of {near.sum()}"
            novel = f"{said[~near].sum()} of {(~near).sum()}"
            print(
                f"{name:21}{tpr_at(answer.scores, near):<12.2f}{called:12}"
                f"{f'({(verdicts[near] == CLASSES[0]).sum()})':11}{novel:14}"
                f"{area(answer.scores, truth, 'novel', 'near-duplicate'):<8.3f}"
                f"{'/'.join(f'{one:.2f}' for one in at):17}{false[0]:11}{false[1]:9}"
            )


def summary(by_cohort: dict[str, dict[tuple[str, str], Line]]) -> bool:
    """Print whether the project's chains reach their goals; return whether one reaches all."""
    print("\ngoals: " + ", ".join(f"{name} >= {least}" for name, least in GOALS.items()))
    print("(recall@20 of retrieval; TPR at 5 % FPR of copies against the rest, and of copies and")
    print("near-duplicates against novel ones: the smaller)")
    good: dict[str, bool] = {}
    for cohort, lines in by_cohort.items():
        for (name, setting), one in lines.items():
            if not name.startswith("memscan") or setting == "generated":
                continue
            values = [one.f1, one.recall20, min(one.tpr)]
            kept = [v >= least for v, least in zip(values, GOALS.values(), strict=True)]
            good[name] = good.get(name, True) and all(kept)
            shown = "  ".join(
                f"{goal} {v:.3f} {'PASS' if k else 'FAIL'}"
                for goal, v, k in zip(GOALS, values, kept, strict=True)
            )
            print(f"{name:21}{cohort:13}{setting:12}{shown}")
    for name, all_of_it in good.items():
        print(f"{name:21}{'PASS' if all_of_it else 'FAIL'}")
    return any(good.values())


def jobs(options: argparse.Namespace, work: Path) -> list[Job]:
    """Return what is to be done, the longest first."""
    sizes = TINY if options.tiny else QUICK if options.quick else FULL
    short = 0.005 if options.tiny else 0.4 if options.quick else 1.0
    made = []
    for number, seed in enumerate(options.seeds):
        for cohort in options.cohorts:
            if cohort == "hippocampus" and not options.hippocampus.is_dir():
                if number == 0:
                    print(f"hippocampus is left out: {options.hippocampus} is no folder")
                continue
            first = number == 0
            made.append(
                Job(
                    cohort,
                    seed,
                    sizes,
                    work,
                    options.hippocampus,
                    embedders=first and not (options.no_embedders or options.tuning),
                    generated=first and cohort in GENERATED and not options.no_generated,
                    short=short,
                    tuning=options.tuning,
                    verified=options.verified or (8 if options.tuning else 3),
                )
            )
    return sorted(made, key=lambda job: (-job.generated, -job.embedders, job.seed))


def results_of(todo: list[Job], processes: int) -> list[Result]:
    """Run the jobs, several at once."""
    if processes <= 1:
        return [run(job) for job in todo]
    # Set before the children start: each computes on one core, and rounds as any other does.
    os.environ["OMP_NUM_THREADS"] = "1"
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        return list(pool.map(run, todo))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small cohorts, short training")
    parser.add_argument("--tiny", action="store_true", help="only to see that it runs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--cohorts", nargs="+", choices=COHORTS, default=list(COHORTS))
    parser.add_argument("--hippocampus", type=Path, default=DATA)
    parser.add_argument("--work", type=Path, help="keep trained models here")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--no-embedders", action="store_true", help="memscan without one only")
    parser.add_argument("--no-generated", action="store_true")
    parser.add_argument("--tuning", action="store_true", help="settings, on subjects set aside")
    parser.add_argument("--verified", type=int, help="candidates; default 3, with --tuning 8")
    options = parser.parse_args(arguments)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        todo = jobs(options, options.work or Path(name))
        results = results_of(todo, options.processes)
    if options.tuning:
        for result in results:
            print("\n".join([*result.text, *result.tuning]))
        return 0
    by_cohort = {}
    for cohort in options.cohorts:
        own = sorted((r for r in results if r.job.cohort == cohort), key=lambda r: r.job.seed)
        if own:
            print(f"\n=== {cohort}")
            by_cohort[cohort] = report(cohort, own)
    good = summary(by_cohort)
    columns = ", ".join(VERDICTS)
    print(f"\nverdicts: {columns}. MB: peak of the process while one method is fitted and asked,")
    print(f"VmHWM. Seeds {options.seeds}; {time.perf_counter() - start:.0f} s in all")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
