"""Telling files by how they begin."""


def begins_with(data: bytes, begin: bytes) -> bool:
    """Whether it does; `?` in `begin` stands for any byte."""
    return len(data) >= len(begin) and all(b in (d, 0x3F) for b, d in zip(begin, data, strict=False))
