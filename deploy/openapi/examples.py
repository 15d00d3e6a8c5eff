"""A request for each operation, which the tests send: by the method's name its path, query and body."""

from typing import Any

#: Stands for the base64 of a picture: real ones are long.
PICTURE = "<base64 of a JPEG file>"

#: The same of a face as it is kept.
FACE = "<base64 of a PNG file>"

_PERSON = {"person_id": "RECO_ID_000023"}
_OPERATION = {"operation_id": "0642a1fb0c2d11-9f3c07aa"}
_PHOTO = {**_PERSON, "photo_id": "4f1c2ab09d3e-001"}

EXAMPLES: dict[str, dict[str, Any]] = {
    "ListPeople": {"query": {"page_size": 20, "name_prefix": "ann", "label": "staff"}},
    "GetPerson": {"path": _PERSON},
    "CreatePerson": {
        "body": {
            **_PERSON,
            "display_name": "Ann McLee",
            "labels": ["staff"],
            "photos": [{"name": "ann.jpg", "image": PICTURE}],
            "request_id": "9d0e4c1a",
        }
    },
    "UpdatePerson": {"path": _PERSON, "query": {"update_mask": "labels"}, "body": {"labels": ["staff", "berlin"]}},
    "DeletePerson": {"path": _PERSON},
    "ListPhotos": {"path": _PERSON},
    "GetPhoto": {"path": _PHOTO},
    "GetPhotoImage": {"path": _PHOTO},
    "AddPhotos": {"path": _PERSON, "body": {"photos": [{"name": "two.jpg", "image": PICTURE}]}},
    "DeletePhoto": {"path": _PHOTO, "query": {"delete_person": False}},
    "ListConflicts": {"query": {"page_size": 20}},
    "MergePerson": {"path": _PERSON, "body": {"other_person_id": "RECO_ID_000024"}},
    "DetectFaces": {"body": {"image": PICTURE, "check_liveness": True}},
    "CompareFaces": {"body": {"image": PICTURE, "other_image": PICTURE}},
    "IdentifyFaces": {"body": {"image": PICTURE, "top_k": 3, "labels": ["staff"]}},
    "VerifyFace": {"path": _PERSON, "body": {"image": PICTURE, "skip_liveness": True}},
    "ExportPeople": {"query": {"include_templates": True}},
    "ImportPeople": {
        "body": {
            "people": [
                {
                    "person": {"person_id": "RECO_ID_000025", "display_name": "Eve Lee"},
                    "photos": [{"photo_id": "4f1c2ab09d3e-001", "image": FACE}],
                }
            ]
        }
    },
    "ListOperations": {},
    "StartRebuild": {"body": {}},
    "GetOperation": {"path": _OPERATION},
    "CancelOperation": {"path": _OPERATION, "body": {}},
    "GetActivity": {},
    "ListKeys": {},
    "CreateKey": {"body": {"name": "door", "role": "verify", "lifetime": "90d"}},
    "RevokeKey": {"path": {"name": "door"}, "body": {}},
    "ListAuditEntries": {"query": {"page_size": 20}},
    "UploadPhotos": {"body": {**_PERSON, "photos": [{"name": "ann.jpg", "image": PICTURE}]}},
    "ListUploads": {"query": {"page_size": 20}},
    "DeleteUpload": {"path": {"upload_id": "RECO_ID_000023-482019384756102938"}},
    "EnrollPerson": {"body": {"upload_id": "RECO_ID_000023-482019384756102938", "name": "Ann McLee"}},
    "VerifyPerson": {"body": {"upload_id": "RECO_ID_000023-482019384756102938", "skip_liveness": True}},
}
