"""What locks of people promise, whoever keeps them: LockFiles, DatabaseLocks, FakeLocks."""

import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest

from services.gateway.errors import Busy
from services.gateway.storage.types import STRIPES, PersonLocks, stripe_of
from tests.unit.gateway.fake_gateway import within

ANN = "ann"
#: Whom the same lock covers, and whom another does.
BEN = next(name for name in map("ben{}".format, count()) if stripe_of(name) == stripe_of(ANN))
CAT = next(name for name in map("cat{}".format, count()) if stripe_of(name) != stripe_of(ANN))


class LocksContract:
    """Tests of a pair of locks, as two gateways have them."""

    def test_one_holds_it_at_a_time_and_others_are_free(self, gateways: tuple[PersonLocks, PersonLocks]) -> None:
        with gateways[0].hold(ANN):
            gateways[0].check()
            for locks in gateways:
                for person in (ANN, BEN):
                    with pytest.raises(Busy):
                        hold(locks, person)
                hold(locks, CAT)
        for locks in gateways:
            hold(locks, ANN)
            assert not locks.lost()

    def test_all_are_held_by_the_numbers_of_their_stripes(self, gateways: tuple[PersonLocks, PersonLocks]) -> None:
        for stripes in ([stripe_of(ANN)], range(STRIPES)):
            with gateways[0].hold_stripes(*stripes), pytest.raises(Busy):
                hold(gateways[1], BEN)
            hold(gateways[1], BEN)

    def test_several_are_held_together_in_whatever_order(self, gateways: tuple[PersonLocks, PersonLocks]) -> None:
        with gateways[0].hold(CAT, ANN, BEN, ANN):
            for person in (ANN, CAT):
                with pytest.raises(Busy):
                    hold(gateways[1], person)
        people = [ANN, CAT, "dan", "eve"]
        inside, seen = threading.Semaphore(1), list[bool]()

        def take(number: int) -> None:
            with gateways[number % 2].hold(*(people if number % 3 else people[::-1])):
                seen.append(inside.acquire(blocking=False))
                inside.release()

        with ThreadPoolExecutor(8) as clients:
            list(clients.map(take, range(24)))
        assert seen == [True] * 24

    def test_who_fails_lets_go(self, gateways: tuple[PersonLocks, PersonLocks]) -> None:
        with pytest.raises(ZeroDivisionError), gateways[0].hold(ANN):
            raise ZeroDivisionError
        with gateways[1].hold(CAT), pytest.raises(Busy):
            hold(gateways[0], ANN, CAT)
        hold(gateways[1], ANN)


def hold(locks: PersonLocks, *people: str) -> None:
    """In a thread of its own, for a moment, within a request that can wait for nothing."""

    def take() -> None:
        with locks.hold(*people):
            pass

    with ThreadPoolExecutor(1) as client:
        client.submit(within, 0.9, take).result()
