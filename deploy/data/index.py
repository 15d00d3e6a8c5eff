"""Whether people are found: asks a running embedder, whose index is its own affair."""

import random

import grpc
from sqlalchemy import select

from deploy.data.agreement import Finding
from deploy.data.installation import Installation
from services.common.database import reading
from services.common.mutual_tls import Identity, open_channel_to
from services.embedder.gallery.tables import people
from services.gateway.stages.embedder import EmbedderClient
from services.gateway.stages.types import Measure

#: People who are looked for in the index, how many in one search, and as how many of those who look most alike.
SAMPLE, TOGETHER, LOOKALIKES = 200, 20, 20

#: Seconds.
REACHED_WITHIN = 3


def findings_in_index(installation: Installation, address: str) -> list[Finding]:
    """Whether a running embedder finds people of whom there are templates, some if there are many."""
    with open_channel_to("embedder", address, Identity.of_environment(), ()) as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=REACHED_WITHIN)
        except grpc.FutureTimeoutError:
            print(f"No embedder answers on {address}: the index was not looked at.")
            return []
        return [
            Finding(person_id, "has templates, and is not found: restart the embedder")
            for person_id in _not_found(installation, EmbedderClient(channel))
            if installation.records.find(person_id)
        ]


def _not_found(installation: Installation, embedder: EmbedderClient) -> list[str]:
    with reading(installation.engine) as connection:
        ids = list(connection.scalars(select(people.c.person_id)))
    measure, missing = Measure(installation.answering(), installation.env.sim_func), list[str]()
    some = random.sample(ids, min(len(ids), SAMPLE))
    for start in range(0, len(some), TOGETHER):
        wanted = some[start : start + TOGETHER]
        by_person = {
            whose: templates for (whose, _), templates in embedder.templates_of(measure.models, wanted).items()
        }
        found = embedder.identify(measure, list(by_person.values()), top_k=LOOKALIKES).matches
        missing += sorted(set(by_person) - {match.person_id for match in found})
    return missing
