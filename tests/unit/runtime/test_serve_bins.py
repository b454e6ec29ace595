"""By which bins a server counts its answers for the judge, and that two versions count by the same ones."""

from bisect import bisect_right

import pytest

from fairlead_runtime.profile import ModelProfile, Profile, build_profile
from fairlead_runtime.serve.bins import MAX_CELLS, TENTHS, Bins, Grid, bins_of
from fairlead_runtime.serve.counters import Counters, Edges
from fairlead_runtime.signature import Input, Signature

INPUTS = [Input(name="x", type="Float", datatype="FP32")]


def signature(**more) -> Signature:
    return Signature(inputs=INPUTS, **more)


def profile(**columns) -> ModelProfile:
    nothing = Profile(rows=0, columns={})
    return ModelProfile(features=nothing, predictions=build_profile(columns), target=nothing)


TWO = signature(task="Classification", classes=["no", "yes"], probability_output="p")
NUMBER = signature(task="Regression")
SCORES = profile(prediction=["no", "yes"] * 500, score=[i / 1000 for i in range(1000)])


def test_a_probability_is_cut_at_the_deciles_of_its_training():
    edges = bins_of(TWO, SCORES).edges
    assert len(edges) == 9
    assert edges == pytest.approx(TENTHS, abs=0.02)
    assert bins_of(TWO, None).edges == TENTHS


def test_a_number_without_a_profile_and_a_constant_have_no_bins():
    assert bins_of(NUMBER, None) is None
    assert bins_of(NUMBER, profile(prediction=[7.0] * 100)) is None
    assert len(bins_of(NUMBER, profile(prediction=[float(i % 97) for i in range(1000)])).edges) == 9


def test_classes_are_counted_by_name_the_rest_together():
    many = [str(i) for i in range(30)]
    assert bins_of(signature(task="Classification", classes=many), None) == Bins(classes=tuple(many[:9]))
    grid = Grid([Bins(classes=("a", "b"))])
    assert [grid.class_cell(text) for text in ("A", "b", "c")] == [0, 1, 2]


def test_two_versions_are_counted_at_once_and_told_apart():
    stable, canary = Bins(edges=(0.2, 0.5, 0.8)), Bins(edges=(0.1, 0.5))
    grid = Grid([canary, stable])
    counts = [0] * grid.cells
    for score in (0.05, 0.15, 0.2, 0.49, 0.5, 0.79, 0.8, 1.0):
        counts[bisect_right(grid.edges, score)] += 1
    assert [(one.bins, one.counts) for one in grid.fold(counts)] == [
        (canary.key, [1, 3, 4]),
        (stable.key, [2, 2, 2, 2]),
    ]
    assert stable.key == Grid([stable]).fold([0, 0, 0, 0])[0].bins


def test_bins_of_another_kind_are_left_out_and_cells_stay_few():
    assert len(Grid([Bins(edges=TENTHS), Bins(classes=("a", "b"))]).bins) == 1
    assert Grid([Bins(edges=TENTHS), Bins(edges=tuple(edge + 0.03 for edge in TENTHS))]).cells == MAX_CELLS
    assert Grid([None]).cells == 0


def test_a_constant_model_is_seen_by_the_bins_of_the_version_before():
    """By its own bins it would look like its own training."""
    grid = Grid([bins_of(TWO, profile(prediction=["no"] * 9, score=[0.3] * 9)), bins_of(TWO, SCORES)])
    counters = Counters(1, Edges.of(None, None), None, grid)
    for _ in range(50):
        counters.writer(0).judged(["no"], [0.3])
    report = counters.arm("start", "revision")
    assert report.predictions[-1].bins == bins_of(TWO, SCORES).key
    assert sorted(report.predictions[-1].counts)[-2:] == [0, 50]
