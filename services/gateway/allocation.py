"""How the gateway takes memory from the system, and gives it back."""

import ctypes

#: Of mallopt(3): blocks from so many bytes on are given back when they are freed, and so much at a heap's end is not. What
#: a photo of 12 megapixels needs stays: taken anew, page by page, it would cost a verification 13 ms.
M_TRIM_THRESHOLD, TRIM_BYTES = -1, 32 << 20
M_MMAP_THRESHOLD, MMAP_BYTES = -3, 4 << 20


def give_back_large_blocks() -> None:
    """Has large blocks given back at once.

    Stages, which need the same ones again for every photo, are better off with keeping them, as their environment says;
    what a gateway holds is what clients send, so that the largest uploads would stay in memory for good.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:  # the C library is not everywhere GNU's
        mallopt(M_TRIM_THRESHOLD, TRIM_BYTES)
        mallopt(M_MMAP_THRESHOLD, MMAP_BYTES)
