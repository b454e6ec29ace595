"""The bill of materials: what is inside, with the hashes that the build was held to."""

from __future__ import annotations

from pathlib import Path

from hack.sbom.__main__ import IMAGES, build_bill, plain, read_pins
from hack.sbom.inside import read_dpkg

ROOT = Path(__file__).resolve().parents[3]
PINS = "annotated-types==0.8.0 \\\n    --hash=sha256:" + "a" * 64 + "\nuvicorn[standard]==1.0 ; python_version > '3'\n"
STATUS = """Package: libc6
Status: install ok installed
Version: 2.41-12
Description: x
 Version: 9

Package: gone
Status: deinstall ok config-files
Version: 1
"""


def test_debian_packages_that_are_installed() -> None:
    assert read_dpkg(STATUS) == {"libc6": "2.41-12"}


def test_pins_with_their_hashes() -> None:
    assert read_pins(PINS) == {"annotated-types": ("0.8.0", ["a" * 64]), "uvicorn": ("1.0", [])}


def test_a_bill_names_each_package_once_and_is_the_same_again() -> None:
    found = {
        "interpreter": "3.13.5",
        "python": {"Annotated_Types": "0.8.0", "other": "1"},
        "debian": {"libc6": "2.41-12"},
    }
    bill = build_bill("fairlead-x:dev", found, read_pins(PINS))
    assert [c["purl"] for c in bill["components"]] == [
        "pkg:generic/cpython@3.13.5",
        "pkg:pypi/annotated-types@0.8.0",
        "pkg:pypi/other@1",
        "pkg:deb/debian/libc6@2.41-12",
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
