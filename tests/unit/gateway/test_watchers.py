"""Who watches is told what happens, in bounds."""

import threading
from collections.abc import Iterator
from concurrent import futures

import grpc
import pytest
from reco.gateway.v1 import events_pb2 as pb
from reco.gateway.v1 import events_pb2_grpc

from services.common.interceptor import Boundary
from services.common.metrics import Metrics
from services.common.tracing import NoTracing
from services.gateway.access.audit import Event
from services.gateway.api.events import EventsServicer
from services.gateway.events.watchers import TooManyWatchers, Watchers, WatcherTooSlow

ENROLLED = Event("door", "enroll", "RECO_ID_1", "created", "r-1")
SPOOF = Event("door", "verify", "RECO_ID_2", "spoof", "r-2")
UPLOAD = Event("door", "upload", "RECO_ID_2", "saved 1 of 1", "r-2")


def test_a_watcher_is_told_what_a_webhook_is():
    watchers = Watchers()
    watchers.tell(ENROLLED)  # nobody watches yet
    with watchers.watch() as one, watchers.watch() as other:
        for event in (UPLOAD, SPOOF):
            watchers.tell(event)
        for watcher in (one, other):
            notice = watcher.next(1)
            assert notice and (notice.type, notice.event) == ("face.spoof", SPOOF)
            assert watcher.next(0.01) is None


def test_as_many_watch_as_may():
    watchers = Watchers(most=1)
    with watchers.watch(), pytest.raises(TooManyWatchers), watchers.watch():
        pass
    with watchers.watch():
        pass


def test_who_does_not_read_is_told_and_holds_nothing_up():
    watchers = Watchers(waiting=2)
    with watchers.watch() as slow:
        for _ in range(3):
            watchers.tell(ENROLLED)
        with pytest.raises(WatcherTooSlow):
            slow.next(1)


@pytest.fixture
def watchers() -> Watchers:
    return Watchers(most=2)


@pytest.fixture
def stub(watchers: Watchers) -> Iterator[events_pb2_grpc.EventsServiceStub]:
    """A real server, whose streams last a second."""
    interceptors = [Boundary(Metrics("test").calls, NoTracing())]
    server = grpc.server(futures.ThreadPoolExecutor(4), interceptors=interceptors)
    events_pb2_grpc.add_EventsServiceServicer_to_server(EventsServicer(watchers, longest=1.0), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield events_pb2_grpc.EventsServiceStub(channel)
    server.stop(None).wait()


def test_a_stream_brings_what_was_asked_for_until_it_ends(watchers: Watchers, stub: events_pb2_grpc.EventsServiceStub):
    stream = stub.WatchEvents(pb.WatchEventsRequest(types=["face.spoof"]))
    stream.initial_metadata()
    for event in (ENROLLED, SPOOF, SPOOF):
        watchers.tell(event)
    told = list(stream)
    assert [(one.type, one.person_id, one.key, one.request_id) for one in told] == [
        ("face.spoof", "RECO_ID_2", "door", "r-2")
    ] * 2
    assert told[0].event_id != told[1].event_id and told[0].HasField("time")


def test_a_type_that_is_none_is_refused(stub: events_pb2_grpc.EventsServiceStub):
    with pytest.raises(grpc.RpcError) as refused:
        list(stub.WatchEvents(pb.WatchEventsRequest(types=["face"])))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT and "person.enrolled" in refused.value.details()


def test_who_goes_makes_room(watchers: Watchers, stub: events_pb2_grpc.EventsServiceStub):
    streams = [stub.WatchEvents(pb.WatchEventsRequest()) for _ in range(2)]
    for stream in streams:
        stream.initial_metadata()
    with pytest.raises(grpc.RpcError) as refused:
        list(stub.WatchEvents(pb.WatchEventsRequest()))
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    for stream in streams:
        stream.cancel()
    free, until = threading.Event(), 100
    while not free.wait(0.05) and until:
        until -= 1
        try:
            with watchers.watch():
                free.set()
        except TooManyWatchers:
            continue
    assert free.is_set()
