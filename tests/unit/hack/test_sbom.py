"""The bill of materials: what is inside, with the hashes that the build was held to."""

from __future__ import annotations

from pathlib import Path

import pytest
from hack.cluster import debian
from hack.cluster.shell import StepError
from hack.sbom.__main__ import IMAGES, build_bill, plain, read_pins
from hack.sbom.inside import read_dpkg, read_packages, read_release

ROOT = Path(__file__).resolve().parents[3]
PINS = "annotated-types==0.8.0 \\\n    --hash=sha256:" + "a" * 64 + "\nuvicorn[standard]==1.0 ; python_version > '3'\n"
STATUS = """Package: libc6
Status: install ok installed
Source: glibc
Architecture: amd64
Version: 2.41-12
Description: x
 Version: 9

Package: gone
Status: deinstall ok config-files
Version: 1
"""


CONTROL = """Package: zlib1g
Source: zlib (1:1.3-1)
Version: 1:1.3-1+b1
Architecture: amd64
Description: x
 Package: not-this
"""


def test_debian_packages_that_are_installed() -> None:
    assert read_dpkg(STATUS) == {"libc6": {"version": "2.41-12", "arch": "amd64", "source": "glibc"}}


def test_a_base_without_a_package_manager_has_a_file_for_each_package(tmp_path: Path) -> None:
    debian.write_list(tmp_path / "status.d", {"zlib1g": CONTROL, "tzdata": "Package: tzdata\nVersion: 2026c-0\n"})
    (tmp_path / "status.d" / "zlib1g.md5sums").write_text("0cc175b9c0f1b6a831c399e269772661  usr/lib/libz.so.1\n")
    assert read_packages(tmp_path) == {
        "tzdata": {"version": "2026c-0", "arch": "", "source": ""},
        "zlib1g": {"version": "1:1.3-1+b1", "arch": "amd64", "source": "zlib (1:1.3-1)"},
    }
    assert read_packages(tmp_path / "none") == {}


def test_which_distribution_it_is(tmp_path: Path) -> None:
    assert read_release(tmp_path / "os-release") == {}
    (tmp_path / "os-release").write_text('NAME="Debian GNU/Linux"\nVERSION_ID="13"\nID=debian\n')
    assert read_release(tmp_path / "os-release") == {"id": "debian", "version": "13"}


def test_a_root_whose_packages_cannot_be_listed_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(StepError, match="holds no package"):
        debian.read_controls(tmp_path)
    (tmp_path / "broken.deb").write_text("no archive")
    with pytest.raises(StepError, match=r"broken\.deb"):
        debian.read_controls(tmp_path)


def test_pins_with_their_hashes() -> None:
    assert read_pins(PINS) == {"annotated-types": ("0.8.0", ["a" * 64]), "uvicorn": ("1.0", [])}


def test_a_bill_names_each_package_once_and_is_the_same_again() -> None:
    found = {
        "interpreter": "3.13.5",
        "python": {"Annotated_Types": "0.8.0", "other": "1"},
        "debian": read_dpkg(STATUS) | read_dpkg(CONTROL),
        "release": {"id": "debian", "version": "13"},
    }
    bill = build_bill("fairlead-x:dev", found, read_pins(PINS))
    assert [c.get("purl", c["name"]) for c in bill["components"]] == [
        "pkg:generic/cpython@3.13.5",
        "pkg:pypi/annotated-types@0.8.0",
        "pkg:pypi/other@1",
        "debian",
        "pkg:deb/debian/libc6@2.41-12?arch=amd64&distro=debian-13&upstream=glibc",
        "pkg:deb/debian/zlib1g@1%3A1.3-1%2Bb1?arch=amd64&distro=debian-13&upstream=zlib%401%3A1.3-1",
    ]
    first = bill["components"][1]["externalReferences"][0]
    assert first["hashes"] == [{"alg": "SHA-256", "content": "a" * 64}]
    assert "externalReferences" not in bill["components"][2]
    assert build_bill("fairlead-x:dev", found, read_pins(PINS)) == bill


def test_every_requirement_of_an_image_is_pinned_with_hashes_and_names_no_index() -> None:
    for name in IMAGES:
        text = (ROOT / "requirements" / f"{name}.txt").read_text()
        pins = read_pins(text)
        assert len(pins) > 5
        assert all(hashes for _, hashes in pins.values()), name
        assert "index-url" not in text
        assert "://" not in text.replace("# via", "")
        dockerfile = (ROOT / "images" / ("operator" if name == "operator" else "runtime") / "Dockerfile").read_text()
        assert f"--require-hashes -r /build/{name}.txt" in dockerfile
        assert all(plain(pin) == pin for pin in pins)
