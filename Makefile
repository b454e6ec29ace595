# Every verb of the project; `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
FAIRLEAD_CACHE ?= $(HOME)/.cache/fairlead
export FAIRLEAD_CACHE
# Tests start Python hundreds of times; where an environment forbids .pyc files, each start compiles all that it imports.
unexport PYTHONDONTWRITEBYTECODE
export PATH := $(FAIRLEAD_CACHE)/bin:$(PATH)
STAMP := $(VENV)/.stamp-$(shell cat requirements/dev.txt pyproject.toml 2>/dev/null | sha256sum | cut -c1-12)
PYTEST := $(BIN)/pytest

.PHONY: help
help: ## List the verbs
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  \033[1m%-18s\033[0m %s\n", $$1, $$2}'

.PHONY: venv
venv: $(STAMP) ## Make .venv with the pinned requirements
$(STAMP): requirements/dev.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements/dev.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps -e .
	rm -f $(VENV)/.stamp-*
	touch $@

.PHONY: requirements
requirements: venv ## Pin every extra again, with hashes
	PATH="$(CURDIR)/$(BIN):$$PATH" hack/requirements.sh

.PHONY: generate
generate: venv ## Write what is generated: CRDs and the chart's CRDs and roles
	$(BIN)/python -m fairlead.api.crd crds
	$(BIN)/python -m hack.generate

.PHONY: verify
verify: generate ## Fail when something generated differs from what is committed
	git diff --exit-code --stat -- crds charts

.PHONY: lint
lint: venv ## ruff, import-linter, sizes
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m hack.sizes

.PHONY: format
format: venv ## Format the code
	$(BIN)/ruff check --fix --quiet . || true
	$(BIN)/ruff format .

.PHONY: types
types: venv ## mypy --strict
	$(BIN)/mypy
	$(BIN)/mypy -p hack

.PHONY: test-unit
test-unit: venv ## Stories, properties and everything else that needs no cluster; at most 2 min
	$(PYTEST) tests/unit -q -n 3 --dist loadfile --no-loadscope-reorder

.PHONY: test-integration
test-integration: venv ## The shell against a real kube-apiserver and etcd
	$(PYTEST) tests/integration -q -n 3 --dist loadfile --no-loadscope-reorder --durations 8

.PHONY: fields
fields: venv ## Write docs/api/fields.md: what a change of each field does to a live object
	FAIRLEAD_WRITE=1 $(PYTEST) tests/integration/test_fields.py -q

.PHONY: faults
faults: venv tools ## Every fault at every point against a real API server; at most 90 min
	$(MAKE) --no-print-directory -j2 --output-sync=none faults-cuts faults-others

# One worker each, so that the figures they print are seen.
.PHONY: faults-cuts faults-others
faults-cuts:
	FAIRLEAD_FAULTS=whole $(PYTEST) tests/faults/test_cut_points.py -q -s -W ignore --timeout 5400
faults-others:
	FAIRLEAD_FAULTS=whole $(PYTEST) tests/faults -q -s -W ignore --timeout 5400 --ignore tests/faults/test_cut_points.py --durations 12

.PHONY: test-faults
test-faults: venv tools ## A share of each class of faults; at most 4 min
	$(PYTEST) tests/faults -q -W ignore -n 3 --dist loadgroup --no-loadscope-reorder --durations 8

.PHONY: helm-lint
helm-lint: venv tools ## Lint and render the chart, check its schema
	$(PYTEST) tests/chart -q

.PHONY: check-rules
check-rules: promtool ## Alert rules by promtool: they parse, and fire where tests/chart/rules.test.yaml says
	promtool check rules charts/fairlead/files/monitoring/rules.yaml
	promtool test rules tests/chart/rules.test.yaml

.PHONY: test-e2e
test-e2e: venv cluster images cluster-load ## The demo's story, each kind and each bad input on kind
	$(PYTEST) tests/e2e -q -n 4 --maxschedchunk 1 --ignore tests/e2e/rollouts --ignore tests/e2e/test_rollout.py --ignore tests/e2e/argo --durations 8

.PHONY: test-rollouts
test-rollouts: venv cluster images cluster-load ## Rollouts under steady load on kind: steps, each bad version, changes, outages
	$(PYTEST) tests/e2e/rollouts tests/e2e/test_rollout.py -q -n 3 --maxschedchunk 1 --durations 12

.PHONY: test-argo
test-argo: venv cluster images cluster-load argocd ## A refused version under a real Argo CD stays refused, and nothing differs; 10 min
	$(PYTEST) tests/e2e/argo -q -s

.PHONY: test-upgrade
test-upgrade: venv cluster images cluster-load ## From the previous chart to today's under load; removes all of Fairlead's objects first
	$(PYTEST) tests/upgrade -q

.PHONY: test-network
test-network: venv cluster images cluster-load ## The chart's NetworkPolicies enforced by nftables: all kinds work, strangers reach nothing; 3 min
	$(PYTEST) tests/network -q

# Without it, the pod of an installation in cluster mode goes on for a moment after its rights went, and is refused.
.PHONY: test-rights
test-rights: venv cluster images cluster-load ## The demo's story in namespaced mode; the audit log shows that nothing was refused
	helm uninstall fairlead --namespace fairlead-system --kube-context kind-fairlead --ignore-not-found --wait --cascade foreground
	mkdir -p artifacts && date -u +%Y-%m-%dT%H:%M:%SZ > artifacts/e2e-began
	$(BIN)/python -m hack.demo --set 'namespaces={flights}'
	test -z "$$(kubectl --context kind-fairlead get clusterrolebinding fairlead --ignore-not-found -o name)" # nobody else installed beside it
	$(PYTEST) tests/rights -q -k "refused or secret"

.PHONY: test-audit
test-audit: ## After an end-to-end run: rights that were granted are what it used
	$(PYTEST) tests/rights -q

.PHONY: demo
demo: venv cluster images cluster-load ## The whole story on a real cluster
	$(BIN)/python -m hack.demo

.PHONY: sbom
sbom: venv images ## A bill of materials (CycloneDX) of each image into artifacts/sbom
	$(BIN)/python -m hack.sbom

.PHONY: bench-peers
bench-peers: venv ## MLServer and the KServe SDK, each pinned in an environment of its own
	for peer in bench-mlserver bench-kserve server; do \
	  place=$(FAIRLEAD_CACHE)/bench/$${peer#bench-}; test $$peer = server && place=$(FAIRLEAD_CACHE)/bench/fairlead; \
	  test -x $$place/bin/python || $(BIN)/uv venv --quiet --python $(BIN)/python $$place; \
	  $(BIN)/uv pip install --quiet --python $$place/bin/python --require-hashes -r requirements/$$peer.txt; \
	done

.PHONY: bench-serve
bench-serve: bench-peers ## Our server beside MLServer and the KServe SDK: rates, tails, memory, start, capture; 10 min, alone
	$(BIN)/python -m tests.perf.bench_serve $(BENCH)

.PHONY: bench-proxy
bench-proxy: venv ## What the proxy in front of a user's own server costs at the median
	PYTHONPATH=operator:images/runtime:. $(BIN)/python -m tests.perf.bench_proxy

.PHONY: bench-shadow
bench-shadow: venv cluster images cluster-load ## p99 of users beside a shadow that is slow or cuts connections, on kind; 14 min, alone
	$(BIN)/python -m tests.perf.bench_shadow $(BENCH)

.PHONY: bench-formats
bench-formats: venv ## CPU of a row by format: ONNX, skops, joblib, XGBoost, LightGBM
	PYTHONPATH=operator:images/runtime:. $(BIN)/python -W ignore -m tests.perf.bench_formats

.PHONY: conformance
conformance: bench-peers ## The Open Inference Protocol asked by three public clients, of our server and of MLServer; 2 min
	test -x $(FAIRLEAD_CACHE)/conformance/bin/python || $(BIN)/uv venv --quiet --python $(BIN)/python $(FAIRLEAD_CACHE)/conformance
	$(BIN)/uv pip install --quiet --python $(FAIRLEAD_CACHE)/conformance/bin/python --require-hashes -r requirements/conformance.txt
	PYTHONPATH=operator:images/runtime:. $(BIN)/python -W ignore -m tests.conformance

.PHONY: bench-rest
bench-rest: venv ## Writes and memory of the operator in 5 min at rest; after `make demo`
	$(BIN)/python -m tests.perf.at_rest

.PHONY: bench-gather
bench-gather: venv ## A support bundle of a thousand objects: time, memory, size; 3 min
	PYTHONPATH=operator:. $(BIN)/python -m tests.perf.bench_gather

.PHONY: bench-plans
bench-plans: venv ## How long planners take, by kind
	PYTHONPATH=operator:images/runtime:. $(BIN)/python -m tests.perf.bench_plans

.PHONY: bench-judge
bench-judge: venv ## The judge's promises by simulation, beside a fixed threshold; ROLLOUTS=5000 for the full table: 20 min
	$(BIN)/python -m tests.perf.judge_simulation --rollouts $(or $(ROLLOUTS),200)

.PHONY: canary-times
canary-times: venv ## How long a canary, a shadow and a test of outcomes take: the tables of docs/delivery.md
	PYTHONPATH=operator:. $(BIN)/python -m tests.perf.canary_times
	PYTHONPATH=operator:images/runtime:. $(BIN)/python -m tests.perf.strategy_times

.PHONY: soak
soak: venv ## 10,000 generated objects of each kind and every field, against a real API server; 10,000 bad requests; 5,000 rollouts a case of the judge
	FAIRLEAD_EXAMPLES=10000 $(PYTEST) tests/unit/runtime/test_serve_bad_input.py -q
	FAIRLEAD_EXAMPLES=10000 $(PYTEST) tests/integration/test_generated_input.py tests/integration/test_fields.py -q -s --show-capture=no
	$(BIN)/python -m tests.perf.judge_simulation --rollouts 5000

.PHONY: soak-rollouts
soak-rollouts: venv cluster images cluster-load ## The operator away for 10 min in a rollout, autoscalers watched for 30; about 45 min
	FAIRLEAD_DOWN_S=600 FAIRLEAD_SCALED_S=1800 $(PYTEST) tests/e2e/rollouts/test_changes.py -q -k "operator_is_away or autoscalers" --timeout 3600

.PHONY: perf
perf: venv ## Scale on a real API server beside a plain kopf controller, held against ranges.yaml; 20 min, alone on the machine
	PYTHONPATH=operator:. $(BIN)/python -m tests.perf.scale $(PERF)

.PHONY: test
test: lint types verify test-unit helm-lint test-integration test-faults test-e2e ## Everything CI runs

include hack/cluster.mk
