"""Files to volumes: NIfTI, NumPy arrays with declared axes, DICOM series; and NIfTI back."""

from __future__ import annotations

import gzip
import math
import stat
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from napari_memscan.errors import BadInput
from napari_memscan.files import write_atomically
from napari_memscan.volumes.dicom import holds_dicom, read_dicom_series
from napari_memscan.volumes.volume import Volume

Spacing = tuple[float, float, float]
T = TypeVar("T")

NIFTI_SUFFIXES = (".nii", ".nii.gz")
ARRAY_SUFFIXES = (".npy", ".npz")
SUPPORTED_FORMATS = "NIfTI (.nii, .nii.gz), NumPy (.npy, .npz) or the folder of a DICOM series"


def is_volume_path(path: str | Path) -> bool:
    """Return whether the name is one of a file this reader takes (DICOM: a folder of slices)."""
    path = Path(path)
    if path.name.startswith("."):
        return False
    return path.name.lower().endswith(NIFTI_SUFFIXES + ARRAY_SUFFIXES) or (
        path.is_dir() and holds_dicom(path)
    )


def list_volumes(folder: str | Path) -> list[Path]:
    """Return all volumes below a folder, sorted: files and folders of DICOM series.

    Raises
    ------
    BadInput
        The folder is missing or holds no volume.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise BadInput(f"{folder}: no such folder. Choose the folder that holds the volumes.")
    found = [
        p
        for p in sorted(folder.rglob("*"))
        if is_volume_path(p)
        and not any(part.startswith(".") for part in p.relative_to(folder).parts)
    ]
    if holds_dicom(folder):
        found.insert(0, folder)
    if not found:
        raise BadInput(f"{folder}: holds no volumes. Expected are {SUPPORTED_FORMATS}.")
    return found


def parse_spacing(text: str) -> Spacing | None:
    """Read ``x y z`` in mm; an empty text is None."""
    if not text.strip():
        return None
    try:
        x, y, z = (float(part) for part in text.replace(",", " ").split())
    except ValueError as error:
        raise BadInput(f"spacing '{text}': three numbers in mm are expected, 'x y z'.") from error
    if not all(0 < value < math.inf for value in (x, y, z)):
        raise BadInput(f"spacing '{text}': voxel sizes are above 0 mm. Correct them.")
    return (x, y, z)


def read_volume(
    path: str | Path, *, axes: str | None = None, spacing: Spacing | None = None
) -> Volume:
    """Read one volume.

    Parameters
    ----------
    path : path
        NIfTI or NumPy file, or the folder of a DICOM series.
    axes : str, optional
        For NumPy: what each array axis is, a permutation of ``XYZ`` (right, anterior, superior)
        or of ``DHW`` (depth, height, width: Z, Y, X). A lower-case letter means that the axis
        runs the other way. Default ``XYZ``.
    spacing : (float, float, float), optional
        Voxel size in mm along X, Y, Z, for files that do not say it.

    Returns
    -------
    Volume
        In RAS, float32, header scale applied.

    Raises
    ------
    BadInput
        Missing, empty or truncated file, no 3D volume, more than one channel, NaN or infinity,
        or every voxel the same.
    """
    path = Path(path)
    kind = _find_kind(path)
    if kind == "dicom":
        volume = read_dicom_series(path)
    elif kind == "nifti":
        volume = _explain_nifti_errors(path, _read_nifti)
    else:
        volume = Volume(_reorder_axes(_read_array(path), axes or "XYZ", path), spacing, path)
    return _check_values(Volume(volume.data, volume.spacing or spacing, path))


def check_header(path: str | Path) -> None:
    """Refuse what is no 3D volume by how it begins; its voxels are not read.

    Raises
    ------
    BadInput
        As `read_volume`, but for what only the voxels tell.
    """
    path = Path(path)
    kind = _find_kind(path)
    if kind == "nifti":
        _explain_nifti_errors(path, _check_nifti_header)
    elif kind == "dicom" or path.suffix.lower() == ".npz":
        read_volume(path)
    else:
        _squeeze_channel(_read_array(path, mmap_mode="r"), path)


def _find_kind(path: Path) -> Literal["dicom", "nifti", "array"]:
    """Return how a volume is read, by its name."""
    name = path.name.lower()
    try:
        mode = path.stat()
    except (OSError, ValueError) as error:
        raise BadInput(f"{path}: no such file. Check the path, or restore the file.") from error
    if stat.S_ISDIR(mode.st_mode):
        return "dicom"
    if not stat.S_ISREG(mode.st_mode):
        raise BadInput(f"{path}: neither a file nor a folder. Choose the volume itself.")
    if mode.st_size == 0:
        raise BadInput(f"{path}: the file is empty. Copy or export it again.")
    if name.endswith(NIFTI_SUFFIXES):
        return "nifti"
    if name.endswith(ARRAY_SUFFIXES):
        return "array"
    raise BadInput(f"{path}: not a volume this program reads. Expected are {SUPPORTED_FORMATS}.")


def _check_values(volume: Volume) -> Volume:
    data = volume.data
    if not np.isfinite(data).all():
        bad = int((~np.isfinite(data)).sum())
        raise BadInput(
            f"{volume.path}: {bad} voxels are NaN or infinite. Repair or remove this volume."
        )
    if data.min() == data.max():
        raise BadInput(
            f"{volume.path}: every voxel is {data.flat[0]:g}. An image is expected; "
            "export it again or remove it."
        )
    return volume


def _squeeze_channel(data: NDArray[Any], path: Path) -> NDArray[Any]:
    return data.reshape(_check_shape(data.shape, path))


def _check_shape(shape: tuple[int, ...], path: Path) -> tuple[int, ...]:
    """Return the three axes of a volume with a single channel; refuse anything else."""
    if len(shape) == 4 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != 3:
        raise BadInput(
            f"{path}: shape {shape}; one 3D volume with a single channel is expected. "
            "Split time points or channels into files of their own."
        )
    if min(shape) < 2:
        raise BadInput(
            f"{path}: shape {shape} is a 2D image; a 3D volume is expected. "
            "Stack the slices of a volume into one file."
        )
    return shape


def _check_nifti_header(path: Path) -> None:
    import nibabel as nib

    # nibabel.load takes three times as long: it tries kinds of files and copies headers.
    with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
        block = file.read(nib.Nifti2Header.sizeof_hdr)
    for kind in (nib.Nifti1Header, nib.Nifti2Header):
        if kind.may_contain_header(block[: kind.sizeof_hdr]):
            header = kind(block[: kind.sizeof_hdr])
            _refuse_colour(header, path)
            _check_shape(header.get_data_shape(), path)
            return
    raise ValueError("it has no header of a NIfTI file")


def _refuse_colour(header: Any, path: Path) -> None:
    if header.get_data_dtype().fields is not None:
        raise BadInput(
            f"{path}: a colour image; one channel is expected. Convert it to grey values."
        )


def _read_nifti(path: Path) -> Volume:
    import nibabel as nib
    from nibabel.affines import voxel_sizes

    image = nib.load(path)
    # With both form codes 0 the file does not say how it lies: its axes are taken as they are,
    # where nibabel would assume that x runs to the left.
    known = bool(image.header["sform_code"]) or bool(image.header["qform_code"])
    if known:
        image = nib.as_closest_canonical(image)
    _refuse_colour(image, path)
    data = _squeeze_channel(_check_real(np.asarray(image.dataobj), path), path)
    # Turned volumes have the affine's sizes and others those of the header, which may differ.
    x, y, z = (float(size) for size in voxel_sizes(image.affine))
    sized = known and all(0 < zoom < math.inf for zoom in (x, y, z))
    return Volume(np.ascontiguousarray(data, dtype=np.float32), (x, y, z) if sized else None, path)


def _explain_nifti_errors(path: Path, read: Callable[[Path], T]) -> T:
    """Return what `read` does; what nibabel says of a broken file becomes a BadInput."""
    from nibabel.filebasedimages import ImageFileError
    from nibabel.orientations import OrientationError
    from nibabel.spatialimages import HeaderDataError

    try:
        return read(path)
    except (
        ImageFileError,
        HeaderDataError,
        EOFError,
        OSError,
        ValueError,
        KeyError,
        OverflowError,
        zlib.error,
        MemoryError,
        OrientationError,
    ) as error:
        if isinstance(error, BadInput):
            raise
        if isinstance(error, OrientationError):
            raise BadInput(
                f"{path}: its header gives an axis no direction, so left and right are unknown. "
                "Correct the affine matrix, or export the file again."
            ) from error
        raise BadInput(
            f"{path}: not a whole NIfTI file ({error}). It may be truncated: copy it again."
        ) from error


ZIP_BOMB_LIMITS = (1_000_000_000, 100)
"""An archive that unpacks to so many bytes, and to so many times its size, is no image."""


def _check_zip_bomb(path: Path) -> None:
    """Refuse an .npz that claims to unpack to far more than it is, before it is unpacked."""
    with zipfile.ZipFile(path) as archive:
        size = sum(entry.file_size for entry in archive.infolist())
    if size > ZIP_BOMB_LIMITS[0] and size > ZIP_BOMB_LIMITS[1] * path.stat().st_size:
        raise BadInput(
            f"{path}: unpacks to {size:,} bytes, {size // path.stat().st_size} times its size; "
            "refused as a possible zip bomb. Save it with numpy.save if it is a volume."
        )


def _read_array(path: Path, mmap_mode: Literal["r"] | None = None) -> NDArray[Any]:
    try:
        if zipfile.is_zipfile(path):
            _check_zip_bomb(path)
        value = np.load(path, mmap_mode, allow_pickle=False)
        if isinstance(value, np.lib.npyio.NpzFile):
            with value:
                if len(value.files) != 1:
                    raise BadInput(
                        f"{path}: holds {len(value.files)} arrays ({', '.join(value.files)}); "
                        "exactly one is expected."
                    )
                value = value[value.files[0]]
    except (
        ValueError,
        EOFError,
        OSError,
        KeyError,
        OverflowError,
        MemoryError,
        NotImplementedError,
        tokenize.TokenError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput(
            f"{path}: not a whole NumPy file of plain numbers ({error}). Save it again with "
            "numpy.save; object arrays are refused because they could run code."
        ) from error
    if not isinstance(value, np.ndarray):
        raise BadInput(f"{path}: holds no array. Save it again with numpy.savez.")
    return _check_real(value, path)


def _check_real(data: NDArray[Any], path: Path) -> NDArray[Any]:
    if data.dtype.kind not in "fiub":
        raise BadInput(
            f"{path}: values of type {data.dtype}; real numbers are expected. "
            "Save the magnitude, or convert them."
        )
    return data


_AXIS_OF_LETTER = {"X": 0, "Y": 1, "Z": 2, "W": 0, "H": 1, "D": 2}


def _reorder_axes(data: NDArray[Any], axes: str, path: Path) -> NDArray[np.float32]:
    data = _squeeze_channel(data, path)
    targets = [_AXIS_OF_LETTER.get(letter.upper(), -1) for letter in axes]
    if sorted(targets) != [0, 1, 2]:
        raise BadInput(
            f"{path}: axes '{axes}'; a permutation of XYZ or of DHW is expected, such as ZYX."
        )
    flips = tuple(i for i, letter in enumerate(axes) if letter.islower())
    data = np.flip(data, flips)
    order = [targets.index(axis) for axis in range(3)]
    return np.ascontiguousarray(data.transpose(order), dtype=np.float32)


def write_nifti(volume: Volume, path: str | Path) -> None:
    """Write a volume as float32 NIfTI; the same voxels give the same bytes.

    Parameters
    ----------
    volume : Volume
        In RAS. Without spacing the header says "unknown" (both form codes 0).
    path : path
        Ends in ``.nii`` or ``.nii.gz``.
    """
    image = make_nifti_image(np.asarray(volume.data, np.float32), volume.spacing)
    data = image.to_bytes()
    if Path(path).suffix == ".gz":
        # A modification time in the gzip header would make every run's bytes another.
        data = gzip.compress(data, compresslevel=4, mtime=0)
    with write_atomically(path) as temporary:
        temporary.write_bytes(data)


def make_nifti_image(data: NDArray[np.float32], spacing: Sequence[float] | None) -> Any:
    """Return voxels (X, Y, Z) in RAS as a nibabel image that says nothing but the voxel size."""
    import nibabel as nib

    # Without an affine both form codes stay 0: "unknown".
    affine = None if spacing is None else np.diag([*spacing, 1.0])
    image = nib.Nifti1Image(data, affine)
    if affine is not None:
        image.set_sform(affine, 1)
        image.set_qform(affine, 1)
    image.header.set_xyzt_units("mm")
    return image
