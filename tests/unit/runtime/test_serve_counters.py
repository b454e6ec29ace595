"""Counts that outlive a process: what it had begun and never answered is a failure that the next one reports."""

from pathlib import Path

from fairlead_runtime.serve.counters import Counters, Edges

EDGES = Edges.of(None, None)


def counters(path: Path, writers: int = 2) -> Counters:
    return Counters(writers, EDGES, None, None, path)


def begin(path: Path, *, requests: int, answered: int) -> None:
    """A process that ends without having answered everything."""
    living = counters(path)
    for i in range(requests):
        living.writer(i % 2).started()
    for i in range(answered):
        living.writer(i % 2).answered(200, 1000)


def test_requests_that_a_crash_left_unanswered_are_failed_ones_of_the_next_process(tmp_path: Path) -> None:
    path = tmp_path / "counters"
    begin(path, requests=10, answered=7)
    arm = counters(path).arm("second", "revision")
    assert (arm.requests, arm.failed, arm.in_flight) == (3, 3, 0)


def test_they_are_counted_once(tmp_path: Path) -> None:
    path = tmp_path / "counters"
    begin(path, requests=5, answered=4)
    counters(path)
    arm = counters(path).arm("third", "revision")
    assert (arm.requests, arm.failed) == (0, 0)


def test_a_file_of_another_layout_or_of_a_living_process_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "counters"
    begin(path, requests=5, answered=0)
    other = counters(path, writers=4)
    assert other.arm("second", "revision").requests == 0
    other.writer(0).started()
    beside = counters(path, writers=4)
    beside.writer(0).answered(200, 1000)
    assert other.arm("second", "revision").requests == 0


def test_many_rows_are_counted_as_each_by_itself(tmp_path: Path) -> None:
    scores = [0.0, 0.1, 0.1 + 1e-12, 0.55, 0.9, 1.0, float("nan")] * 30
    together, single = counters(tmp_path / "together"), counters(tmp_path / "single")
    together.writer(0).predicted(scores)
    for score in scores:
        single.writer(0).predicted([score])
    assert together.simple()["rows"] == len(scores)
    assert together.predictions() == single.predictions()
