"""What is known of people beside their rows, in memory, for tests of the gateway's pipeline."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from services.gateway.storage.profiles import (
    Details,
    Order,
    PeopleFilter,
    PhotoFacts,
    Position,
    Profile,
    name_key,
    position_of,
)


class FakePeople:
    """Profiles and facts of photos by the row's number."""

    def __init__(self) -> None:
        self.profiles: dict[int, Profile] = {}
        self.facts: dict[int, dict[str, PhotoFacts]] = {}
        self.known_digests: dict[int, dict[str, bytes]] = {}

    def write(self, record_id: int, details: Details, dropped: Sequence[str]) -> None:
        """As RecordStore.commit does."""
        self.profiles[record_id] = replace(details.profile, record_id=record_id)
        kept = {name: facts for name, facts in self.facts.get(record_id, {}).items() if name not in dropped}
        self.facts[record_id] = kept | {facts.name: facts for facts in details.photos}
        known = {name: one for name, one in self.known_digests.get(record_id, {}).items() if name not in dropped}
        self.known_digests[record_id] = known | dict(details.digests)

    def drop(self, record_id: int) -> None:
        """As RecordStore.erase does."""
        self.profiles.pop(record_id, None)
        self.facts.pop(record_id, None)
        self.known_digests.pop(record_id, None)

    def find(self, record_id: int) -> Profile | None:
        return self.profiles.get(record_id)

    def between(self, after: int, last: int) -> list[Profile]:
        return [replace(one, labels=()) for number, one in self.profiles.items() if after < number <= last]

    def page(self, wanted: PeopleFilter, after: Position | None, limit: int) -> list[Profile]:
        found = [
            profile
            for profile in self.profiles.values()
            if name_key(profile.display_name).startswith(name_key(wanted.name_prefix))
            and (not wanted.label or wanted.label in profile.labels)
            and wanted.external_id in ("", profile.external_id)
            and (wanted.order is not Order.TIME or profile.created_at >= max(1, wanted.created_from))
            and (not wanted.created_before or profile.created_at < wanted.created_before)
        ]
        places = sorted((position_of(profile, wanted.order), profile) for profile in found)
        return [profile for place, profile in places if after is None or place > after][:limit]

    def by_request(self, request_id: str) -> Profile | None:
        return next((one for one in self.profiles.values() if one.request_id == request_id), None)

    def photos(self, record_id: int) -> dict[str, PhotoFacts]:
        return self.facts.get(record_id, {})

    def digests(self, record_id: int) -> dict[str, bytes]:
        return dict(self.known_digests.get(record_id, {}))

    def note_digests(self, record_id: int, digests: Mapping[str, bytes]) -> None:
        self.known_digests[record_id] = dict(digests)

    def add(self, profiles: Sequence[Profile]) -> None:
        for profile in profiles:
            self.profiles.setdefault(profile.record_id, replace(profile, labels=()))

    def rename(self, profile: Profile) -> None:
        known = self.profiles[profile.record_id]
        renamed = replace(known, stored_name=profile.stored_name, display_name=profile.display_name)
        self.profiles[profile.record_id] = renamed

    def forget(self, profiles: Sequence[Profile]) -> None:
        for profile in profiles:
            self.drop(profile.record_id)
