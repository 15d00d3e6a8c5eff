"""The typed API's events, reco.gateway.v1.EventsService."""

import time
from collections.abc import Iterator

import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from reco.gateway.v1 import events_pb2 as pb
from reco.gateway.v1 import events_pb2_grpc

from services.gateway.errors import InvalidField
from services.gateway.events.notice import TYPES, Notice
from services.gateway.events.watchers import Watchers

#: Seconds after which a stream ends, and between looks whether its reader is still there.
LONGEST, LOOK = 600.0, 0.5


class EventsServicer(events_pb2_grpc.EventsServiceServicer):
    """What happens, as it happens."""

    def __init__(self, watchers: Watchers, longest: float = LONGEST):
        self._watchers = watchers
        self._longest = longest

    def WatchEvents(self, request: pb.WatchEventsRequest, context: grpc.ServicerContext) -> Iterator[pb.PersonEvent]:
        known = set(TYPES.values())
        if unknown := sorted(set(request.types) - known):
            raise InvalidField("types", f"{unknown[0]!r} is none: there are {', '.join(sorted(known))}")
        wanted, until = set(request.types) or known, time.monotonic() + self._longest
        with self._watchers.watch() as watcher:
            context.send_initial_metadata(())  # from now on nothing is missed
            while context.is_active() and time.monotonic() < until:
                notice = watcher.next(LOOK)
                if notice and notice.type in wanted:
                    yield _from_notice(notice)


def _from_notice(notice: Notice) -> pb.PersonEvent:
    when = Timestamp()
    when.FromNanoseconds(notice.moment)
    return pb.PersonEvent(
        event_id=notice.notice_id,
        type=notice.type,
        time=when,
        person_id=notice.event.person,
        key=notice.event.key,
        request_id=notice.event.request,
    )
