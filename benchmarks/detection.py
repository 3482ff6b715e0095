"""The detector against others, on planted and generated copies of three cohorts.

Cohorts: the demo's phantoms, real hippocampus MR (left out where its folder is missing), and
individuals of one template body, far more alike than phantoms. Each is split by subject into
training, validation (the null), unseen (honest novel ones) and a set that is in no split and
teaches the generator of honest novel samples. Subjects for choosing settings are set aside for
good: only `--tuning` looks at them, and it looks at no others.

Settings: `registered` (lies where its source lies; blur and noise), `perturbed` (flips, rotation,
shift, zoom, blur, noise, gamma and bias field at once), `generated` (samples of a latent diffusion
model that has learnt training volumes by heart, against samples of one that has never met them;
for this setting validation and planted volumes go through the same decoder), and `other`
near-duplicates: of kinds that no limit is learnt from and no setting was chosen on.

Class limits are learnt from both kinds planted, as a study learns them; `alone` is macro-F1 with
limits from the setting's own kinds, which is kinder to methods that no pose is made up for.
Undecided counts as wrong. Every number is of the unseen truth, every method sees the same volumes.
It ends with 0 where one chain, `--chain`, reaches all goals in all cohorts and seeds.

    python benchmarks/detection.py [--quick] [--seeds 0 1] [--cohorts phantoms bodies hippocampus]
        [--embedders none|first|all] [--generated none|first|all] [--chain NAME]
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

from _cohorts import Batch, Sizes, Split, compute_unrelated_correlation, plant_batches, split
from _methods import DEFAULT, make_methods, peak_megabytes, reset_peak
from _others import plant_others
from _report import UNLIKE, print_summary, print_tables
from _scoring import VERDICTS

COHORTS = ("phantoms", "bodies", "hippocampus")
SEEDS = ("none", "first", "all")
"""For which of them something is trained."""

FULL = Sizes(training=60, validation=50, unseen=24, memorised=8, queries=20, planted=12)
QUICK = Sizes(training=30, validation=30, unseen=12, memorised=6, queries=10, planted=10)
TINY = Sizes(training=6, validation=3, unseen=2, memorised=3, queries=2, planted=1)
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

    torch.set_num_threads(1)
    study = split(job.cohort, job.seed, job.sizes, job.folder, job.tuning)
    alike = compute_unrelated_correlation(study.training)
    text = [f"{job.cohort}, seed {job.seed}: {study}; mean correlation of strangers {alike:.2f}"]
    # The same cohort as it is, and as a generator would have made it, with what is asked of each.
    planted = plant_batches(study, job.sizes)
    if not job.tuning:
        planted.append(plant_others(study, job.sizes.queries, planted))
    asked = [(study, planted)]
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
    for name, method in make_methods(
        job.out, study, job.sizes.planted, job.embedders, job.short, job.verified
    ).items():
        answers[name] = {}
        for cohort, own in asked:
            reset_peak()
            start = time.perf_counter()
            method.fit(cohort)
            seconds = time.perf_counter() - start
            for batch in own:
                answers[name][batch.name] = method.answer(batch)
                answers[name][batch.name].found = ()
            fits.setdefault(name, (seconds, peak_megabytes()))
        print(f"{job.cohort}, seed {job.seed}: {name} has answered", file=sys.stderr, flush=True)
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
        study,
        job.out,
        job.sizes.memorised,
        job.sizes.generated,
        short(AUTOENCODER),
        short(DENOISER),
    )
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
            seeds = {"none": False, "first": number == 0, "all": True}
            made.append(
                Job(
                    cohort,
                    seed,
                    sizes,
                    work,
                    options.hippocampus,
                    embedders=seeds[options.embedders] and not options.tuning,
                    generated=seeds[options.generated],
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
    parser.add_argument(
        "--embedders", choices=SEEDS, default="all", help="seeds that embedders are trained for"
    )
    parser.add_argument(
        "--generated", choices=SEEDS, default="all", help="seeds that generators are trained for"
    )
    parser.add_argument("--chain", default=DEFAULT, help="the one that must reach the goals")
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
    print(UNLIKE)
    by_cohort = {}
    for cohort in options.cohorts:
        own = sorted((r for r in results if r.job.cohort == cohort), key=lambda r: r.job.seed)
        if own:
            print(f"\n=== {cohort}")
            by_cohort[cohort] = print_tables(cohort, own)
    n_generated = {"none": 0, "first": 1, "all": len(options.seeds)}[options.generated]
    good = print_summary(by_cohort, options.chain, len(options.seeds), n_generated)
    columns = ", ".join(VERDICTS)
    print(f"\nverdicts: {columns}. MB: peak of the process while one method is fitted and asked,")
    print(f"VmHWM. Seeds {options.seeds}; {time.perf_counter() - start:.0f} s in all")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
