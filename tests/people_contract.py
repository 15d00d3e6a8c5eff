"""What everything that keeps people beside their rows promises: tables of either database, and the fake of other tests."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from services.gateway.stages.types import PhotoQuality
from services.gateway.storage.profiles import (
    Details,
    PeopleFilter,
    PeopleStore,
    PhotoFacts,
    Profile,
    Source,
    position_of,
)
from services.gateway.storage.types import Erased, JournalEntry, PersonRecord, RecordStore

QUALITY = PhotoQuality(8.25, {"sharpness": 0.5})


@dataclass(frozen=True)
class Stores:
    """Rows, and what is known beside them, of one database without people."""

    records: RecordStore
    people: PeopleStore

    def enroll(
        self, number: int, name: str = "Ann Lee", photos: Sequence[PhotoFacts] = (), **details: object
    ) -> Profile:
        """Somebody new; `details`: as of Profile."""
        person_id = f"RECO_ID_{number}"
        stored = name.lower().replace(" ", "_")
        fields = {"created_at": number, "updated_at": number, **details}
        profile = Profile(0, person_id, stored, name, **fields)  # type: ignore[arg-type]
        entry = JournalEntry(f"000-{number}", person_id, "", "folder")
        row = self.records.commit(PersonRecord(0, person_id, stored, "/db/x"), entry, Details(profile, tuple(photos)))
        found = self.people.find(row.record_id)
        assert found
        return found

    def all(self, limit: int, **wanted: object) -> list[list[str]]:
        """Names page by page, as they are listed."""
        filtered, after, pages = PeopleFilter(**wanted), None, []  # type: ignore[arg-type]
        while page := self.people.page(filtered, after, limit):
            after = position_of(page[-1], filtered.order)
            pages.append([profile.display_name for profile in page])
        return pages


class PeopleContract:
    """Tests of the fixture `stores`."""

    def test_a_profile_is_written_with_its_row_and_read_as_it_was(self, stores: Stores) -> None:
        labels = ("a label", "straße")
        profile = stores.enroll(7, "Ann McLee", external_id="x-1", labels=labels, request_id="r", request_digest="d")
        assert profile.record_id and stores.records.rows_of([profile.record_id])
        assert (profile.person_id, profile.display_name, profile.stored_name) == ("RECO_ID_7", "Ann McLee", "ann_mclee")
        assert (profile.labels, profile.external_id, profile.created_at) == (labels, "x-1", 7)
        assert stores.people.by_request("r") == profile
        assert stores.people.by_request("s") is None and stores.people.find(profile.record_id + 1) is None

    def test_a_profile_changes_with_its_row(self, stores: Stores) -> None:
        profile = stores.enroll(1, labels=("a", "b"))
        changed = Profile(0, "RECO_ID_1", "bob", "Bob", labels=("b", "c"), updated_at=5)
        stores.records.commit(PersonRecord(profile.record_id, "RECO_ID_1", "bob", "/db/x"), None, Details(changed))
        found = stores.people.find(profile.record_id)
        assert found and (found.display_name, found.labels, found.updated_at) == ("Bob", ("b", "c"), 5)
        assert stores.all(9, label="a") == [] and stores.all(9, label="c") == [["Bob"]]
        row = stores.records.find("RECO_ID_1")
        assert row and row.name == "bob" and len(stores.records.journal()) == 1

    def test_without_details_they_stay_as_they_are(self, stores: Stores) -> None:
        profile = stores.enroll(1, labels=("a",))
        row = PersonRecord(profile.record_id, "RECO_ID_1", "bob", "/db/x")
        stores.records.commit(row, JournalEntry("000-2", "RECO_ID_1", "", "folder"))
        assert stores.people.find(profile.record_id) == profile

    def test_facts_of_photos_come_and_go(self, stores: Stores) -> None:
        first = PhotoFacts("a.png", Source.UPLOAD, 3, QUALITY, "r-1")
        profile = stores.enroll(1, photos=[first, PhotoFacts("b.png", Source.PEOPLE)])
        row = PersonRecord(profile.record_id, "RECO_ID_1", "ann_lee", "/db/x")
        entry = JournalEntry("000-2", "RECO_ID_1", "", "folder", drop=("b.png", "b-aug01.png"))
        stores.records.commit(row, entry, Details(profile, (PhotoFacts("c.png", Source.PEOPLE),)))
        facts = stores.people.photos(profile.record_id)
        assert facts == {"a.png": first, "c.png": PhotoFacts("c.png", Source.PEOPLE)}

    def test_digests_of_photos_come_and_go(self, stores: Stores) -> None:
        profile = stores.enroll(1)
        number, people = profile.record_id, stores.people
        assert people.digests(number) == {}
        row = PersonRecord(number, "RECO_ID_1", "ann_lee", "/db/x")
        some = {"a.png": b"1" * 16, "b.png": b"2" * 16}
        stores.records.commit(row, JournalEntry("000-2", "RECO_ID_1", "", "folder"), Details(profile, digests=some))
        assert people.digests(number) == some
        entry = JournalEntry("000-3", "RECO_ID_1", "", "folder", drop=("a.png",))
        other = {"b.png": b"3" * 16, "c.png": b"4" * 16}
        stores.records.commit(row, entry, Details(profile, digests=other))
        assert people.digests(number) == other
        people.note_digests(number, some)
        assert people.digests(number) == some and people.digests(number + 1) == {}
        people.forget([profile])
        assert people.digests(number) == {}

    def test_an_erasure_takes_all_of_it(self, stores: Stores) -> None:
        gone, other = (stores.enroll(n, labels=("a",), photos=[PhotoFacts("a.png")]) for n in (1, 2))
        record = stores.records.find("RECO_ID_1")
        stores.records.erase(record, JournalEntry("000-3", "RECO_ID_1", "", "folder", erases=("folder",)))
        assert stores.people.find(gone.record_id) is None and stores.people.photos(gone.record_id) == {}
        assert stores.all(9, label="a") == [["Ann Lee"]] and stores.people.photos(other.record_id)

    def test_all_are_listed_once_in_pages(self, stores: Stores) -> None:
        names = [f"P {number}" for number in (5, 1, 4, 2, 3)]
        for number, name in enumerate(names, 1):
            stores.enroll(number, name)
        assert stores.all(2) == [names[:2], names[2:4], names[4:]]
        assert stores.all(5) == [names]

    def test_a_prefix_finds_names_in_their_order_whatever_the_case(self, stores: Stores) -> None:
        for number, name in enumerate(["anna", "Ann", "ANN", "An", "Bob", "Ännchen", "ann"], 1):
            stores.enroll(number, name)
        assert stores.all(2, name_prefix="aNn") == [["Ann", "ANN"], ["ann", "anna"]]
        assert stores.all(9, name_prefix="änn") == [["Ännchen"]]
        assert stores.all(9, name_prefix="%") == stores.all(9, name_prefix="a_") == []

    def test_filters_go_together(self, stores: Stores) -> None:
        for number in range(1, 7):
            label = ("even",) if number % 2 == 0 else ()
            stores.enroll(number, f"P {number}", labels=label, external_id=str(number // 4))
        assert stores.all(2, label="even") == [["P 2", "P 4"], ["P 6"]]
        assert stores.all(9, label="even", created_from=4) == [["P 4", "P 6"]]
        assert stores.all(1, label="even", name_prefix="p") == [["P 2"], ["P 4"], ["P 6"]]
        assert stores.all(9, external_id="1") == [["P 4", "P 5", "P 6"]]
        assert stores.all(9, created_from=2, created_before=5) == [["P 2", "P 3", "P 4"]]
        assert stores.all(9, label="odd") == stores.all(9, label="Even") == []

    def test_unknown_times_are_neither_before_nor_after(self, stores: Stores) -> None:
        stores.enroll(1, "Old", created_at=0)
        stores.enroll(2, "New")
        assert stores.all(9, created_before=99) == stores.all(9, created_from=1) == [["New"]]

    def test_profiles_that_others_have_written_stay(self, stores: Stores) -> None:
        written = stores.enroll(1, "Ann McLee", labels=("a",))
        late = Profile(written.record_id, "RECO_ID_1", "ann_mclee", "Ann Mclee")
        stores.people.add([late, Profile(99, "RECO_ID_99", "bob", "Bob")])
        assert stores.people.find(written.record_id) == written
        found = stores.people.between(0, 99)
        assert {one.record_id for one in found} == {written.record_id, 99}
        assert [one.record_id for one in stores.people.between(written.record_id, 98)] == []

    def test_a_new_name_leaves_the_rest(self, stores: Stores) -> None:
        written = stores.enroll(1, "Ann McLee", labels=("a",), external_id="x")
        stores.people.rename(Profile(written.record_id, "RECO_ID_1", "bob", "Bob"))
        found = stores.people.find(written.record_id)
        assert found and (found.display_name, found.stored_name) == ("Bob", "bob")
        assert (found.labels, found.external_id) == (("a",), "x")
        assert stores.all(9, name_prefix="bob") == [["Bob"]] and stores.all(9, name_prefix="ann") == []

    def test_who_is_merged_is_gone_as_the_photos_come(self, stores: Stores) -> None:
        ann = stores.enroll(1, labels=("a",), photos=[PhotoFacts("a.png")])
        twin = stores.enroll(2, "Ann L", labels=("b",), photos=[PhotoFacts("b.png")])
        rows = stores.records.rows_of([ann.record_id, twin.record_id])
        entry = JournalEntry("000-3", ann.person_id, "", "folder", ("a.png",))
        erasure = JournalEntry("000-4", twin.person_id, "", "other", erases=("other",))
        details = Details(replace(ann, labels=("a", "b")), (PhotoFacts("c.png", Source.UPLOAD),))
        stores.records.merge(rows[ann.record_id], entry, details, Erased(rows[twin.record_id], erasure))
        assert stores.records.find(twin.person_id) is None and stores.people.find(twin.record_id) is None
        assert stores.people.photos(twin.record_id) == {} and stores.all(9) == [["Ann Lee"]]
        found = stores.people.find(ann.record_id)
        assert found and found.labels == ("a", "b")
        assert set(stores.people.photos(ann.record_id)) == {"a.png", "c.png"}
        assert erasure in stores.records.journal(twin.person_id) and entry in stores.records.journal(ann.person_id)

    def test_forgetting_twice_is_forgetting_once(self, stores: Stores) -> None:
        written = stores.enroll(1, labels=("a",), photos=[PhotoFacts("a.png")])
        for _ in range(2):
            stores.people.forget([written])
        assert stores.people.find(written.record_id) is None and stores.all(9) == []
