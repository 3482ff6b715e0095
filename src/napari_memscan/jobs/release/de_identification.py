"""What a release says of a study: its page and its manifest, without names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_memscan.jobs.release.eligibility import ReleaseAssessment, explain_missing_power
from napari_memscan.study import Study
from napari_memscan.typing import Split

if TYPE_CHECKING:
    from napari_memscan.report.manifest import ReleaseSelection
    from napari_memscan.report.scrubbing import Scrubber


class ReleaseDocuments:
    """Says what a study knows of a release, and names neither patients nor files of theirs.

    Parameters
    ----------
    study : Study
    found : ReleaseAssessment
        Its samples, judged.
    files : mapping of str to str
        Sample to its file in the release, in order.
    named : bool
        Readers by name, and times of their decisions; else R1, R2 ... and no times.

    Attributes
    ----------
    scrub : Scrubber
        Takes training volumes, patients and (unless `named`) readers out of texts.
    title : str
        Of the study.
    made : str
        What made the volumes, in words.
    called : dict of str to str
        Sample to what it is called outside.
    """

    def __init__(
        self, study: Study, found: ReleaseAssessment, files: Mapping[str, str], named: bool
    ) -> None:
        self.study, self.found, self.files, self.named = study, found, files, named
        self.scrub = _build_scrubber(study, found, named)
        self.title = self.scrub.text(study.config.name)
        # The name of a file that was made elsewhere may be a patient's.
        self.called = {
            sample: sample if row.seed else f"elsewhere-{i:06d}"
            for i, (sample, row) in enumerate(found.rows.items())
        }
        self.made = _describe_origin(found)

    def report(self, folder: Path) -> None:
        """Write the page without pictures: its pairs would show patients."""
        from napari_memscan.jobs.release.report import collect_supplement, describe_provenance
        from napari_memscan.report.de_identification import (
            deidentify_decision,
            deidentify_scan,
            deidentify_supplementary,
        )
        from napari_memscan.report.page import write_report
        from napari_memscan.review.current_decisions import CurrentDecisions
        from napari_memscan.review.export import replace_reader_names

        found, outside = self.found, self._outside()
        decisions = {
            outside[sample]: deidentify_decision(d, found.reader(d.reader, self.named), self.named)
            for sample, d in found.current.items()
        }
        names = {} if self.named else found.pseudonyms
        standing = CurrentDecisions(replace_reader_names(found.standing.events, names))
        beside = collect_supplement(self.study, found.result, standing)
        methods = describe_provenance(
            self.study, list(found.rows.values()), found.events, found.head
        )
        write_report(
            folder,
            deidentify_scan(found.result, outside, self.scrub),
            title=self.title,
            decisions=decisions,
            attached=deidentify_supplementary(beside, outside, self.scrub, self.named),
            outside=True,
            provenance=self.scrub.value(methods)
            | {
                "left out of this page": "pictures and names of training volumes, the "
                "study's settings and files, and what readers noted"
            },
        )

    def _outside(self) -> dict[str, str]:
        """Return what each sample is called on the page: its file, or why it has none."""
        names = {}
        for sample, called in self.called.items():
            if sample in self.files:
                names[sample] = Path(self.files[sample]).name.removesuffix(".nii.gz")
            else:
                why = "rejected" if sample in self.found.rejected else "not wanted"
                names[sample] = f"{called} ({why})"
        return names

    def manifest(
        self, hashes: Mapping[str, str], selection: ReleaseSelection, *, license: str, layout: str
    ) -> dict[str, Any]:
        """Return the manifest as JSON-ready values.

        Parameters
        ----------
        hashes : mapping of str to str
            File in the release to its SHA-256.
        selection : ReleaseSelection
            What became of all samples.
        license, layout : str
            As they were applied.
        """
        from napari_memscan.report.de_identification import deidentify_scan, deidentify_selftest
        from napari_memscan.report.manifest import (
            build_manifest,
            build_manifest_entry,
            summarise_decisions,
        )

        study, found, scrub = self.study, self.found, self.scrub
        result = deidentify_scan(found.result, self.called, scrub)
        judged = {sample.name: sample for sample in result.samples}
        volumes = []
        for sample, file in self.files.items():
            said = {found.reader(reader, self.named): d for reader, d in found.said(sample).items()}
            decisions = summarise_decisions(said, self.named)
            why = found.passed[sample]
            made = self._made_with(sample)
            volumes.append(
                build_manifest_entry(
                    file, hashes[file], made, judged[self.called[sample]], decisions, why
                )
            )
        return build_manifest(
            title=self.title,
            license=license,
            layout=layout,
            policy=found.policy,
            stated_rule=study.config.release.rule,
            selection=selection,
            result=result,
            no_power=scrub.text(explain_missing_power(found.result, found.selftest)),
            selftest=deidentify_selftest(found.selftest, scrub),
            n_subjects=len({row.subject_id for row in study.cohort.rows(Split.TRAINING)} - {""}),
            decisions={
                "events": found.events,
                "head": found.head,
                "readers": len(found.by_reader),
                "store": study.config.review.readers,
            },
            volumes=volumes,
        )

    def _made_with(self, sample: str) -> dict[str, str]:
        row = self.found.rows[sample]
        return {
            "sample": self.called[sample],
            "source_sha256": self.study.sha256(self.study.sample_path(row)),
            "replaces": self.called.get(row.parent, row.parent),
            "seed": row.seed,
            "recipe_hash": row.recipe_hash,
            "checkpoint_hash": row.checkpoint_hash,
            "sampler": row.sampler,
            "steps": row.steps,
            "settings": self.scrub.text(row.settings),
        } | ({"condition": self.scrub.text(row.condition)} if row.condition else {})


def _describe_origin(found: ReleaseAssessment) -> str:
    """Say in words what made the volumes."""
    rows = found.rows.values()
    models = sorted({row.checkpoint_hash for row in rows} - {""})
    if not models:
        return "Made elsewhere, by a generator that the study does not know."
    samplers = ", ".join(sorted({f"{r.sampler} with {r.steps} steps" for r in rows if r.seed}))
    return (
        f"Drawn from a latent diffusion model (checkpoint {', '.join(models)}) by {samplers}; the "
        "seed of each is in the manifest."
    )


def _build_scrubber(study: Study, found: ReleaseAssessment, named: bool) -> Scrubber:
    """Return what takes training volumes, patients and (unless `names`) readers out of texts."""
    from napari_memscan.report.scrubbing import Scrubber

    rows = study.cohort.rows()
    words = {word for row in rows for word in (row.subject_id, row.session_id)}
    paths = [place for row in rows for place in (row.path, row.name)]
    paths += [str(study.sample_path(r)) for r in found.rows.values()]
    return Scrubber(words | (set() if named else set(found.pseudonyms)), paths)
