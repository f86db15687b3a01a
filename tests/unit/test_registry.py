import sys
from pathlib import Path

import pytest

from infra_validator.config import PlatformConfig
from infra_validator.faults import Blame, FaultError, Phase
from infra_validator.runners.local_process import LocalProcessPlatform
from infra_validator.runners.registry import ENTRY_POINT_GROUP, load_platform


@pytest.fixture
def third_party(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that is really installed, as far as Python can tell."""
    (tmp_path / "nomad_platform.py").write_text(
        "class Nomad:\n"
        "    def __init__(self, settings):\n"
        "        if 'bad' in settings:\n"
        "            raise ValueError('bad: not a setting')\n"
        "        self.settings = settings\n"
    )
    metadata = tmp_path / "nomad_platform-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: nomad-platform\nVersion: 1.0\n"
    )
    (metadata / "entry_points.txt").write_text(
        f"[{ENTRY_POINT_GROUP}]\n"
        "nomad = nomad_platform:Nomad\n"
        "gone = nomad_platform.nowhere:Nomad\n"
        "lost = nomad_platform:Nothing\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "nomad_platform", raising=False)


def refusal(config: PlatformConfig) -> str:
    with pytest.raises(FaultError) as caught:
        load_platform(config)
    fault = caught.value.fault
    assert (fault.category, fault.blame, fault.phase) == (
        "configuration_invalid",
        Blame.CONFIGURATION,
        Phase.CONFIGURE,
    )
    return fault.summary


def test_the_built_in_platform() -> None:
    assert isinstance(load_platform(PlatformConfig("local_process", {})), LocalProcessPlatform)


@pytest.mark.usefixtures("third_party")
def test_a_platform_of_another_package_gets_its_settings() -> None:
    platform = load_platform(PlatformConfig("nomad", {"zone": "a", "cores": 2.0}))
    assert type(platform).__name__ == "Nomad"
    assert platform.settings == {"zone": "a", "cores": 2.0}  # type: ignore[attr-defined]


@pytest.mark.usefixtures("third_party")
@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("nomda", {}, "local_process, lost, nomad"),
        ("gone", {}, "nomad_platform.nowhere:Nomad"),
        ("lost", {}, "nomad_platform:Nothing"),
        ("nomad", {"bad": 1}, "bad: not a setting"),
        ("local_process", {"executabel": "x"}, "executabel"),
    ],
)
def test_refuses_by_name(name: str, settings: dict[str, object], said: str) -> None:
    summary = refusal(PlatformConfig(name, settings))
    assert repr(name) in summary
    assert said in summary
