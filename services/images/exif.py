"""The one entry of EXIF that matters here, whatever its type; Pillow's reader takes seconds and gigabytes for others."""

import struct

#: The tag of TIFF 6.0 and EXIF, and struct's codes of the types that it is seen with.
ORIENTATION = 274
WHOLE_NUMBERS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i"}


def orientation_of(tiff: bytes) -> int:
    """EXIF orientation, 1 to 8, of EXIF data without their `Exif\\0\\0`, or of a TIFF file; the first entry counts.

    1 where there is none or one that makes no sense: decoders ignore broken EXIF, so do we.
    """
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2], "")
    if not order:
        return 1
    try:
        (start,) = struct.unpack_from(f"{order}I", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, start)
        for at in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind, values = struct.unpack_from(f"{order}HHI", tiff, at)
            if tag == ORIENTATION:
                return _value(tiff, at + 8, order, kind) if values == 1 else 1
    except struct.error:
        pass
    return 1


def _value(tiff: bytes, at: int, order: str, kind: int) -> int:
    if kind not in WHOLE_NUMBERS:
        return 1
    (value,) = struct.unpack_from(order + WHOLE_NUMBERS[kind], tiff, at)
    return value if 1 <= value <= 8 else 1
