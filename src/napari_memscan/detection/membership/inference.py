"""Does the denoiser itself tell its training volumes from others? Membership inference."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_memscan.detection.membership.attacks import LatentSizeControl, MembershipAttack
from napari_memscan.detection.membership.noise import NoisePredictor
from napari_memscan.detection.membership.result import (
    STANDING_CAVEATS,
    AttackResult,
    MembershipResult,
    list_caveats,
)
from napari_memscan.detection.statistics.roc import analyse_roc
from napari_memscan.errors import BadInput, JobFailed, is_out_of_memory
from napari_memscan.files import hash_json
from napari_memscan.volumes.validation import check_volume

if TYPE_CHECKING:
    from napari_memscan.typing import Array
    from napari_memscan.volumes.cache import ArrayCache

VERSION = 1
"""Changes whenever the same volume would get another score; part of the cache's keys."""


def infer_membership(
    training: Sequence[Array],
    validation: Sequence[Array],
    predictor: NoisePredictor,
    attacks: Sequence[MembershipAttack],
    *,
    training_names: Sequence[str] = (),
    validation_names: Sequence[str] = (),
    training_subjects: Sequence[str] = (),
    validation_subjects: Sequence[str] = (),
    hashes: Sequence[str] = (),
    conditions: Sequence[str] = (),
    checkpoint_hash: str = "",
    cache: ArrayCache | None = None,
    threads: int = 0,
    seed: int = 0,
    resamples: int = 2000,
    confidence: float = 0.95,
    warnings: Iterable[str] = (),
) -> Generator[int, None, MembershipResult]:
    """Score each volume by each attack and say how well scores tell the splits apart.

    Volumes are read, encoded and scored one at a time, so that results do not depend on what
    stands beside them, and memory holds one.

    Parameters
    ----------
    training, validation : sequences of arrays (X, Y, Z), float32
        In [0, 1], in RAS, of the recipe's preprocessing; may be read when asked for.
    predictor : NoisePredictor
        The model.
    attacks : sequence of MembershipAttack
        See `membership_attacks`.
    training_names, validation_names : sequences of str
        Names; default such as ``training[3]``.
    training_subjects, validation_subjects : sequences of str
        Whose each volume is; an empty text counts as a subject of its own.
    hashes : sequence of str
        Of the volumes' content, training first; by default of the arrays.
    conditions : sequence of str
        What the denoiser is told of each, training first; see `NoisePredictor.with_condition`.
    checkpoint_hash : str
        Of the model; needed with `cache`.
    cache : ArrayCache, optional
        Keeps scores: a run that was stopped goes on, and gives the same numbers.
    threads : int
        Of the processor, 0 for PyTorch's; sums round differently with another number.
    seed, resamples, confidence
        See `roc.analyse_roc`.
    warnings : iterable of str
        Carried into the result.

    Yields
    ------
    int
        Volumes done, after each.

    Returns
    -------
    MembershipResult

    Raises
    ------
    BadInput
        Fewer than 2 volumes or subjects in a split, a subject or file in both, a volume of
        another shape, with NaN, or constant; scores that are all equal.
    JobFailed
        The denoiser returned NaN, or memory does not suffice.
    """
    if cache is not None and not checkpoint_hash:
        raise ValueError("scores are kept by checkpoint_hash; give it with cache")
    if not attacks:
        raise BadInput("no attack was named; choose loss, secmi, pia or all.")
    splits = {"training": training, "validation": validation}
    paths, owners, unknown = [], [], 0
    for split, named, subjects in (
        ("training", training_names, training_subjects),
        ("validation", validation_names, validation_subjects),
    ):
        n = len(splits[split])
        if n < 2:
            raise BadInput(
                f"{split}: {n} volumes; at least 2 in each split are needed to compare them."
            )
        paths.append(list(named) or [f"{split}[{i}]" for i in range(n)])
        known = list(subjects) or [""] * n
        unknown += sum(not s for s in known)
        owners.append([s or f"{split} volume {i}" for i, s in enumerate(known)])
        if len(paths[-1]) != n or len(known) != n:
            raise ValueError(f"{split}: names and subjects must be as many as volumes")
    both = sorted(set(owners[0]) & set(owners[1]))
    if both:
        raise BadInput(
            f"subject {both[0]} is in training and in validation. Put all volumes of a subject "
            "into one split."
        )
    measured: list[MembershipAttack] = [*attacks, LatentSizeControl()]
    levels = predictor.levels
    settings = [attack.settings(levels) for attack in measured]
    model = [VERSION, checkpoint_hash, predictor.recipe.hash, threads]
    names = [*paths[0], *paths[1]]
    if hashes:
        _refuse_shared(list(hashes), len(training), names)
    rows, contents = [], []
    every = [(split, i) for split in splits for i in range(len(splits[split]))]
    for index, (split, i) in enumerate(every):
        volume = _LazyVolume(splits[split], i, names[index], predictor)
        content = hashes[index] if hashes else hashlib.sha256(volume.array().tobytes()).hexdigest()
        row = []
        told = predictor.with_condition(conditions[index]) if conditions else predictor
        own = conditions[index : index + 1]
        for attack, how in zip(measured, settings, strict=True):
            key = ["membership", *model, content, attack.name, how, index if attack.drawn else 0]

            def compute(
                attack: MembershipAttack = attack,
                volume: Any = volume,
                index: int = index,
                told: Any = told,
            ) -> Any:
                with _guard_inference(threads):
                    return np.array([attack.score(told, volume.latent(), index)])

            scores = compute() if cache is None else cache.get(hash_json([*key, *own]), compute)
            row.append(float(scores[0]))
        rows.append(row)
        contents.append(content)
        yield index + 1
    n = len(training)
    _refuse_shared(contents, n, names)
    results = []
    for column, attack, how in zip(zip(*rows, strict=True), measured, settings, strict=True):
        if attack.name != LatentSizeControl.name and len(set(column)) == 1:
            raise BadInput(
                f"{attack.name}: all {len(column)} volumes have the same score. The denoiser does "
                "not depend on its input; it may be untrained, or the volumes are all alike."
            )
        apart = analyse_roc(
            column[:n], column[n:], *owners, seed=seed, resamples=resamples, confidence=confidence
        )
        results.append(AttackResult(attack.name, attack.rule, how, apart, column[:n], column[n:]))
    sizes = [len(set(some)) for some in owners]
    twice = sum(k - 1 for k in Counter(contents[:n]).values())
    return MembershipResult(
        attacks=tuple(results[:-1]),
        control=results[-1],
        n_training=n,
        n_validation=len(validation),
        n_training_subjects=sizes[0],
        n_validation_subjects=sizes[1],
        training_names=tuple(paths[0]),
        validation_names=tuple(paths[1]),
        prediction_type=predictor.recipe.scheduler.prediction_type,
        schedule=predictor.recipe.scheduler.schedule,
        levels=levels,
        condition=predictor.condition,
        preprocessing=predictor.recipe.preprocessing.model_dump(mode="json"),
        checkpoint_hash=checkpoint_hash,
        recipe_hash=predictor.recipe.hash,
        threads=threads,
        seed=seed,
        resamples=resamples,
        confidence=confidence,
        warnings=(
            *warnings,
            *list_caveats(
                results[-1], sizes, unknown, twice, predictor.recipe, predictor.condition
            ),
            *STANDING_CAVEATS,
        ),
    )


class _LazyVolume:
    """One volume, read and encoded once and only when a score is not known yet."""

    def __init__(
        self, volumes: Sequence[Array], i: int, name: str, predictor: NoisePredictor
    ) -> None:
        self._volumes, self._i, self._name, self._predictor = volumes, i, name, predictor
        self._array: Array | None = None
        self._latent: Any = None

    def array(self) -> Array:
        if self._array is None:
            wanted = tuple(self._predictor.recipe.preprocessing.shape)
            self._array = check_volume(self._volumes[self._i], self._name, wanted)
        return self._array

    def latent(self) -> Any:
        if self._latent is None:
            self._latent = self._predictor.encode(self.array())
        return self._latent


@contextmanager
def _guard_inference(threads: int) -> Iterator[None]:
    import torch

    from napari_memscan.generators.runtime import use_threads

    try:
        with use_threads(threads), torch.inference_mode():
            yield
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise JobFailed(
                "memory does not suffice to encode and denoise a single volume. Use a machine "
                "with more of it."
            ) from error
        raise


def _refuse_shared(contents: list[str], n: int, names: list[str]) -> None:
    first = {content: names[i] for i, content in reversed(list(enumerate(contents[:n])))}
    for content, name in zip(contents[n:], names[n:], strict=True):
        if content in first:
            raise BadInput(
                f"{name} (validation) and {first[content]} (training) are the same volume. "
                "Remove one of them."
            )
