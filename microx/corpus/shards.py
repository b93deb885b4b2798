"""Shards: the HDF5 files of many images each, where one file an image would be too many.

A shard is laid out as the file of one video, see `microx.corpus.storage`, of which each row is
another image. ``images`` is a text in JSON that tells in the order of the rows which they are:
``video_id``, ``made_of`` and ``facts``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from microx.corpus.storage import (
    choose_faces,
    create_file,
    create_rows,
    hash_arrays,
    list_arrays,
    name_arrays,
    open_crops,
    watch,
)
from microx.errors import CorpusError
from microx.preprocessing.pipeline import VideoStream

MOST_FILES = 128
"""Files that the images of a corpus are dealt to, unless `SHARD_BYTES` asks for more (our
choice). So a run that is killed loses a small share of its work."""

SHARD_BYTES = 64 * 2**20
"""Most of the crops in a shard, which is held in memory while it is written (our choice)."""


@dataclass(frozen=True, eq=False)
class Image:
    """What a shard holds of one image.

    Parameters
    ----------
    made_of : mapping of str to str
        What it depends on: hashes by name.
    facts : dict
        See `microx.corpus.storage.write_crops`.
    arrays : mapping of str to ndarray
        By the names of the datasets, each of one row.
    """

    made_of: Mapping[str, str]
    facts: dict[str, Any]
    arrays: Mapping[str, np.ndarray]


def deal_images(video_ids: Sequence[str], image_bytes: int) -> list[list[str]]:
    """Deal images to files, in the sorted order of their ids.

    Parameters
    ----------
    video_ids : sequence of str
    image_bytes : int
        Bytes of the crops of one.

    Returns
    -------
    list of list of str
        As many in each but the last, a power of two, so that a few images more or less leave
        most of them where they are.

    Examples
    --------
    >>> deal_images(["c", "a", "b"], 3072)
    [['a'], ['b'], ['c']]
    >>> [len(ids) for ids in deal_images([str(number) for number in range(300)], 3072)][-2:]
    [4, 4]
    """
    n_each = 1
    while n_each * MOST_FILES < len(video_ids) and 2 * n_each * image_bytes <= SHARD_BYTES:
        n_each *= 2
    ids = sorted(video_ids)
    return [ids[start : start + n_each] for start in range(0, len(ids), n_each)]


def shard_path(folder: Path, number: int) -> Path:
    """Path of a shard in the folder of crops; no video_id has a ``~``."""
    return folder / f"shard~{number:05d}.h5"


def list_shards(folder: Path) -> list[Path]:
    """List the shards in the folder of crops."""
    return sorted(folder.glob("shard~*.h5"))


def preprocess_image(stream: VideoStream, made_of: Mapping[str, str]) -> Image:
    """Preprocess an image, in memory.

    Raises
    ------
    InputError, LandmarkError
        If it cannot be preprocessed.
    """
    groups = {piece.face: name_arrays(piece) for piece in watch(stream)}
    facts = choose_faces(groups, stream)
    ledger = stream.ledger
    arrays = {"timestamp": ledger.timestamp, "source_frame": ledger.source_frame}
    for face in (face["face"] for face in facts["faces"]):
        arrays |= {f"face_{face}/{name}": array for name, array in groups[face].items()}
    return Image(made_of, facts, arrays)


def write_shard(target: Path, images: Mapping[str, Image]) -> None:
    """Write images, by video_id, to a file; none if there are none.

    Raises
    ------
    CorpusError
        If the file cannot be written.
    """
    if not images:
        target.unlink(missing_ok=True)
        return
    held = list(images.values())
    with create_file(target) as file:
        for name in sorted({name for image in held for name in image.arrays}):
            rows = [row for row, image in enumerate(held) if name in image.arrays]
            array = np.concatenate([held[row].arrays[name] for row in rows])
            dataset = create_rows(file, name, array.shape[1:], array.dtype, len(held))
            dataset[rows if len(rows) < len(held) else slice(None)] = array
        file["images"] = json.dumps(
            [
                {"video_id": video_id, "made_of": dict(image.made_of), "facts": image.facts}
                for video_id, image in images.items()
            ]
        )


def read_index(path: Path) -> list[dict[str, Any]]:
    """Read which images a shard holds, in the order of its rows.

    Raises
    ------
    CorpusError
        If the file is not there or broken.
    """
    with open_crops(path) as file:
        index: list[dict[str, Any]] = json.loads(file["images"][()])
    return index


def read_shard(path: Path) -> dict[str, Image]:
    """Read all that a shard holds, by video_id.

    Raises
    ------
    CorpusError
        If the file is not there or broken.
    """
    with open_crops(path) as file:
        whole = {name: array[()] for name, array in list_arrays(file).items()}
        index = json.loads(file["images"][()])
    images = {}
    for row, image in enumerate(index):
        kept = {f"face_{face['face']}" for face in image["facts"]["faces"]}
        arrays = {
            name: array[row : row + 1]
            for name, array in whole.items()
            if "/" not in name or name.partition("/")[0] in kept
        }
        images[image["video_id"]] = Image(image["made_of"], image["facts"], arrays)
    return images


def hash_shard(path: Path) -> dict[str, str]:
    """Hash what a shard holds of each image, as `hash_crops` does the file of one.

    Raises
    ------
    CorpusError
        If the file is not there or broken.
    """
    return {
        video_id: hash_arrays(json.dumps(image.facts), image.arrays)
        for video_id, image in read_shard(path).items()
    }


def list_crops_files(out: Path) -> list[Path]:
    """List the files of crops in a corpus folder, those of videos and of images."""
    return list((out / "crops").glob("[!.]*.h5"))  # hidden ones are being written


def list_held_ids(out: Path) -> set[str]:
    """List the videos, and images, whose crops are in a corpus folder."""
    shards = set(list_shards(out / "crops"))
    held = {path.stem for path in list_crops_files(out) if path not in shards}
    for path in shards:
        with suppress(CorpusError):  # a broken one is made anew
            held |= {image["video_id"] for image in read_index(path)}
    return held
