"""The recipe of a corpus: every setting of the pipeline that changes its crops."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from microx.errors import InputError
from microx.preprocessing.occlusion.occluder import parse_occlusions
from microx.preprocessing.openface import OpenFace, find_openface
from microx.preprocessing.regions import MARGIN, POLICIES, check_regions
from microx.preprocessing.tracking.faces import MAX_GAP
from microx.preprocessing.tracking.weights import find_weights
from microx.schema import CROP_SIZE, DEFAULT_REGIONS, FRAME_RATE

BACKENDS = ("dlib", "openface", "csv", "none")
FACES = ("main", "all", "cropped")

MIN_FACE = 12.0
"""Pixels between the outer eye corners below which a face is too small to crop: an eye is then four
pixels wide, and a crop of it blown up eight times shows nothing of its lids (our choice)."""

PIPELINE_VERSION = 2
"""Raised whenever the same recipe gives other crops; files of another version are redone."""


@dataclass(frozen=True)
class Recipe:
    """How crops are made: everything that changes them but the video itself.

    Parameters
    ----------
    landmarks : {"auto", "dlib", "openface", "csv", "none"}
        What finds the landmarks: the embedded tracker, the OpenFace program, or tables that
        a program wrote before. Images that are face crops already do without any where only
        the face is asked for: the crop is the whole image. "auto" stands for "none" there,
        unless something is drawn on the faces, and for "dlib" elsewhere.
    faces : {"main", "all", "cropped"}
        The face seen the most (by time and size), every face, or images that are face crops
        already, in which no face is searched for (dlib or none).
    regions : tuple of str
        Of `microx.schema.REGIONS`.
    size : int
        Pixels along a side of each crop.
    policy, margin
        See `microx.preprocessing.regions.crop_region`. Under "paper", a crop that fails
        repeats the last one of its segment, as the authors' pipeline does.
    frame_rate : float or None
        Frames a second after resampling by time; None keeps every frame at its own time.
    min_face : float
        Least distance of a face's outer eye corners in pixels; what is smaller is counted
        (`Status.SMALL_FACE`) and not cropped. 0 crops every face.
    max_gap : int
        Longest gap, in decoded frames, that is filled by interpolation.
    occlude : str
        What is drawn on the faces before they are cropped, such as ``"mask:0.5"``, see
        `microx.preprocessing.occlusion.occluder.parse_occlusions`; landmarks are found without it.
    occlude_seed : int
        Which objects, and on which videos.
    input_fps : float or None
        Frames a second of folders of images.

    Raises
    ------
    InputError
        If a value is unknown or out of its range.
    """

    landmarks: str = "auto"
    faces: str = "main"
    regions: tuple[str, ...] = DEFAULT_REGIONS
    size: int = CROP_SIZE
    policy: str = "aligned"
    margin: float = MARGIN
    frame_rate: float | None = FRAME_RATE
    min_face: float = MIN_FACE
    max_gap: int = MAX_GAP
    occlude: str = ""
    occlude_seed: int = 0
    input_fps: float | None = None

    def __post_init__(self) -> None:
        regions: object = self.regions  # despite its type, a text is a common mistake
        if isinstance(regions, str):
            raise InputError(f"`regions` must be several names; received the text {regions!r}")
        object.__setattr__(self, "regions", check_regions(self.regions))
        whole = self.faces == "cropped" and self.regions == ("face",) and not self.occlude
        if self.landmarks == "auto":
            object.__setattr__(self, "landmarks", "none" if whole else "dlib")
        for name, known in (("landmarks", BACKENDS), ("faces", FACES), ("policy", POLICIES)):
            if getattr(self, name) not in known:
                raise InputError(
                    f"`{name}` {getattr(self, name)!r} is unknown; known: {', '.join(known)}"
                )
        if self.faces == "cropped" and self.landmarks not in ("dlib", "none"):
            raise InputError("faces 'cropped' need landmarks 'dlib'; received " + self.landmarks)
        if self.landmarks == "none" and not whole:
            raise InputError(
                "landmarks 'none' are for faces 'cropped', the region face alone, and nothing "
                "drawn on it; leave `landmarks` out, or name what finds them: dlib"
            )
        for name, kind, low, high in _RANGES:
            value = getattr(self, name)
            if value is not None or name not in ("frame_rate", "input_fps"):
                object.__setattr__(self, name, _checked(name, value, kind, low, high))
        occlude: object = self.occlude
        if not isinstance(occlude, str):
            raise InputError(f"`occlude` must be text such as 'mask:0.5'; received {occlude!r}")
        parse_occlusions(self.occlude)

    @classmethod
    def of(cls, **settings: Any) -> Recipe:
        """Make a recipe of settings by name; one that does not exist raises `InputError`."""
        known = [field.name for field in fields(cls)]
        for name in settings:
            if name not in known:
                raise InputError(f"setting {name!r} is unknown; known: {', '.join(known)}")
        return cls(**settings)

    def as_dict(self) -> dict[str, Any]:
        """The recipe as JSON has it."""
        return asdict(self) | {"regions": list(self.regions)}


_RANGES: tuple[tuple[str, type, float, float], ...] = (
    ("size", int, 4, 1024),
    ("margin", float, 0, 2),
    ("frame_rate", float, 0.1, 1000),
    ("min_face", float, 0, 1000),
    ("max_gap", int, 0, 100),
    ("occlude_seed", int, 0, 2**31),
    ("input_fps", float, 0.1, 1000),
)


def _checked(name: str, value: Any, kind: type, low: float, high: float) -> float:
    """Return a number of type `kind`, so that equal recipes have equal hashes."""
    whole = "a whole number " if kind is int else ""
    try:
        number: float = kind(value)
        good = number == value and low <= number <= high
    except (TypeError, ValueError):
        good = False
    if not good:
        raise InputError(f"`{name}` must be {whole}from {low:g} to {high:g}; received {value}")
    return number


def check_backend(
    recipe: Recipe,
    *,
    openface: str | Path | OpenFace | None = None,
    landmarks_dir: str | Path | None = None,
) -> None:
    """Raise where a landmark backend cannot run at all, before any video is read.

    Raises
    ------
    LandmarkError
        If dlib's weights or the OpenFace program are not there.
    InputError
        If the folder of CSVs is not there.
    """
    if recipe.landmarks == "dlib":
        find_weights()
    elif recipe.landmarks == "openface":
        if not isinstance(openface, OpenFace):
            find_openface(openface, several=recipe.faces == "all")
    elif recipe.landmarks == "csv" and (landmarks_dir is None or not Path(landmarks_dir).is_dir()):
        raise InputError(
            f"landmarks 'csv' need a folder of CSVs; found {landmarks_dir or 'none given'}; "
            "name it with `landmarks_dir`"
        )
