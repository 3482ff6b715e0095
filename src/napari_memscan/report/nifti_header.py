"""Whether a NIfTI file holds nothing but voxels and voxel size."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np

HEADER_SIZE = 352
"""Bytes before the voxels: the header itself, and four that say that no extension follows."""
GZIP_HEADER_SIZE = 10
CHUNK_SIZE = 1 << 20


def find_extra_content(path: Path) -> str:
    """Return what a file holds besides voxels and voxel size; empty where it is clean.

    A file that pretends to be of another size is never unpacked further than it should reach.
    """
    with path.open("rb") as file:
        raw = file.read(GZIP_HEADER_SIZE)
    if raw[:3] != b"\x1f\x8b\x08":
        return "is not compressed with gzip"
    if raw[3] or raw[4:8] != b"\0\0\0\0":
        return "its gzip header holds a name, comment or time"
    try:
        parts = _unpack_gzip(path)
        head = b""
        while len(head) < HEADER_SIZE:
            head += next(parts)
        found, size = _check_header(head[:HEADER_SIZE])
        if found:
            return found
        have = len(head)
        while have <= size:
            part = next(parts, b"")
            if not part:
                break
            have += len(part)
        if have > size:
            return "holds more than its voxels"
        return "is cut off" if have < size else ""
    except StopIteration:
        return "is cut off"
    except (zlib.error, ValueError) as error:
        return f"cannot be unpacked ({error})"


def _unpack_gzip(path: Path) -> Iterator[bytes]:
    """Yield what a gzip file of one member holds.

    Raises
    ------
    ValueError
        Something follows the member, or it does not end.
    """
    machine = zlib.decompressobj(wbits=31)
    with path.open("rb") as file:
        while not machine.eof:
            data = machine.unconsumed_tail or file.read(CHUNK_SIZE)
            if not data:
                raise ValueError("it does not end")
            part = machine.decompress(data, CHUNK_SIZE)
            if part:
                yield part
        if machine.unused_data or file.read(1):
            raise ValueError("something follows its end")


def _check_header(head: bytes) -> tuple[str, int]:
    """Compare a header with the one that memscan writes for this shape and voxel size.

    Returns
    -------
    (str, int)
        What is wrong, empty where nothing is; and how many bytes the file holds unpacked.
    """
    import nibabel as nib

    header = nib.Nifti1Header.from_fileobj(BytesIO(head), check=False)
    try:
        shape = tuple(int(n) for n in header.get_data_shape())
        spacing = tuple(float(z) for z in header.get_zooms()[:3])
        if len(shape) != 3 or min(shape) < 1 or not all(0 < z < np.inf for z in spacing):
            return "its header is that of no 3D volume", 0
        expected = build_clean_header(shape, spacing if header["sform_code"] else None)
    except (nib.spatialimages.HeaderDataError, ValueError, OverflowError) as error:
        return f"its header cannot be read ({error})", 0
    size = HEADER_SIZE + 4 * int(np.prod(shape, dtype=np.int64))
    if head == expected:
        return "", size
    clean = nib.Nifti1Header.from_fileobj(BytesIO(expected), check=False)
    names = [name for name in clean if header[name].tobytes() != clean[name].tobytes()]
    what = f"fields {', '.join(names)}" if names else "an extension"
    return f"its header is not clean: {what}", size


def build_clean_header(shape: tuple[int, ...], spacing: tuple[float, ...] | None) -> bytes:
    """Return the first bytes of a file that `volumes.reader.write_nifti` writes."""
    from napari_memscan.volumes.reader import make_nifti_image

    # A view of a single number: as large as it says, and of no weight.
    header = make_nifti_image(np.broadcast_to(np.float32(0), shape), spacing).header
    header["vox_offset"], header["scl_slope"], header["scl_inter"] = HEADER_SIZE, 1, 0
    return bytes(header.binaryblock) + b"\0\0\0\0"
