"""How long volumes made elsewhere take to be registered, beside one table written per volume.

    python benchmarks/registering.py --n 10000

Makes that many small NIfTI files, registers them as a study does, and prints the processor seconds
and the ratio to the former way: each volume read whole, and the whole table read, sorted and
written with pandas for each row. That way is timed at a few table sizes and summed up.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import astuple, fields
from pathlib import Path

import numpy as np
import pandas as pd

from napari_memscan.config import GeneratorConfig, StudyConfig
from napari_memscan.files import write_text
from napari_memscan.jobs.sampling.generate import list_external_volumes, register_volumes
from napari_memscan.samples import SampleRow
from napari_memscan.study import Study
from napari_memscan.volumes.cohort import Cohort, CohortRow
from napari_memscan.volumes.reader import read_volume, write_nifti
from napari_memscan.volumes.volume import Volume

MEASURED = 8
"""Table sizes at which the former way is timed."""


def add_in_the_former_way(path: Path, row: SampleRow) -> None:
    """Read, sort and write the whole table for one row."""
    names = [field.name for field in fields(SampleRow)]
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    rows = [SampleRow(**dict(zip(table.columns, v, strict=True))) for v in table.to_numpy()]
    rows = sorted([*rows, row], key=lambda r: (len(r.sample), r.sample))
    made = pd.DataFrame([astuple(row) for row in rows], columns=names)
    write_text(path, made.to_csv(index=False, lineterminator="\n"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=10_000)
    n = parser.parse_args().n
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        random = np.random.default_rng(0)
        for i in range(3):
            np.save(root / f"{i}.npy", random.random((4, 4, 4)))
        rows = [CohortRow(str(root / f"{i}.npy"), "training", str(i)) for i in (0, 1)]
        rows.append(CohortRow(str(root / "2.npy"), "validation", "2"))
        data = random.random((32, 32, 32), np.float32)
        (root / "made").mkdir()
        write_nifti(Volume(data, (1.0, 1.0, 1.0)), root / "made" / "0.nii.gz")
        content = (root / "made" / "0.nii.gz").read_bytes()
        for i in range(1, n):
            (root / "made" / f"{i}.nii.gz").write_bytes(content)
        config = StudyConfig(
            name="registering",
            preprocessing={"shape": (16, 16, 16), "intensity": {"rule": "minmax"}},
            generator=GeneratorConfig(kind="folder", path=str(root / "made")),
        )
        study = Study.create(root / "study", config, Cohort.from_rows(rows))

        started = time.process_time()
        files = list_external_volumes(study)
        listed = time.process_time() - started
        told = list(register_volumes(study, files))
        taken = time.process_time() - started
        assert len(told) == len(study.samples()) == n

        former = 0.0
        every = study.samples()
        for size in np.linspace(n / MEASURED / 2, n - n / MEASURED / 2, MEASURED).astype(int):
            names = ",".join(field.name for field in fields(SampleRow))
            text = "".join(",".join(astuple(row)) + "\n" for row in every[:size])
            write_text(root / "former.csv", f"{names}\n{text}")
            started = time.process_time()
            read_volume(files[size])
            add_in_the_former_way(root / "former.csv", every[size])
            former += (time.process_time() - started) * n / MEASURED
    print(
        f"{n} volumes registered in {taken:.1f} processor seconds,"
        f" of which {listed:.1f} s to list them"
    )
    print(f"one table a volume would take {former:.0f} s: {former / taken:.0f} times as long")


if __name__ == "__main__":
    main()
