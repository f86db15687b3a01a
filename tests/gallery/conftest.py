"""Models of the gallery, made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.gallery.room import Models, Room


@pytest.fixture(scope="session")
def gallery_models(saved_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Models:
    """Good and troubled models."""
    return Models.make(saved_model, tmp_path_factory.mktemp("gallery"))


@pytest.fixture
def room(gallery_models: Models, split: Path, stand_in: str, tmp_path: Path) -> Room:
    """A case's own folder."""
    folder = tmp_path / "room"
    folder.mkdir()
    return Room(gallery_models, split, stand_in, folder)
