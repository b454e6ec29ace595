"""No value of a user leads to another's folder in the store: each part of a key is one name, or there is no key."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.contract import keys

PARTS = st.one_of(
    st.text(min_size=1, max_size=20),
    st.sampled_from(["..", ".", "a/b", "../other", "a/../../other", "\\", "a\nb", "x\0y", "/", "a b", "ünï", "%2e%2e"]),
)
FOLDERS = {
    keys.dataset_revision: 3, keys.snapshot_attempts: 2, keys.snapshot_attempt: 3, keys.run: 3, keys.model: 3,
    keys.models: 1, keys.evaluation: 3, keys.captures: 5, keys.feedback: 4, keys.report: 3,
}  # fmt: skip


@pytest.mark.parametrize("build", FOLDERS, ids=lambda build: build.__name__)
@settings(deadline=None)
@given(data=st.data())
def test_a_part_is_one_name_or_refused(build: object, data: st.DataObject) -> None:
    parts = data.draw(st.lists(PARTS, min_size=FOLDERS[build], max_size=FOLDERS[build]))  # type: ignore[index]
    try:
        key = build(*parts)  # type: ignore[operator]
    except ValueError:
        return
    segments = key.rstrip("/").split("/")
    assert not {"", ".", ".."} & set(segments)
    plain = [part.removeprefix("sha256:") for part in parts]
    assert [part for part in segments if part not in ("attempts", "feedback")][1:] == [
        part for part in plain if part not in ("attempts", "feedback")
    ]


def test_what_all_folders_begin_with() -> None:
    assert keys.report("team", "drift", "").rstrip("/") == "reports/team/drift"
    with pytest.raises(ValueError, match="cannot be part of a key"):
        keys.model("team", "../other", "sha256:aa")
