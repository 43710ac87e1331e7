"""What a file seems to be, from its first bytes; for the messages about files that are not what they should be."""

KINDS = (
    (b"version https://git-lfs", "a pointer of Git LFS: fetch the file itself with git lfs pull"),
    (b"<!doctype html", "a web page: the download has failed"),
    (b"<html", "a web page: the download has failed"),
    (b"<?xml", "an XML text"),
    (b"<svg", "an SVG drawing"),
    (b"\x89hdf", "an HDF5 file, as Keras writes: convert it"),
    (b"\x1f\x8b", "a compressed file: unpack it with gunzip"),
    (b"%pdf", "a PDF document"),
    (b'{"', "a JSON text"),
    (
        b"ii*\x00",
        "a TIFF that Pillow cannot read: it reads 1, 3 or 4 channels of 8 bits, or 1 channel of 16; set data.pixel_range for others",
    ),
    (
        b"mm\x00*",
        "a TIFF that Pillow cannot read: it reads 1, 3 or 4 channels of 8 bits, or 1 channel of 16; set data.pixel_range for others",
    ),
)


def seems(start: bytes) -> str:
    """A clause such as "; it is a web page: ..."; "" if the beginning of the file tells nothing.

    Args:
        start: the first bytes of the file, at least 32 of them if it has so many.
    """
    if not start:
        return "; it is empty"
    text = start.lstrip().lower()
    for prefix, kind in KINDS:
        if text.startswith(prefix):
            return f"; it is {kind}"
    if start[4:12] in (b"ftypheic", b"ftypheix", b"ftypmif1", b"ftypmsf1"):
        return "; it is a HEIC photo: pip install pillow-heif, and it is read"
    return ""
