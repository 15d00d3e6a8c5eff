"""The pipeline behind both APIs."""

from dataclasses import dataclass

from services.gateway.pipeline.enroll import Enroller
from services.gateway.pipeline.rebuild import Rebuilder
from services.gateway.pipeline.reconcile import Reconciler
from services.gateway.pipeline.upload import Uploader
from services.gateway.pipeline.verify import Verifier


@dataclass(frozen=True)
class Pipeline:
    """What can be done with a workspace. Every part is safe to use from several threads."""

    uploader: Uploader
    enroller: Enroller
    verifier: Verifier
    rebuilder: Rebuilder
    reconciler: Reconciler
