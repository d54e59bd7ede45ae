# Taffrail. `make help` lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

export TAFFRAIL_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/taffrail
# Compiled dependencies outlive the checkout, so that a second clean checkout reuses them.
export CARGO_TARGET_DIR ?= $(TAFFRAIL_CACHE)/target
K8S_BIN := $(TAFFRAIL_CACHE)/k8s-1.36.3/bin
export PATH := $(K8S_BIN):$(CARGO_TARGET_DIR)/debug:$(HOME)/.cargo/bin:/usr/local/go/bin:/usr/sbin:/sbin:$(PATH)
CARGO := scripts/cargo.sh
LOCALKUBE := $(CARGO_TARGET_DIR)/debug/localkube
IMAGE ?= docker.io/local/taffrail:dev
ARCHIVE := $(TAFFRAIL_CACHE)/taffrail-image.tar
# Sourced where a target has several long steps: each says its usual time, and a table of the times ends the target.
STEPS := export TAFFRAIL_STEPS=$$(mktemp) && . scripts/step.sh && trap 'step_table; rm -f "$$TAFFRAIL_STEPS"' EXIT

.PHONY: help
help: ## one line per target
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

.PHONY: deps
deps: ## install missing Debian packages (root)
	@scripts/deps.sh

.PHONY: fresh-root
fresh-root: ## prove `deps` on a minimal Debian 12 made by debootstrap (root): 4 minutes
	@scripts/fresh-root.sh

.PHONY: tools
tools: ## build Kubernetes, helm, etcd and CoreDNS once into the cache: 10 minutes on two cores
	@scripts/k8s-tools.sh >/dev/null

.PHONY: prometheus
prometheus: ## build Prometheus with its Kubernetes discovery once into the cache, for e2e-long: 4 minutes
	@scripts/prometheus.sh >/dev/null

.PHONY: build
build: ## the binaries, for tests and the local Kubernetes: 12 minutes from nothing
	@$(CARGO) build --workspace --bins

# only what `up` starts: the simulator and the generators can wait
.PHONY: up-binaries
up-binaries:
	@. scripts/step.sh; step "binaries" "12 min, 2 s when nothing changed" $(CARGO) build --workspace --bin taffrail --bin taffrail-operator --bin localkube

.PHONY: up
up: ## the main job: Kubernetes, operator, Cluster, store, first events; 30 minutes on a fresh machine, then one (CLUSTER=local|kind|k3d|existing)
	@scripts/up.sh $(IMAGE) $(ARCHIVE)

.PHONY: down
down: ## remove what `up` made; caches and other clusters stay
	@scripts/down.sh

.PHONY: env
env: ## print export lines for eval "$$(make -s env)"
	@scripts/env.sh $(K8S_BIN)

.PHONY: single
single: ## one node without Kubernetes in the foreground; its data stay in the cache; 20 minutes from nothing
	@scripts/single.sh

.PHONY: images
images: deps ## release binaries as one image, 20 minutes from nothing: make images IMAGE=NAME:TAG, writes taffrail-image.tar
	@$(CARGO) build --release -p taffrail-node -p taffrail-operator --bins
	@scripts/image.sh $(CARGO_TARGET_DIR)/release $(CURDIR)/taffrail-image.tar $(IMAGE)

.PHONY: crds
crds: ## write the CRDs, their chart templates and the table of conditions again
	@$(CARGO) run -q -p taffrail-crds --bin crdgen -- write .

.PHONY: charts
charts: tools ## the charts as packages: taffrail-VERSION.tgz, taffrail-crds-VERSION.tgz
	@helm dependency build charts/taffrail >/dev/null
	@helm package charts/taffrail-crds charts/taffrail

.PHONY: check
check: deps ## formats, lints, docs, drift, charts, scripts, named paths and licences, without editing: 5 minutes from nothing
# not as prerequisites: with -j, these builds would start before `deps` has installed the compiler
	@$(MAKE) --no-print-directory tools lint docs build
	@$(CARGO) fmt --all -- --check
	@$(CARGO) run -q -p taffrail-crds --bin crdgen -- check .
	@charts/check.sh
	@shellcheck -x scripts/*.sh scripts/tests/*.sh charts/*.sh .ci/run
	@scripts/tests/up_test.sh
	@scripts/paths.sh
	@scripts/documented-commands.py
	@scripts/language.py
	@scripts/walls.py
	@scripts/machete.sh
	@scripts/licences.py
	@scripts/notices.py --check

.PHONY: lint
lint: deps ## clippy over everything, tests included; a warning is an error
	@$(CARGO) clippy -q --workspace --all-targets --features taffrail-localkube/e2e,taffrail-scenarios/e2e,taffrail-benches/bench -- -D warnings

.PHONY: docs
docs: deps ## the documentation of all code builds and every link in it leads somewhere
	@$(CARGO) doc -q --workspace --no-deps --lib --document-private-items

.PHONY: fix
fix: ## formats, and rewrites all generated files but the wire contract
	@$(CARGO) fmt --all
	@$(CARGO) run -q -p taffrail-crds --bin crdgen -- write .
	@TAFFRAIL_FIX=1 $(CARGO) test -q --workspace --lib reference_page
	@TAFFRAIL_FIX=1 $(CARGO) test -q --workspace --test render

.PHONY: contract
contract: ## record additions to the wire contract; a removal stays an error
	@TAFFRAIL_FIX=1 $(CARGO) test -q --workspace --test contract

# make test-one T=name: the tests whose names contain it, in every crate; F="--features ..." for those of a feature
T ?=
F ?=
.PHONY: test-one
test-one: ## the tests whose names contain T, in every crate: make test-one T=name
	@[ -n "$(T)" ] || { echo "test-one: say which: make test-one T=name" >&2; exit 2; }
	@$(CARGO) test --workspace $(F) "$(T)"

.PHONY: unit
unit: ## tests beside the code, property tests, golden files
	@$(CARGO) test --workspace --lib --bins

SEEDS ?= 1000
FROM ?= 70000
.PHONY: sim
sim: ## simulated faults, one seed decides everything: make sim FROM=70000 SEEDS=1000
	@$(CARGO) build -q --workspace --bin taffrail-sim
	@$(CARGO_TARGET_DIR)/debug/taffrail-sim --from $(FROM) --seeds $(SEEDS) --jobs $$(nproc)

.PHONY: fault-points
fault-points: ## a process dies before and after each write to the log, one after the other
	@TAFFRAIL_ALL_FAULT_POINTS=1 $(CARGO) test --workspace --test fault_points -- --nocapture

.PHONY: bench
bench: deps ## the hot paths against references, release profile, about 5 minutes: make bench BENCH_SECONDS=1 BENCH_ROUNDS=5
	@$(CARGO) build --release -p taffrail-node -p taffrail-benches --features taffrail-benches/bench --bin taffrail --bin hot-paths
	@$(CARGO_TARGET_DIR)/release/hot-paths

.PHONY: integration
integration: ## all tests that need no Kubernetes, 200 simulated seeds included
	@$(CARGO) test --workspace --lib --bins --tests
	@$(CARGO) test --workspace --doc

.PHONY: e2e
e2e: tools build ## from helm install to a stable store and a quiet minute, on a real Kubernetes
	@scripts/image.sh $(CARGO_TARGET_DIR)/debug $(ARCHIVE) $(IMAGE) >/dev/null
	@TAFFRAIL_IMAGE=$(IMAGE) TAFFRAIL_IMAGE_ARCHIVE=$(ARCHIVE) $(CARGO) test --workspace --features taffrail-scenarios/e2e --test cluster -- --test-threads=1 from_helm

.PHONY: e2e-long
e2e-long: tools prometheus build ## the local Kubernetes itself, and every scenario on it, faults included
	@scripts/image.sh $(CARGO_TARGET_DIR)/debug $(ARCHIVE) $(IMAGE) >/dev/null
	@TAFFRAIL_PROMETHEUS=$$(scripts/prometheus.sh) TAFFRAIL_IMAGE=$(IMAGE) TAFFRAIL_IMAGE_ARCHIVE=$(ARCHIVE) $(CARGO) test --workspace --features taffrail-localkube/e2e,taffrail-scenarios/e2e --test localkube --test cluster --test survival --test membership --test bad_input --test metrics -- --test-threads=1 --nocapture

.PHONY: test
test: ## what CI runs: check, every test that needs no Kubernetes, and the main job on a real Kubernetes; 30 minutes after the first `up`, then 12 (e2e-long has the rest)
	@$(STEPS); \
	step "check" "5 min" $(MAKE) --no-print-directory check; \
	step "integration" "20 min after the first up, then 5" $(MAKE) --no-print-directory integration; \
	step "e2e" "4 min" $(MAKE) --no-print-directory e2e

.PHONY: clean-cache
clean-cache: ## remove what was built once for all checkouts
	@rm -rf $(TAFFRAIL_CACHE)
