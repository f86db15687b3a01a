"""What the engine says of images and pulls: tables, and messages that it may send in any order."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra_validator.runners.docker_images import PullProgress, is_of_platform

AMD64 = {"Os": "linux", "Architecture": "amd64", "Variant": ""}
ARM64 = {"Os": "linux", "Architecture": "arm64", "Variant": "v8"}
ARM_V7 = {"Os": "linux", "Architecture": "arm", "Variant": "v7"}


@pytest.mark.parametrize(
    ("asked", "image", "expected"),
    [
        ("linux/amd64", AMD64, True),
        ("linux/x86_64", AMD64, True),
        ("Linux/AMD64", AMD64, True),
        ("linux", AMD64, True),
        ("amd64", AMD64, True),
        ("windows/amd64", AMD64, False),
        ("windows", AMD64, False),
        ("linux/arm64", AMD64, False),
        ("arm64", AMD64, False),
        ("linux/arm64", ARM64, True),
        ("linux/aarch64", ARM64, True),
        ("linux/arm64/v8", ARM64, True),
        ("linux/arm/v7", ARM_V7, True),
        ("linux/arm/v6", ARM_V7, False),
        ("linux/arm/v7", ARM64, False),
        # Images made by older tools do not say all of it.
        ("linux/arm64/v8", {"Os": "linux", "Architecture": "arm64"}, True),
        ("linux/amd64", {"Os": "linux", "Architecture": ""}, True),
        ("linux/amd64", {}, True),
    ],
)
def test_whether_an_image_is_for_a_platform(
    asked: str, image: dict[str, str], expected: bool
) -> None:
    assert is_of_platform(asked, image) is expected


def message(status: str, layer: str | None = None, **detail: Any) -> dict[str, Any]:
    return {"status": status, "progressDetail": detail, **({"id": layer} if layer else {})}


FROM = message("Pulling from tensorflow/serving", "2.16.1")
MB = 10**6


@pytest.mark.parametrize(
    ("messages", "text"),
    [
        ([], "waiting for the registry"),
        ([FROM], "waiting for the registry"),
        ([FROM, message("Pulling fs layer", "a")], "0 of 1 layers, 0 MB"),
        (
            [
                message("Already exists", "a"),
                message("Pulling fs layer", "b"),
                message("Downloading", "b", current=3 * MB, total=9 * MB),
            ],
            "1 of 2 layers, 3 of 9 MB",
        ),
        # The engine loads three layers at a time; of the fourth it knows no size yet.
        (
            [
                message("Downloading", "a", current=3 * MB, total=9 * MB),
                message("Waiting", "b"),
            ],
            "0 of 2 layers, 3 MB",
        ),
        (
            [
                message("Downloading", "a", current=3 * MB, total=9 * MB),
                message("Verifying Checksum", "a"),
                message("Download complete", "a"),
                message("Extracting", "a", current=1 * MB, total=9 * MB),
            ],
            "0 of 1 layers, 9 of 9 MB",
        ),
        (
            [
                message("Downloading", "a", current=3 * MB, total=9 * MB),
                message("Pull complete", "a"),
                message("Digest: sha256:00"),
                message("Status: Downloaded newer image for a"),
            ],
            "1 of 1 layers, 9 of 9 MB",
        ),
        # A registry that does not say how much comes (moby sends -1, or nothing).
        ([message("Downloading", "a", current=3 * MB, total=-1)], "0 of 1 layers, 3 MB"),
        ([{"status": "Downloading", "id": "a"}], "0 of 1 layers, 0 MB"),
        ([message("Downloading", "a", current=None, total=None)], "0 of 1 layers, 0 MB"),
        ([{}, {"status": None, "id": None}], "waiting for the registry"),
    ],
)
def test_how_far_a_pull_is(messages: list[dict[str, Any]], text: str) -> None:
    progress = PullProgress()
    for each in messages:
        progress.add(each)
    assert str(progress) == text


@given(
    st.lists(
        st.fixed_dictionaries(
            {},
            optional={
                "status": st.sampled_from(
                    ["Downloading", "Extracting", "Pull complete", "Already exists", "?", "", None]
                ),
                "id": st.sampled_from(["a", "b", "", None, 7]),
                "progressDetail": st.one_of(
                    st.none(),
                    st.fixed_dictionaries(
                        {},
                        optional={
                            "current": st.one_of(st.none(), st.integers(-5, 10**12)),
                            "total": st.one_of(st.none(), st.integers(-5, 10**12)),
                        },
                    ),
                ),
            },
        )
    )
)
def test_no_message_breaks_it(messages: list[dict[str, Any]]) -> None:
    progress = PullProgress()
    for each in messages:
        progress.add(each)
    assert str(progress)
