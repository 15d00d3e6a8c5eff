"""Buckets of people: what the gallery remembers of whom it removed, instead of their ids.

A bucket has room for many: its number does not tell who was removed. Whoever keeps a copy of the gallery asks, of its
people in a bucket that somebody was removed from, who is still there.
"""

from hashlib import blake2b

#: Buckets in all: as many as three hexadecimal digits count.
BUCKETS = 1 << 12


def owner_digest(person_id: str) -> str:
    """32 hexadecimal digits that stand for a person; the first three are the bucket."""
    return blake2b(person_id.encode(), digest_size=16).hexdigest()


def bucket_of(person_id: str) -> int:
    """0 to BUCKETS - 1."""
    return int(owner_digest(person_id)[:3], 16)
