"""What gate results mean together, and which champion a version is held against.

It weighs what the evaluation found and never measures. Must never let a version pass on a result that is missing, and
never choose between two champions. Used by `plan/modelversion.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fairlead.api.inferenceservice import Rejection
from fairlead.api.modelversion import VersionArtifact
from fairlead.contract.gates import Gate, GateOutcome, GateResult, OnInconclusive

from .pending_pods import Problem
from .selection import NO_OVERRIDE, Override
from .status import sentence

AMBIGUOUS_CHAMPION = "AmbiguousChampion"
INFERENCE_SERVICE_MISSING = "InferenceServiceMissing"
_NOT_MEASURED = "NotMeasured"
_LISTED = 3  # gates named in one message


@dataclass(frozen=True)
class ServiceFacts:
    """What a version has to know of an InferenceService of its namespace."""

    name: str
    model: str  # the family it serves, also when it names a version
    stable_version: str = ""
    stable_digest: str = ""
    rejected: tuple[Rejection, ...] = ()
    override: Override = NO_OVERRIDE  # the last one that it carried out, at `lifted_at`
    lifted_at: str = ""


@dataclass(frozen=True)
class Champion:
    """The stable version that a challenger is compared with."""

    version: str
    model: str
    artifact: VersionArtifact


@dataclass(frozen=True)
class Impasse:
    """No champion can be named: final until someone changes something, or only until what is missing appears."""

    problem: Problem
    final: bool


def find_champion(
    name: str, model: str, gates: Sequence[Gate], services: Sequence[ServiceFacts], known: Mapping[str, Champion]
) -> Champion | Impasse | None:
    """Return the champion that the gates compare version `name` with; None when nobody serves the model yet.

    `known` holds the ModelVersions that are stable somewhere, by name. A version is never its own champion.
    """
    chosen: dict[str, ServiceFacts] = {}
    for gate in gates:
        if gate.versus_champion is None:
            continue
        found = _service_of(gate, model, services)
        if isinstance(found, Impasse):
            return found
        if found is not None:
            chosen[found.name] = found
    stable = {s.stable_version: s for s in chosen.values() if s.stable_version and s.stable_version != name}
    if len(stable) > 1:
        message = f"Its gates name services with different stable versions ({', '.join(sorted(stable))}); name one."
        return Impasse(Problem(AMBIGUOUS_CHAMPION, message), final=True)
    for version, service in stable.items():
        return known.get(version) or Champion(version, model, VersionArtifact(digest=service.stable_digest))
    return None


def _service_of(gate: Gate, model: str, services: Sequence[ServiceFacts]) -> ServiceFacts | Impasse | None:
    wanted = gate.versus_champion.inference_service if gate.versus_champion else None
    if wanted is not None:
        named = next((service for service in services if service.name == wanted), None)
        message = (
            f"Gate {gate.name} names InferenceService {wanted}, which does not exist in this namespace; create it."
        )
        return named or Impasse(Problem(INFERENCE_SERVICE_MISSING, message), final=False)
    same = [service for service in services if service.model == model]
    if len(same) > 1:
        listed = ", ".join(sorted(service.name for service in same))
        message = (
            f"Model {model} is served by {listed}. Make a version whose gate {gate.name} names one of them in "
            "versusChampion.inferenceService."
        )
        return Impasse(Problem(AMBIGUOUS_CHAMPION, message), final=True)
    return same[0] if same else None


@dataclass(frozen=True)
class Verdict:
    """The gates by what follows from them; all empty means that every gate passed."""

    failed: tuple[GateResult, ...] = ()
    blocking: tuple[GateResult, ...] = ()  # inconclusive, and nobody may decide
    asking: tuple[GateResult, ...] = ()  # inconclusive, and a person may decide


def weigh(gates: Sequence[Gate], results: Sequence[GateResult]) -> Verdict:
    """Return what the results say of the gates that spec has; a gate without a result is inconclusive."""
    found = {result.name: result for result in results}
    failed: list[GateResult] = []
    blocking: list[GateResult] = []
    asking: list[GateResult] = []
    for gate in gates:
        result = found.get(gate.name) or _not_measured(gate)
        if result.outcome is GateOutcome.FAILED:
            failed.append(result)
        elif result.outcome is GateOutcome.INCONCLUSIVE:
            (asking if gate.on_inconclusive is OnInconclusive.REQUIRE_APPROVAL else blocking).append(result)
    return Verdict(tuple(failed), tuple(blocking), tuple(asking))


def _not_measured(gate: Gate) -> GateResult:
    message = "the evaluation left no result for this gate; is the jobs image of this operator's version?"
    return GateResult(name=gate.name, outcome=GateOutcome.INCONCLUSIVE, reason=_NOT_MEASURED, message=message)


def summary(gates: Sequence[Gate], results: Sequence[GateResult]) -> str:
    """Return such as `4/5 passed`, or "" without gates."""
    passed = sum(result.outcome is GateOutcome.PASSED for result in results)
    return f"{passed}/{len(gates)} passed" if gates else ""


def describe(results: Sequence[GateResult]) -> str:
    """Return one sentence a gate, with value, limit and rows; the first three, and how many more."""
    said = [_describe_one(result) for result in results[:_LISTED]]
    more = len(results) - _LISTED
    return " ".join([*said, f"And {more} more in status.gates."] if more > 0 else said)


def _describe_one(result: GateResult) -> str:
    verb = "failed" if result.outcome is GateOutcome.FAILED else "is inconclusive"
    facts = [f"value {result.value:g}" if result.value is not None else ""]
    facts.append(f"limit {result.limit:g}" if result.limit is not None else "")
    facts.append(f"{result.rows} rows" if result.rows else "")
    facts.append(f"about {result.missing_rows} rows missing" if result.missing_rows else "")
    inside = ", ".join(fact for fact in facts if fact)
    why = f": {result.message[:200]}" if result.message else ""
    return sentence(f"Gate {result.name} {verb}" + (f" ({inside})" if inside else "") + why)
