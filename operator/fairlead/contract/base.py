"""The base of every shared model, and content digests.

Field names are snake_case in Python and camelCase in JSON; unknown fields are ignored, so that an
older reader survives a newer writer.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

CONTRACT_VERSION = 1

Name = Annotated[str, Field(min_length=1, max_length=63)]
# What becomes part of a key in the store or of a label has no separator in it, so that it cannot lead elsewhere.
ObjectName = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")]
Family = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$")]
RevisionName = Annotated[str, Field(max_length=80, pattern=r"^[A-Za-z0-9:]*$")]
ColumnName = Annotated[str, Field(min_length=1, max_length=128)]
Text = Annotated[str, Field(max_length=1024)]
Uri = Annotated[str, Field(min_length=1, max_length=2048)]
Digest = Annotated[str, Field(max_length=80)]
Percent = Annotated[int, Field(ge=0, le=100)]
# So many digits that 16 characters stay under 6,000 years: a time beyond the year 9999 cannot be reckoned with.
Duration = Annotated[str, Field(max_length=16, pattern=r"^([0-9]{1,9}(ms|s|m)|[0-9]{1,6}(h|d))+$")]
Quantity = Annotated[str, Field(max_length=32, pattern=r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$")]


class Model(BaseModel):
    """Immutable, camelCase on the wire, tolerant of unknown fields."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, frozen=True, extra="ignore", protected_namespaces=()
    )

    def to_json_object(self) -> dict[str, Any]:
        """Return the wire form: camelCase keys, no nulls."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


def canonical_json(value: Any) -> bytes:
    """Return the one byte string that stands for `value`: sorted keys, no white space, UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def digest_of(value: Any) -> str:
    """Return `sha256:<hex>` of the canonical JSON of a model or a plain JSON value."""
    plain = value.to_json_object() if isinstance(value, Model) else value
    return "sha256:" + hashlib.sha256(canonical_json(plain)).hexdigest()


def short(digest: str, length: int = 10) -> str:
    """Return the first `length` hex digits of a digest, for names."""
    return digest.removeprefix("sha256:")[:length]


_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def duration_s(text: str) -> float:
    """Return the seconds in a duration such as `90s`, `1h30m` or `2d`; raise ValueError on anything else."""
    total, number, unit = 0.0, "", ""
    for char in text + "0":
        if char.isdigit():
            if unit:
                if unit not in _UNIT_S or not number:
                    raise ValueError(f"not a duration: {text!r}; write for instance 30s, 15m, 24h or 7d")
                total, number, unit = total + int(number) * _UNIT_S[unit], "", ""
            number += char
        else:
            unit += char
    if not text or not text[-1].isalpha():
        raise ValueError(f"not a duration: {text!r}; write for instance 30s, 15m, 24h or 7d")
    return total


_SUFFIX = {
    "": 1.0, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12,
    "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40,
}  # fmt: skip


def quantity(text: str) -> float:
    """Return the number in a Kubernetes quantity such as `500m`, `2` or `256Mi`."""
    digits = text.rstrip("mkMGTKi")
    return float(digits) * _SUFFIX[text[len(digits) :]]
