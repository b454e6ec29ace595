"""Writes what the chart takes from the code: CRDs and the operator's roles. Called by `make generate`."""

from __future__ import annotations

from pathlib import Path

from fairlead.api.crd import write_crds
from fairlead.app.rbac import LEASE_RULES, OPERATOR_RULES, rules_yaml

CHART = Path(__file__).resolve().parent.parent / "charts" / "fairlead" / "files"


def main() -> None:
    """Write `charts/fairlead/files`."""
    write_crds(CHART / "crds")
    (CHART / "rules-operator.yaml").write_text(rules_yaml(OPERATOR_RULES))
    (CHART / "rules-lease.yaml").write_text(rules_yaml(LEASE_RULES))


if __name__ == "__main__":
    main()
