"""What counts as a face: five points that lie as a face's do, in a picture that reads best the way round they say.

MTCNN finds some faces that are turned by a quarter or a half (22 % of those upside down), and puts the landmarks of an
upright face on them: the crop is then upside down, and recognisers take such crops of different people for one. The
points alone do not give them away, for they lie as an upright face's. So the last network is asked once more how it
likes the face turned: it prefers the right way round even where it accepts another.
"""

import numpy as np

from services.common.faces import Face
from services.common.geometry import CHIP_LANDMARKS, Similarity

#: Root mean square distance of landmarks from where a face has them, over the distance of its eyes, at most. Of 2,042
#: upright faces (LFW's View 1, NUAA, deepface's test set) none has more than 0.34: a face seen from the side.
MAX_RESIDUAL = 0.4

#: Degrees by which a face may be rolled in the picture it was found in; the 2,042 are rolled by 48 at most.
MAX_ROLL = 60.0

#: Faces of this confidence are not asked again: 57 % of upright ones, and 3 of 956 found with wrong landmarks.
SURE = 0.999

#: Preference (see `preference`) below which a photo may be turned: 5 % of upright faces and 99.6 % of the 956 are.
DOUBTED = 7.0

#: Preference below which a face is none in a photo that reads best as it was sent: 0.1 % of upright faces are.
REFUSED = 1.4

#: The same where the photo had to be turned, or searched closely: there is more to be mistaken in.
WANTED = 4.0

#: The sides of the squares that are judged, over the longer side of the face's box: the first, and the second too where
#: the preference by the first is less than CLEAR.
SQUARES = 0.85, 1.15
CLEAR = 9.0

#: Probabilities this near to 0 and 1 are as certain as any.
LEAST = 1e-6


def fits_a_face(landmarks: np.ndarray) -> bool:
    """Whether five points, (5, 2), lie as those of a face that is upright, or rolled by MAX_ROLL at most."""
    fit = Similarity.fit(landmarks, np.array(CHIP_LANDMARKS))
    placed, wanted = fit.apply(landmarks), np.array(CHIP_LANDMARKS)
    eyes = wanted[1, 0] - wanted[0, 0]
    residual = float(np.sqrt(np.square(placed - wanted).sum(axis=1).mean())) / eyes
    eyes_above_mouth = placed[:2, 1].max() < placed[3:, 1].min()
    roll = abs(float(np.degrees(np.angle(fit.turn))))
    return bool(residual <= MAX_RESIDUAL and eyes_above_mouth and roll <= MAX_ROLL)


def quarter_turns(landmarks: np.ndarray) -> int:
    """By how many quarters, clockwise, a face is turned: 0 to 3, the nearest."""
    fit = Similarity.fit(landmarks, np.array(CHIP_LANDMARKS))
    return round(-float(np.angle(fit.turn)) / (np.pi / 2)) % 4


def preference(face: Face, votes: np.ndarray) -> tuple[float, int]:
    """How much more likely a face is as it stands than turned, and the best of the other ways.

    Args:
        face: as it was found.
        votes: (squares, 4): the last network's probabilities of a face, of the picture as it stands and turned
            counter-clockwise by one to three quarters.

    Returns:
        The logit of its confidence plus the mean logit as it stands, less the largest mean logit of the other ways; and
        by how many quarters, 1 to 3, that is turned.
    """
    means = _logit(votes).mean(axis=0)
    best = 1 + int(np.argmax(means[1:]))
    return float(_logit(np.array(face.confidence)) + means[0] - means[best]), best


def _logit(probabilities: np.ndarray) -> np.ndarray:
    clipped = np.clip(probabilities, LEAST, 1 - LEAST).astype(np.float64)
    logits: np.ndarray = np.log(clipped / (1 - clipped))
    return logits
