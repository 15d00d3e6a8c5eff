"""The numeric codes of the legacy contract and their texts, to the letter."""

MESSAGES: dict[int, str] = {
    100: "None of the matching IDs in the DB matched what was given.",
    107: "Endpoint request needs to be www-form-urlencoded, or form is empty.",
    108: "Acceptable upload_db endpoint www-form-urlencoded keys| upload_id, name, delete_pickles, rebuild_db, in_place.",
    109: "Acceptable verify endpoint www-form-urlencoded keys| upload_id, skip_verify, skip_db_search, skip_liveness",
    110: "No args provided for upload_imgs endpoint, or id arg must be provided through upload_imgs?id=",
    111: "Length of img_paths is zero.",
    113: "Path in the MySQL database doesn't exist in the image database.",
    116: "Problem getting ID, please check MySQL settings.",
    117: "Length of uploaded files was zero.",
    119: "Files uploaded successfully.",
    120: "All the files were rejected due to not meeting score criteria.",
    126: "Regex matched ID.",
    127: "Regex didn't match ID.",
    134: "After a search in the DB, the ID matched with what was found.",
    143: "Both skip_verify and skip_db_search set to True. One must be False.",
    150: "Insert into MySQL failed. Please check your settings.",
    152: "Failed to detect face in any of the images or all contained more than one face.",
    153: "At least one of the images doesn't exist. Consult log.",
    155: "Database connection error. Consult log.",
    176: "There was problem with .env file on the server.",
    178: "Problem loading liveness detection model. Check your URL.",
    189: "Folder already uploaded to DB. Can't verify to upload again. Or it does not exist at all!",
    193: "There was a problem with base64 string.",
    200: "Image successfully verified.",
    500: "Image failed to verify and DB search was not enabled or was not a success.",
    560: "All faces were spoof.",
    630: "Could not detect a face in any of the images.",
    800: "ID successfully inserted to db.",
    838: "ID successfully inserted into DB. in_place was needlessly enabled.",
    850: "ID successfully inserted to db. in_place was disabled, so the files were added to the previous ones.",
    900: "ID already exists in db and in_place was set to true. Folder deleted and DB path replaced.",
}

#: What became of a cached representation or a search index.
CACHE_DELETED, CACHE_GONE, INDEX_REBUILT = 670, 604, 167

#: Why the pipeline refused (RecoError.reason) → code. A reason that is not here is no business of the contract and stays
#: an HTTP error.
CODE_OF_REASON: dict[str, int] = {
    "ENV_INVALID": 176,
    "MODEL_UNAVAILABLE": 176,
    "PERSON_ID_INVALID": 127,
    "NAME_INVALID": 108,
    "NOTHING_TO_DO": 143,
    "NO_PHOTOS": 117,
    "UPLOAD_UNKNOWN": 189,
    "PHOTO_MISSING": 153,
    "UPLOAD_EMPTY": 111,
    "NO_FACE": 630,
    "NO_SINGLE_FACE": 152,
    "LIVENESS_MODEL_UNAVAILABLE": 178,
    "DATABASE_UNAVAILABLE": 155,
    "NOT_ENROLLED": 116,
    "PERSON_FOLDER_MISSING": 113,
    "RECORD_REFUSED": 150,
    "ERASURE_INCOMPLETE": 150,
}
