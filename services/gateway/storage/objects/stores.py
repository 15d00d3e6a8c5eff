"""Photos and uploads of one installation in an object store."""

from services.common.encryption import Keyring
from services.gateway.env import Env
from services.gateway.storage.limits import UploadLimits
from services.gateway.storage.objects.bucket import Bucket
from services.gateway.storage.objects.photos import PhotoObjects
from services.gateway.storage.objects.place import BucketPlace
from services.gateway.storage.objects.uploads import UploadObjects


class ObjectStores:
    """At a place, wherever `.env` says that folders are; see Stores."""

    def __init__(self, place: BucketPlace, limits: UploadLimits, keyring: Keyring):
        bucket = Bucket(place)
        self._bucket, self._keyring = bucket, keyring
        self._uploads = UploadObjects(bucket, limits, keyring)

    def photos(self, env: Env) -> PhotoObjects:
        """See Stores."""
        return PhotoObjects(self._bucket, env.db_path, self._keyring)

    def uploads(self, env: Env) -> UploadObjects:
        """See Stores."""
        return self._uploads
