"""The server of one model version: answers predictions, counts them for the judge, captures them for drift.

Layers, each knowing only those above it: `signature`, `ids`, `counters`, `http` (the wire) -> `columns`, `models`
(what a model needs and gives) -> `predict`, `oip` (the public endpoints), `control`, `capture` -> `process`.
A prediction never passes through pydantic, a DataFrame or a framework: those were measured to be the cost.
"""
