"""A study: one audit in one folder. Ties cohort, generator, embedder and detection together."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from napari_memscan.config import GeneratorConfig, RuleConfig, StudyConfig
from napari_memscan.embedders import LOW_RESOLUTION
from napari_memscan.errors import BadInput, Hint, HintKind, JobFailed, describe_validation_error
from napari_memscan.files import hash_json, make_absolute, make_portable
from napari_memscan.samples import SampleRow, add_sample_rows, read_samples
from napari_memscan.study_file import STUDY_FILE, lock_study, read_study_file, write_study_file
from napari_memscan.typing import Split
from napari_memscan.volumes.volume import compute_content_key

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_memscan.detection.results.scan_result import ScanResult
    from napari_memscan.embedders.interface import Embedder
    from napari_memscan.generators.ldm import LDMGenerator
    from napari_memscan.review.queue import ReviewQueue
    from napari_memscan.review.store import DecisionStore
    from napari_memscan.volumes.cache import ArrayCache
    from napari_memscan.volumes.cohort import Cohort
    from napari_memscan.volumes.volume import Volume

__all__ = ["GeneratorConfig", "RuleConfig", "SampleRow", "Study", "StudyConfig"]


class Study:
    """One audit: a folder with ``study.toml`` and everything the audit makes.

    Use `Study.create` or `Study.open`.

    Attributes
    ----------
    folder : Path
        Absolute.
    config : StudyConfig
        What ``study.toml`` says.
    cohort : Cohort
        Training, validation and unseen volumes; checked.
    """

    def __init__(
        self, folder: Path, config: StudyConfig, cohort: Cohort, cache_dir: Path | None = None
    ) -> None:
        self.folder, self.config, self.cohort = folder, config, cohort
        self.cache_dir = folder / "cache" if cache_dir is None else cache_dir
        self.synthetic_dir = folder / "synthetic"
        self.samples_path = self.synthetic_dir / "samples.csv"
        self.scan_dir = folder / "scan"
        self.report_dir = folder / "report"
        self.cohort_path = folder / "cohort.csv"
        self._rows: tuple[tuple[int, int, int], list[SampleRow]] | None = None
        self._folders: dict[Path, Path] = {}
        self._places: tuple[object, Cohort, dict[str, Path]] | None = None

    @classmethod
    def create(
        cls,
        folder: str | Path,
        config: StudyConfig,
        cohort: Cohort,
        *,
        cache_dir: Path | None = None,
    ) -> Study:
        """Write a new study and return it; `cache_dir` as in `open`.

        Raises
        ------
        BadInput
            The cohort does not do, or the folder holds a study already.
        JobFailed
            The folder cannot be written.
        """
        folder = Path(folder).resolve()
        if (folder / STUDY_FILE).exists():
            raise BadInput(f"{folder}: holds a study already. Open it, or choose another folder.")
        cohort.check()
        # As they are read back: a folder that is reached by a link is another path there.
        places = [
            str(make_absolute(folder / make_portable(p, folder))) for p in cohort.table["path"]
        ]
        cohort = replace(cohort, table=cohort.table.assign(path=places))
        # A table of volumes has no place for them, and they belong in the report.
        config = config.model_copy(update={"warnings": tuple(cohort.warnings)})
        study = cls(folder, config, cohort, cache_dir)
        cohort.save(study.cohort_path)
        write_study_file(folder, config)
        cohort.warnings.extend(config.model_warnings)
        return study

    @classmethod
    def open(cls, folder: str | Path, *, cache_dir: Path | None = None) -> Study:
        """Open a study by its folder or its ``study.toml``.

        Parameters
        ----------
        folder : path
        cache_dir : path, optional
            Of another study over the same volumes, whose cache this one shares; by default its own.

        Raises
        ------
        BadInput
            No study there, a newer format, a setting or cohort that does not do.
        """
        from napari_memscan.volumes.cohort import Cohort
        from napari_memscan.volumes.importers import load_cohort

        folder = Path(folder)
        path = (folder if folder.name == STUDY_FILE else folder / STUDY_FILE).resolve()
        config = read_study_file(path)
        study = cls(path.parent, config, Cohort.from_rows([]), cache_dir)
        # To hash every patient's volume anew takes as long as reading them all.
        samples = {row.sample for row in study.samples()}
        cohort = study.cohort = load_cohort(study.cohort_path, study.sha256, taken=samples)
        both = [row.name for row in cohort.rows() if row.split != Split.SYNTHETIC]
        if both := [name for name in both if name in samples]:
            raise BadInput(
                f"{study.cohort_path}: {both[0]} is the name of a sample, too. Give this volume "
                "another one in the column 'name'."
            )
        cohort.warnings.extend([*config.warnings, *config.model_warnings])
        # One volume that is gone must not keep anybody from reading the others.
        cohort.check(missing_ok=True)
        return study

    def update(self, **changes: Any) -> None:
        """Change fields of the configuration and write ``study.toml``.

        Raises
        ------
        BadInput
            A value does not fit; nothing is written.
        """
        try:
            config = StudyConfig.model_validate(self.config.model_dump() | changes)
        except ValidationError as error:
            raise BadInput(f"study.toml: {describe_validation_error(error)}.") from error
        write_study_file(self.folder, config)
        self.config = config
        self.__dict__.pop("_embedder", None)

    def lock(self, what: str) -> AbstractContextManager[None]:
        """Hold the study for one job; another process or window that tries gets a message."""
        return lock_study(self.folder, what)

    # What the audit uses

    def resolve(self, path: str) -> Path:
        """Return a path of ``study.toml`` as an absolute one: it starts at the study's folder."""
        return make_absolute(self.folder / path)

    def _model(self, path: str) -> str:
        """Return where a model lies; a plug-in may be named as package.module:function."""
        from napari_memscan.checkpoints.trusted.trust_check import resolve_model_path

        return resolve_model_path(path, self.folder)

    def absolute_config(self) -> StudyConfig:
        """Return the settings with models by paths that hold from everywhere."""
        config, changes = self.config, dict[str, Any]()
        if config.embedder != LOW_RESOLUTION:
            changes["embedder"] = self._model(config.embedder)
        if config.generator is not None:
            path = self._model(config.generator.path)
            changes["generator"] = config.generator.model_copy(update={"path": path})
        return config.model_copy(update=changes)

    def require_generator(self) -> GeneratorConfig:
        """Return what yields synthetic volumes; BadInput where nothing does."""
        if self.config.generator is None:
            raise BadInput(
                f"{self.folder / 'study.toml'}: no [generator]. Choose an LDM checkpoint, or a "
                "folder of synthetic volumes."
            )
        return self.config.generator

    def generator(self) -> LDMGenerator:
        """Load the generator; BadInput where none can draw volumes, or it does not load."""
        config = self.require_generator()
        if config.external:
            raise BadInput(
                f"{self.folder}: its synthetic volumes were made elsewhere, so nothing can be "
                "drawn here. Choose an LDM checkpoint as the study's generator."
            )
        from napari_memscan.generators.ldm import LDMGenerator

        return LDMGenerator(self._model(config.path), declared=config.declared, trust=config.trust)

    @cached_property
    def _embedder(self) -> Embedder:
        from napari_memscan.embedders.loading import load_embedder

        spec = self.config.embedder
        embedder = load_embedder(
            spec if spec == LOW_RESOLUTION else self._model(spec),
            declared=self.config.embedder_declared,
            trust=self.config.embedder_trust,
        )
        embedder.adapt_to(self.config.preprocessing)
        shape = self.config.preprocessing.shape
        if embedder.input_shape is not None and embedder.input_shape != shape:
            raise BadInput(
                f"{spec}: this embedder takes volumes of {embedder.input_shape}, the study makes "
                f"{shape}. Set preprocessing.shape in study.toml, or use another embedder."
            )
        return embedder

    def embedder(self) -> Embedder:
        """Load the embedder; BadInput where it does not fit the study's shape."""
        return self._embedder

    @cached_property
    def cache(self) -> ArrayCache:
        """Preprocessed volumes and vectors."""
        from napari_memscan.volumes.cache import ArrayCache

        return ArrayCache(self.cache_dir)

    @cached_property
    def _cohort_rows(self) -> dict[str, Any]:
        return {row.path: row for row in self.cohort.rows()}

    def volume(self, path: str | Path) -> Volume:
        """Read one volume of the study, real or synthetic."""
        from napari_memscan.volumes.reader import read_volume

        row = self._cohort_rows.get(str(path))
        return row.read() if row is not None else read_volume(path)

    def sha256(self, path: str | Path) -> str:
        """Return the SHA-256 of a file of the study, remembered while size and time stay.

        Raises
        ------
        BadInput
            The file is missing.
        """
        from napari_memscan.volumes.cohort_rows import hash_content

        path = Path(path)
        if path.is_dir():
            return hash_content(path)
        try:
            stat = path.stat()
        except FileNotFoundError as error:
            raise BadInput(f"{path}: missing. Restore this file.") from error
        place = make_portable(path, self.folder)  # A study that was moved still knows it.
        key = hash_json(["sha256", place, stat.st_size, stat.st_mtime_ns])
        try:
            return self.cache.get_text(key, lambda: hash_content(path))
        except (OSError, JobFailed):  # a study that can only be read is hashed each time
            return hash_content(path)

    def array(self, path: str | Path) -> NDArray[np.float32]:
        """Return a volume preprocessed, (X, Y, Z) in [0, 1], from the cache where it is there."""
        if not Path(path).exists():
            raise BadInput(f"{path}: missing. Restore this file; the others can still be read.")
        recipe = self.config.preprocessing
        try:
            return self.cache.get(self.array_key(path), lambda: recipe.apply(self.volume(path)))
        except JobFailed:  # a full disk must not end the reading of what is on it
            return recipe.apply(self.volume(path))

    def content_key(self, path: str | Path) -> str:
        """Return what stands for a volume as it is read: in every key of what is made of it."""
        row = self._cohort_rows.get(str(path))
        declared = (row.axes, row.spacing) if row is not None else ()
        return compute_content_key(self.sha256(path), *declared)

    def array_of(self, name: str) -> NDArray[np.float32]:
        """Return `array` of the volume that results call by this name; see `path_of`."""
        return self.array(self.path_of(name))

    def array_key(self, path: str | Path) -> str:
        """Return the cache key of a preprocessed volume: what is read and what it went through."""
        return self.config.preprocessing.key(self.content_key(path))

    # What the audit has made

    def samples(self) -> list[SampleRow]:
        """Return all synthetic volumes made or registered so far, in order."""
        try:
            stat = self.samples_path.stat()
        except FileNotFoundError:
            return []
        # Thousands of rows are asked for by every part of a window; what changes shows in these.
        now = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
        if self._rows is None or self._rows[0] != now:
            self._rows = now, read_samples(self.samples_path)
        return list(self._rows[1])

    def add_samples(self, rows: Sequence[SampleRow]) -> None:
        """Put rows into the table of samples, all or none; kept sorted by name."""
        add_sample_rows(self.samples_path, rows)

    def sample_path(self, row: SampleRow) -> Path:
        """Return the absolute path of a sample's file."""
        path = self.synthetic_dir / row.path
        # Folders are looked at once: there are few of them and thousands of volumes.
        folder = self._folders.get(path.parent)
        if folder is None:
            folder = self._folders[path.parent] = make_absolute(path.parent)
        return folder / path.name

    def keep_path(self, path: str | Path) -> str:
        """Return the path of a sample's file as the table of samples keeps it."""
        return make_portable(path, self.folder, self.synthetic_dir)

    def path_of(self, name: str) -> Path:
        """Return where the volume lies that results call by this name: a sample, or a cohort's row.

        Raises
        ------
        BadInput
            No volume of the study has this name.
        """
        rows = self.samples()
        known = self._places
        if known is None or known[0] is not self._rows or known[1] is not self.cohort:
            places = {row.name: Path(row.path) for row in self.cohort.rows()}
            places |= {row.sample: self.sample_path(row) for row in rows}
            known = self._places = self._rows, self.cohort, places
        try:
            return known[2][name]
        except KeyError:
            raise BadInput(
                f"{name}: no volume of {self.folder} has this name any more. Restore its row of "
                "cohort.csv or synthetic/samples.csv.",
                Hint(HintKind.SCAN, str(self.folder)),
            ) from None

    def hashes(self, row: SampleRow) -> dict[str, str]:
        """Return hashes of a sample's file, and of the model and recipe that made it.

        A file that is gone has no hash: a decision on what was seen is recorded all the same.
        """
        path = self.sample_path(row)
        return {
            "sample_sha256": self.sha256(path) if path.exists() else "",
            "checkpoint_hash": row.checkpoint_hash,
            "recipe_hash": row.recipe_hash,
        }

    def lineage(self) -> dict[str, str]:
        """Return sample to parent, for samples that replace another."""
        return {row.sample: row.parent for row in self.samples() if row.parent}

    def result(self) -> ScanResult | None:
        """Return the last scan; None before the first."""
        from napari_memscan.detection.results.scan_result import ScanResult

        if not (self.scan_dir / "summary.json").exists():
            return None
        result = ScanResult.load(self.scan_dir)
        known = {row.sample for row in self.samples()}
        if unknown := [sample.name for sample in result.samples if sample.name not in known]:
            raise BadInput(
                f"{self.samples_path}: {len(unknown)} samples of the last scan are not in this "
                f"table, the first is {unknown[0]}. Restore it.",
                Hint(HintKind.SCAN, str(self.folder)),
            )
        return result

    def store(self, read_only: bool = False) -> DecisionStore:
        """Open the store of decisions: what ``[review]`` names, else a file in the folder."""
        from napari_memscan.review.store import DecisionStore

        where = self.config.review.store
        if "://" not in where and "${" not in where:
            where = str(self.resolve(where))
        return DecisionStore(where, study=self.config.name, read_only=read_only)

    def queue(self, store: DecisionStore, reader: str = "") -> ReviewQueue:
        """Return the queue of the last scan with the decisions of `store`.

        Parameters
        ----------
        store : DecisionStore
            Read once.
        reader : str
            Who reads: the queue then knows this one's decisions.

        Raises
        ------
        BadInput
            There is no scan yet.
        """
        from napari_memscan.review.queue import ReviewQueue

        result = self.result()
        if result is None:
            raise BadInput(f"{self.folder}: not scanned yet. Generate volumes and scan first.")
        standing = store.standing()
        return ReviewQueue(
            result,
            self.lineage(),
            standing.current(),
            standing.by_reader(),
            reader=reader,
            each=self.config.review.readers == "each",
        )
