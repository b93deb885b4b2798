"""Finds the video that a sheet names: by path, by the end of a path, by name."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from microx.preprocessing.images import IMAGE_SUFFIXES
from microx.preprocessing.video import VIDEO_SUFFIXES

_ENDINGS = VIDEO_SUFFIXES | IMAGE_SUFFIXES


@dataclass(frozen=True)
class Match:
    """What a named path stands for.

    Parameters
    ----------
    path : str
        Of the video, relative to the folder; as it was named where there is none.
    reason : str
        Why there is none, else "".
    how : str
        By what it was found, where not by its path, else "".
    """

    path: str
    reason: str = ""
    how: str = ""


def match_videos(
    named: Sequence[str],
    found: Sequence[str],
    root: Path,
    beside: Path,
    *,
    by_name: bool = True,
) -> list[Match]:
    """Find the video of each named path, never one of two in silence.

    Looked for in this order: the path itself, from the folder of videos or of the sheet; the
    path with other capitals, or with another ending or none; the longest end of it that is the
    end of one video's path, for paths of another machine; its name alone, where no other video
    and no other row has that name.

    Parameters
    ----------
    named : sequence of N str
        Paths as the sheet has them, with either slash.
    found : sequence of str
        Paths of the videos relative to `root`.
    root, beside : Path
        The folder of videos, and that of the sheet.
    by_name : bool
        Whether the name alone will do for a path that names folders, too.

    Returns
    -------
    list of N Match
    """
    search = _Search(found, root, beside)
    plain = [compose(re.sub(r"[\\/]+", "/", path)).rstrip("/") or path for path in named]
    matches = [search.find_path(path) if path else None for path in plain]
    claimed = {match.path for match in matches if match}
    names = [_fold(path.rpartition("/")[2]) for path in plain]
    counts = Counter(names)
    return [
        match or search.find_name(path, claimed, by_name, counts[name] == 1)
        if path
        else Match("", "no such video")
        for match, path, name in zip(matches, plain, names, strict=True)
    ]


def compose(name: str) -> str:
    """An é is one character in a sheet and may be two in a file's name, or the reverse."""
    return unicodedata.normalize("NFC", name)


def _fold(path: str) -> str:
    """Leave out a known ending and capitals."""
    bare, ending = os.path.splitext(compose(path).casefold())
    return bare if ending in _ENDINGS else compose(path).casefold()


class _Search:
    def __init__(self, found: Sequence[str], root: Path, beside: Path) -> None:
        self.root, self.beside = root, beside
        self.by_path = {compose(path): path for path in found}
        self.folders = {compose(part).casefold() for path in found for part in path.split("/")[:-1]}
        # By every end of a path, whole and without capitals and ending.
        self.ends: tuple[dict[str, list[str]], ...] = ({}, {}, {})
        for path in found:
            for level, spelled in enumerate(_levels(compose(path))):
                parts = spelled.split("/")
                for i in range(len(parts)):
                    self.ends[level].setdefault("/".join(parts[i:]), []).append(path)

    def find_path(self, named: str) -> Match | None:
        for base in (self.root, self.beside):
            # By name only: a link inside the folder may well point out of it.
            path = Path(os.path.relpath(base / named, self.root)).as_posix()
            if path in self.by_path:
                return Match(self.by_path[path])
        for level, how in ((1, "but for capitals"), (2, "with another ending or none")):
            for base in (self.root, self.beside):
                path = _levels(Path(os.path.relpath(base / named, self.root)).as_posix())[level]
                whole = [
                    video
                    for video in self.ends[level].get(path, [])
                    if _levels(compose(video))[level] == path
                ]
                if len(whole) == 1:
                    return Match(whole[0], "", how)
                if whole:
                    return Match(named, _several(whole))
        parts = named.split("/")
        for i in range(len(parts) - 1):  # two parts or more
            for level in range(3):
                end = _levels("/".join(parts[i:]))[level]
                videos = self.ends[level].get(end, [])
                if len(videos) == 1:
                    return Match(videos[0], "", "by the end of the path")
                if videos:
                    return Match(named, _several(videos))
        return None

    def find_name(self, named: str, claimed: set[str], by_name: bool, is_only: bool) -> Match:
        """Find a video by its name alone; see `match_videos`."""
        place, _, name = named.rpartition("/")
        # Where its folder is there or told, a video that is not in it is missing.
        elsewhere = (
            not by_name
            or ".." in place.split("/")
            or _levels(place.rpartition("/")[2])[1] in self.folders
        )
        for level in range(3):
            videos = self.ends[level].get(_levels(name)[level], [])
            if place and elsewhere:
                break
            if len(videos) > 1:
                return Match(named, _several(videos))
            if videos and (not place or (is_only and videos[0] not in claimed)):
                return Match(videos[0], "", "by its name" if place or level else "")
        if any(os.path.isdir(base / named) for base in (self.root, self.beside)):
            return Match(
                named, "a folder is a video if it holds images and is given a rate: `input_fps`"
            )
        return Match(named, "no such video")


def _levels(path: str) -> tuple[str, str, str]:
    return path, path.casefold(), _fold(path)


def _several(videos: Sequence[str]) -> str:
    return f"the name fits {len(videos)} videos: {', '.join(videos[:3])}"
