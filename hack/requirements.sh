#!/usr/bin/env bash
# Pins every extra with hashes, for all platforms and Python 3.11 and newer. Called by `make requirements`.
set -euo pipefail
cd "$(dirname "$0")/.."
# A week of cooldown: a release that was pulled, or is not yet on every mirror, never gets in.
cooldown="${COOLDOWN:-$(date -u -d "7 days ago" +%Y-%m-%d)}"
for extra in operator server jobs dev; do
  uv pip compile pyproject.toml --extra "$extra" --universal --python-version 3.11 --generate-hashes \
    --exclude-newer "$cooldown" --no-emit-index-url --no-emit-find-links --no-annotate --no-header --quiet \
    --unsafe-package fairlead --constraint requirements/constraints.txt -o "requirements/$extra.txt"
done
# What the server is measured against (`make bench-peers`), each by itself: they do not agree on FastAPI and pandas;
# and the clients that ask it (`make conformance`), which want an older protobuf.
for peer in bench-mlserver bench-kserve conformance; do
  uv pip compile "requirements/$peer.in" --universal --python-version 3.11 --generate-hashes \
    --exclude-newer "$cooldown" --no-emit-index-url --no-emit-find-links --no-annotate --no-header --quiet \
    -o "requirements/$peer.txt"
done
