"""Finds a model and examples where a person points to a folder rather than to artifacts."""

from __future__ import annotations

import dataclasses
import fnmatch
import re

from infra_validator.files import FileSystem, absolute, is_missing, storage_errors
from infra_validator.requests.examples import Examples
from infra_validator.saved_model.reader import MODEL_FILES
from infra_validator.specs import SpecError

# Where TFX's Trainer puts a model in its artifact, now and before TFX 0.27.
_ARTIFACT_FOLDERS = ("Format-Serving", "serving_model_dir")
_SPLIT_PREFIX = "Split-"
_SPLIT_NAME = "examples"
_WILDCARDS = re.compile(r"[*?\[]")


@dataclasses.dataclass(frozen=True)
class ModelPlace:
    """Where a model was found.

    Attributes:
        uri: the SavedModel's folder.
        note: what the user should know of how it was found, or None.
    """

    uri: str
    note: str | None = None


def find_model(files: FileSystem, path: str) -> ModelPlace:
    """Finds the SavedModel that a person means.

    It is the folder itself; or, in the folder of TFX's Model artifact, what
    Trainer exported there; or, in a base folder of TensorFlow Serving with
    numbered versions, the newest, as the server would take.

    Where nothing of the kind is found, the folder itself is returned: reading it
    tells what is wrong.

    A relative path becomes absolute, since a report and its commands are for other
    places too.

    Raises:
        SpecError: if there is no such folder, for sure.
    """
    path = absolute(path.rstrip("/") or path)
    try:
        with storage_errors():
            if is_missing(files, path):
                raise SpecError(f"model_dir: there is no such folder: {path}")
            if not files.isdir(path):
                raise SpecError(f"model_dir: not a folder; name the SavedModel's folder: {path}")
            return _look_for_model(files, path)
    except OSError:
        return ModelPlace(path)


def _look_for_model(files: FileSystem, path: str) -> ModelPlace:
    if _holds_model(files, path):
        return ModelPlace(path)
    for name in _ARTIFACT_FOLDERS:
        inner = f"{path}/{name}"
        if not files.isdir(inner):
            continue
        if not _holds_model(files, inner):
            inner = _exported_by_estimator(files, inner) or inner
        return ModelPlace(inner, f"{path} is a Model artifact of TFX; its model is {inner}.")
    names = _names(files, path)
    versions = sorted((name for name in names if re.fullmatch(r"\d+", name)), key=int)
    if versions and len(versions) == len(names) and files.isdir(f"{path}/{versions[-1]}"):
        newest = f"{path}/{versions[-1]}"
        return ModelPlace(
            newest,
            f"{path} holds {len(versions)} numbered version{'s' if len(versions) > 1 else ''}; "
            f"{'the newest' if len(versions) > 1 else 'it'} was taken, as TensorFlow Serving "
            f"does: {newest}.",
        )
    return ModelPlace(path)


def _exported_by_estimator(files: FileSystem, path: str) -> str | None:
    """<path>/export/<exporter>/<timestamp>, where there is only one of each."""
    inner = f"{path}/export"
    for _ in range(2):
        names = _names(files, inner) if files.isdir(inner) else []
        if len(names) != 1:
            return None
        inner = f"{inner}/{names[0]}"
    return inner if _holds_model(files, inner) else None


def _holds_model(files: FileSystem, path: str) -> bool:
    return any(files.exists(f"{path}/{name}") for name in MODEL_FILES)


def find_examples(files: FileSystem, place: str) -> Examples:
    """Finds the examples that a person means.

    `place` is the folder of TFX's Examples artifact with one folder for each
    split, a folder of TFRecord files, one file, or a pattern of file names.

    Raises:
        SpecError: if there is nothing of the kind, for sure.
    """
    place = place.rstrip("/") or place
    try:
        with storage_errors():
            if not is_missing(files, place):
                return _look_for_examples(files, place)
            return Examples({_SPLIT_NAME: _match(files, place)})
    except OSError:
        return Examples({_SPLIT_NAME: place})  # reading them tells what is wrong


def _look_for_examples(files: FileSystem, place: str) -> Examples:
    if not files.isdir(place):
        return Examples({_SPLIT_NAME: place})
    splits = [name for name in _names(files, place) if name.startswith(_SPLIT_PREFIX)]
    if splits:
        return Examples({name.removeprefix(_SPLIT_PREFIX): f"{place}/{name}" for name in splits})
    return Examples({_SPLIT_NAME: place})


def _match(files: FileSystem, pattern: str) -> tuple[str, ...]:
    folder, slash, last = pattern.rpartition("/")
    if not _WILDCARDS.search(pattern):
        raise SpecError(f"examples: there is nothing at {pattern}")
    if _WILDCARDS.search(folder):
        raise SpecError(
            f"examples: only the last part of a pattern may have wildcards, not its folder: "
            f"{pattern}"
        )
    folder = folder if slash else "."
    names = [] if is_missing(files, folder) else _names(files, folder)
    found = [f"{folder}{slash or '/'}{name}" for name in fnmatch.filter(names, last)]
    if not found:
        raise SpecError(f"examples: no file matches {pattern}")
    return tuple(found)


def _names(files: FileSystem, folder: str) -> list[str]:
    """What a folder shows, in order."""
    names = (str(name).rstrip("/") for name in files.listdir(folder))
    return sorted(name for name in names if not name.startswith("."))
