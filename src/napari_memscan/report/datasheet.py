"""``datasheet.md``: the questions of Gebru et al. (2018), answered where the study knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

UNANSWERED = "*To be filled in by the publisher.*"

PUBLISHER_QUESTIONS = {
    "purpose": "For what purpose was the dataset created?",
    "creators": "Who created it, and on behalf of whom?",
    "funding": "Who funded it?",
    "people": "What is known of the people in the training data?",
    "model": "What was the model trained on, and how?",
    "period": "Over what time was the training data collected?",
    "ethics": "Was there an ethical review of the use of the training data?",
    "consent": "Did the people in the training data consent to it?",
    "uses": "Has it been used already? What could it be used for?",
    "distribution": "How will it be distributed, and when?",
    "maintainer": "Who maintains it, and how can they be reached?",
    "updates": "Will it be updated, and what becomes of older versions?",
    "contact": "Where are errors, or people recognised in it, to be reported?",
}
"""What only the publisher knows: answered in ``study.toml``, since a file that is changed after
the release no longer fits its hash."""

AnsweredQuestions = Sequence[tuple[str, str]]


def compose_datasheet(
    manifest: Mapping[str, Any],
    generator: str,
    shapes: Sequence[str],
    answers: Mapping[str, str] | None = None,
) -> str:
    """Return the datasheet of a release as Markdown.

    Parameters
    ----------
    manifest : mapping
        Of the release.
    generator : str
        What made the volumes, in words.
    shapes : sequence of str
        Which shapes and voxel sizes occur, and how often.
    answers : mapping, optional
        Of the publisher, by the names in `PUBLISHER_QUESTIONS`; Markdown.

    Returns
    -------
    str
        What the study does not know stands there as open.
    """
    parts = [
        f"# Datasheet: {_escape_markdown(manifest['title'])}",
        "After Gebru et al., *Datasheets for Datasets* (2018, arXiv 1803.09010). Written by "
        f"napari-memscan {manifest['memscan']} from what the study knows.",
    ]
    given = answers or {}

    def asked(*names: str) -> AnsweredQuestions:
        return [
            (PUBLISHER_QUESTIONS[name], given.get(name, "").strip() or UNANSWERED) for name in names
        ]

    for heading, questions in (
        ("Motivation", asked("purpose", "creators", "funding")),
        ("Composition", [*_answer_composition(manifest, shapes), *asked("people")]),
        (
            "Collection process",
            [
                ("How was the data acquired?", generator),
                *asked("model", "period", "ethics", "consent"),
            ],
        ),
        ("Preprocessing, cleaning, labelling", _answer_cleaning(manifest)),
        ("Uses", [*asked("uses"), *_answer_uses()]),
        ("Distribution", [*asked("distribution"), *_answer_distribution(manifest)]),
        ("Maintenance", asked("maintainer", "updates", "contact")),
    ):
        parts.append(f"## {heading}")
        parts += [f"**{question}** {text}" for question, text in questions]
    return "\n\n".join(parts) + "\n"


def _answer_composition(manifest: Mapping[str, Any], shapes: Sequence[str]) -> AnsweredQuestions:
    selection, scan = manifest["selection"], manifest["scan"]
    return (
        (
            "What do the instances represent?",
            "Synthetic 3D volumes, drawn from a generative model. None is a recording of a person.",
        ),
        ("How many are there?", f"{selection['released']}: {'; '.join(shapes)}."),
        (
            "Is it a sample from a larger set?",
            (
                f"Yes, and not a random one. {selection['generated']} volumes were made;"
                f" {sum(selection['rejected'].values())} were rejected"
                f" ({_format_reasons(selection)}) and {selection['left_out']} passed but were not"
                " wanted. Rejecting volumes that are near to a training volume thins out what the"
                " training data have most of."
            ),
        ),
        (
            "What data does each consist of?",
            "One NIfTI file with voxels and voxel size; no text, date or name in its header."
            + (
                " The same as a DICOM series without dates and persons, with whole numbers for "
                "voxels."
                if "DICOM" in manifest["layout"]
                else ""
            ),
        ),
        ("Is there a label or target?", "No."),
        ("Are there recommended splits?", "No."),
        (
            "Are there errors, noise or redundancies?",
            (
                "Not searched for. Volumes were not compared with one another, and nobody has"
                " judged here whether their anatomy is right."
            ),
        ),
        (
            "Does it hold data that might be confidential, or identify individuals?",
            f"The model was trained on {scan['n_training']} volumes"
            + (f" of {scan['n_training_subjects']} people" if scan["n_training_subjects"] else "")
            + ". That no released volume is a copy of one of them is what was screened for; see "
            "the next sections for how, and for what screening cannot show.",
        ),
    )


def _answer_cleaning(manifest: Mapping[str, Any]) -> AnsweredQuestions:
    scan, policy = manifest["scan"], manifest["policy"]
    decisions, test, assumption = (
        manifest["decisions"],
        manifest["selftest"],
        manifest["assumption"],
    )
    screened = (
        f"Rule {scan['rule']} on the {scan['measure']}"
        + (f", at most {scan['q']:g} of the called expected to be wrong" if scan["q"] else "")
        + f"; a null of {scan['n_null']}. {scan['answer']}"
    )
    if scan["no_power"]:
        screened += " The detector had no power, so that nothing passed without a reader."
    if test is None:
        tested = "Not measured: how many copies the detector misses in this study is not known."
    else:
        found = test["sensitivity"]
        tested = (
            f"{found['k']} of {found['n']} planted copies were called, "
            f"{test['specificity']['k']} of {test['specificity']['n']} unrelated volumes were not"
            + ("; measured with another search than the scan's" if test["out_of_date"] else "")
            + ". "
            + " ".join(test["notes"])
        )
    return (
        (
            "Was the data preprocessed?",
            "The axes were put into RAS order, intensities kept as float32, and the headers "
            "written anew. Position and obliqueness in the scanner's room were dropped.",
        ),
        ("Was it cleaned? How were copies searched for?", screened),
        ("What does that search find?", tested.strip()),
        (
            "Does its assumption hold?",
            assumption["text"] if assumption else "Not tested: the deciding rule knows no test.",
        ),
        (
            "Who decided?",
            f"Policy: readers '{policy['readers']}'; verdicts that pass without a reader: "
            f"{', '.join(policy['rule']) or 'none'}. {decisions['readers']} readers, "
            f"{decisions['events']} events, head {decisions['head']}.",
        ),
    )


def _answer_uses() -> AnsweredQuestions:
    return (
        (
            "What could go wrong in its use?",
            "Volumes of a generative model can show what no body has, and leave out what is rare. "
            "What is learnt from them needs a test on real data.",
        ),
        (
            "Are there uses that it is not for?",
            "Diagnosis, and every claim about single people. No screening proves the absence of "
            "copies: do not try to find people in it.",
        ),
    )


def _answer_distribution(manifest: Mapping[str, Any]) -> AnsweredQuestions:
    return (
        (
            "Under which licence?",
            _escape_markdown(manifest["license"].strip().splitlines()[0]) + ".",
        ),
        (
            "How can it be verified?",
            "`memscan verify FOLDER`, or `sha256sum -c SHA256SUMS` inside the folder.",
        ),
    )


def _format_reasons(selection: Mapping[str, Any]) -> str:
    return ", ".join(f"{why}: {k}" for why, k in selection["rejected"].items()) or "no reason"


def _escape_markdown(text: str) -> str:
    """Return a text without what Markdown or HTML would take for its own."""
    return " ".join("".join(f"\\{c}" if c in "\\`*_[]<>#|" else c for c in text).split())
