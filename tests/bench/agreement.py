"""How well the tracker agrees with OpenFace on the real clips; for tests and ``make bench``."""

import cv2
import numpy as np

from microx.preprocessing.landmarks import outer_eye_distance, read_openface_csv
from microx.preprocessing.tracking.dlib import DlibTracker
from microx.preprocessing.tracking.shots import CutFinder
from microx.preprocessing.video import read_frames


class Watched:
    """What a tracker reported of a film: `faces` a frame, `identities` and `rejected` in all."""

    def __init__(self, frames):
        tracker, cuts = DlibTracker(), CutFinder()
        self.faces, self.identities, self.rejected, self.cuts = [], {}, set(), []
        for index, rgb in enumerate(frames):
            cut = cuts.is_cut(rgb[..., 1])
            self.cuts += [index] * cut
            sighting = tracker.locate(rgb, cut=cut)
            self.faces.append(sighting.faces)
            self.identities |= sighting.identities
            self.rejected |= sighting.rejected

    def frames_of(self, segment):
        return [index for index, faces in enumerate(self.faces) if segment in faces]

    def identity_by_frame(self):
        """Identity in each frame, of films that show one face at a time; -1 for none."""
        known = [
            [self.identities[s] for s in faces if s in self.identities] for faces in self.faces
        ]
        return [one[0] if one else -1 for one in known]

    @property
    def n_frames_with_a_face(self):
        return sum(identity >= 0 for identity in self.identity_by_frame())


def read_film(path):
    """Every frame of a video, ``(H, W, 3)`` uint8 RGB."""
    return [frame.rgb for frame in read_frames(path)]


def find_video(real_data, name):
    """The clip of ``videos/`` whose name ends so."""
    return next((real_data / "videos").glob(f"*{name}.*"))


def compare_with_openface(real_data):
    """Compare with OpenFace's own CSVs on CREMA-D and single_face.

    Returns
    -------
    errors : ndarray
        For each frame, the mean distance of the points in outer-eye distances.
    ratios : ndarray
        For each clip, the motion from frame to frame over OpenFace's, where the face is still:
        in the quarter of steps in which its image changes least.
    """
    errors, ratios = [], []
    paths = [*sorted((real_data / "cremad").glob("*.flv")), find_video(real_data, "single_face")]
    for path in paths:
        table = read_openface_csv(real_data / "openface_csv" / f"{path.stem}.csv")
        frames = read_film(path)
        found = np.array([faces[0].xy for faces in Watched(frames).faces])
        distance = np.linalg.norm(found - table.xy, axis=2).mean(axis=1)
        errors.append((distance / outer_eye_distance(table.xy))[table.success])
        still = _still_steps(frames, table.xy)
        ratios.append(_motion(found)[still].mean() / _motion(table.xy)[still].mean())
    return np.concatenate(errors), np.array(ratios)


def _motion(xy):
    return np.linalg.norm(np.diff(xy, axis=0), axis=2).mean(axis=1)


def _still_steps(frames, xy):
    changes = []
    for before, now, points in zip(frames, frames[1:], xy[1:], strict=False):
        left, top = points.min(axis=0).astype(int)
        right, bottom = points.max(axis=0).astype(int)
        soft = [cv2.GaussianBlur(f[top:bottom, left:right], (0, 0), 2) for f in (before, now)]
        changes.append(cv2.absdiff(*soft).mean())
    return np.array(changes) <= np.quantile(changes, 0.25)
