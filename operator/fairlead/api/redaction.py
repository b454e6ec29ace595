"""Where the control plane finds redaction; what it does stands in `contract/redaction.py`, which pods share."""

from __future__ import annotations

from fairlead.contract.redaction import HIDDEN, redact, redact_tree, redact_words

__all__ = ["HIDDEN", "redact", "redact_tree", "redact_words"]
