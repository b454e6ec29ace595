"""The tree of a namespace."""

from __future__ import annotations

from fairlead.cli.tree import render_tree

from .objects import world

GOLDEN = """\
Dataset tx                  Ready Valid                77,911 rows, revision 111111111111
├─ TrainingRun fraud-2      Ready Succeeded            on revision 111111111111
│  └─ ModelVersion fraud-2  Ready InProduction         bytes bbbbbbbbbbbb; gates 2/2 passed; stable in fraud
├─ TrainingRun fraud-2611   Working Training           on revision 111111111111; trial 3 of 20; started by DriftMonitor fraud: Drift
└─ TrainingRun fraud-3      Ready Succeeded            on revision 111111111111
   └─ ModelVersion fraud-3  Stalled RejectedByService  bytes cccccccccccc; gates 2/2 passed; refused by fraud
Dataset gone                Missing
└─ TrainingRun lonely       Working DatasetMissing
ModelVersion imported       Ready Approved             bytes dddddddddddd; gates 2/2 passed
InferenceService fraud      Stalled RolledBack         serves fraud-2; asked for the newest approved fraud
└─ DriftMonitor fraud       Ready Monitoring           DataDrift; retrained by fraud-2611
InferenceService absent     Missing
└─ DriftMonitor blind       Ready Monitoring           DataDrift"""  # noqa: E501 - what people see


def test_a_namespace_is_shown_as_it_hands_over() -> None:
    assert render_tree(world()) == GOLDEN


def test_an_empty_namespace_says_so() -> None:
    assert render_tree({}) == "No objects of Fairlead in this namespace."
