# Taffrail. `make help` lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

export TAFFRAIL_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/taffrail
# Compiled dependencies outlive the checkout, so that a second clean checkout reuses them.
export CARGO_TARGET_DIR ?= $(TAFFRAIL_CACHE)/target
K8S_BIN := $(TAFFRAIL_CACHE)/k8s-1.36.3/bin
export PATH := $(K8S_BIN):$(CARGO_TARGET_DIR)/debug:$(HOME)/.cargo/bin:/usr/local/go/bin:/usr/sbin:/sbin:$(PATH)
# Always with --workspace: a crate alone has fewer features, and all its dependencies would be compiled again.
CARGO := scripts/cargo.sh
LOCALKUBE := $(CARGO_TARGET_DIR)/debug/localkube
IMAGE ?= docker.io/local/taffrail:dev
ARCHIVE := $(TAFFRAIL_CACHE)/taffrail-image.tar
# Sourced where a target has several long steps: each says its usual time, and a table of the times ends the target.
STEPS := export TAFFRAIL_STEPS=$$(mktemp) && . scripts/step.sh && trap 'step_table; rm -f "$$TAFFRAIL_STEPS"' EXIT

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

.PHONY: deps
deps: ## install missing Debian packages (root)
	@scripts/deps.sh

.PHONY: fresh-root
fresh-root: ## test `deps` on a minimal Debian 12 made by debootstrap (root): 4 minutes
	@scripts/fresh-root.sh

.PHONY: tools
tools: ## build Kubernetes, helm, etcd and CoreDNS once into the cache: 10 minutes on two cores
	@scripts/k8s-tools.sh >/dev/null

.PHONY: prometheus
prometheus: ## build Prometheus with its Kubernetes discovery once into the cache, for e2e-long: 4 minutes
	@scripts/prometheus.sh >/dev/null

.PHONY: build
build: ## build the debug binaries, for tests and the local Kubernetes: 20 minutes from nothing
	@$(CARGO) build --workspace --bins

# the binaries that `up` starts, without the simulator and the generators
.PHONY: up-binaries
up-binaries:
	@. scripts/step.sh; step "binaries" "21 min with RocksDB, 2 s when nothing changed" $(CARGO) build --workspace --bin taffrail --bin taffrail-operator --bin localkube

.PHONY: up
up: ## start Kubernetes, operator, Cluster and store, and append the first events: 22 minutes on a fresh machine, then seconds (CLUSTER=local|kind|k3d|existing)
	@scripts/up.sh $(IMAGE) $(ARCHIVE)

.PHONY: down
down: ## remove the cluster of `up`; caches and other clusters stay
	@scripts/down.sh

.PHONY: env
env: ## print export lines for the shell: eval "$(make -s env)"
	@scripts/env.sh $(K8S_BIN)

.PHONY: single
single: ## run one node without Kubernetes in the foreground; the data stay in the cache: 20 minutes from nothing
	@scripts/single.sh

.PHONY: images
images: deps ## pack the release binaries into an image, taffrail-image.tar: make images IMAGE=NAME:TAG, 20 minutes from nothing
	@$(CARGO) build --release -p taffrail-node -p taffrail-operator --bins
	@scripts/image.sh $(CARGO_TARGET_DIR)/release $(CURDIR)/taffrail-image.tar $(IMAGE)

.PHONY: crds
crds: ## write the CRDs, their chart templates and the table of conditions again
	@$(CARGO) build -q --workspace --bin crdgen
	@$(CARGO_TARGET_DIR)/debug/crdgen write .

.PHONY: charts
charts: ## package the charts: taffrail-VERSION.tgz, taffrail-crds-VERSION.tgz
	@scripts/k8s-tools.sh helm >/dev/null
	@helm dependency build charts/taffrail >/dev/null
	@helm package charts/taffrail-crds charts/taffrail

.PHONY: check
check: deps ## check formats, lints, docs, generated files, charts, scripts, pages, dependencies between crates and licences, without edits: 4 minutes after the first `up`
# not as prerequisites: with -j, these builds would start before `deps` has installed the compiler
	@$(MAKE) --no-print-directory tools lint docs build
	@$(CARGO) fmt --all -- --check
	@$(CARGO_TARGET_DIR)/debug/crdgen check .
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
lint: deps ## run clippy on all code including tests; a warning is an error
	@$(CARGO) clippy -q --workspace --all-targets --features taffrail-localkube/e2e,taffrail-scenarios/e2e,taffrail-benches/bench -- -D warnings

.PHONY: docs
docs: deps ## build the documentation of all code; a broken link is an error
	@$(CARGO) doc -q --workspace --no-deps --lib --document-private-items

.PHONY: fix
fix: ## format the sources, and write all generated files except the wire contract again
	@$(CARGO) fmt --all
	@$(CARGO) build -q --workspace --bin crdgen
	@$(CARGO_TARGET_DIR)/debug/crdgen write .
	@TAFFRAIL_FIX=1 $(CARGO) test -q --workspace --lib reference_page
	@TAFFRAIL_FIX=1 $(CARGO) test -q --workspace --test render

.PHONY: contract
contract: ## record additions to the wire contract; a removal stays an error
	@TAFFRAIL_FIX=1 $(CARGO) test -q --workspace --test contract

# make test-one T=name; F="--features ..." adds the tests of a feature
T ?=
F ?=
.PHONY: test-one
test-one: ## run the tests of all crates whose names contain T: make test-one T=name
	@[ -n "$(T)" ] || { echo "test-one: T is not set; run: make test-one T=NAME" >&2; exit 2; }
	@$(CARGO) test --workspace $(F) "$(T)"

.PHONY: unit
unit: ## run the tests beside the code: unit tests, property tests, golden files
	@$(CARGO) test --workspace --lib --bins

SEEDS ?= 1000
FROM ?= 70000
.PHONY: sim
sim: ## run the simulator with a range of seeds: make sim FROM=70000 SEEDS=1000
	@$(CARGO) build -q --workspace --profile sim --bin taffrail-sim
	@$(CARGO_TARGET_DIR)/sim/taffrail-sim --from $(FROM) --seeds $(SEEDS) --jobs $$(nproc)

.PHONY: sim-power
sim-power: ## plant each defect until the simulator finds the defect, within SEEDS seeds
	@$(CARGO) build -q --workspace --profile sim --bin taffrail-sim
	@$(CARGO_TARGET_DIR)/sim/taffrail-sim --power --from 0 --seeds $(SEEDS) --jobs $$(nproc)

.PHONY: fault-points
fault-points: ## end a process before and after each command of the catalogue and each membership change: 6 minutes
	@TAFFRAIL_ALL_FAULT_POINTS=1 $(CARGO) test --workspace --test fault_points -- --nocapture

KILL_CYCLES ?= 100
.PHONY: kill-cycles
kill-cycles: ## kill and restart processes of a cluster under checked writers: make kill-cycles KILL_CYCLES=100, 3 minutes
	@TAFFRAIL_KILL_CYCLES=$(KILL_CYCLES) $(CARGO) test --workspace --test fault_points killed_processes -- --nocapture

.PHONY: mutants
mutants: ## change core and the log in small ways, and list the changes that no test notices: make mutants MUTANTS_SHARD=0/8 MUTANTS_PART=core, hours
	@scripts/mutants.sh

.PHONY: bench
bench: deps ## measure the hot paths against minimal baselines, release profile: make bench BENCH_SECONDS=1 BENCH_ROUNDS=5, 5 minutes
	@$(CARGO) build --release -p taffrail-node -p taffrail-benches --features taffrail-benches/bench --bin taffrail --bin hot-paths
	@$(CARGO_TARGET_DIR)/release/hot-paths

.PHONY: integration
integration: ## run all tests that need no Kubernetes, including some dozens of simulated seeds
	@$(CARGO) test --workspace --lib --bins --tests
	@$(CARGO) test --workspace --doc

.PHONY: e2e
e2e: tools build ## test helm install, a stable store and a minute without writes, on a real Kubernetes
	@scripts/image.sh $(CARGO_TARGET_DIR)/debug $(ARCHIVE) $(IMAGE) >/dev/null
	@TAFFRAIL_IMAGE=$(IMAGE) TAFFRAIL_IMAGE_ARCHIVE=$(ARCHIVE) $(CARGO) test --workspace --features taffrail-scenarios/e2e --test cluster -- --test-threads=1 from_helm

.PHONY: e2e-long
e2e-long: tools prometheus build ## test the local Kubernetes and run all scenarios, including faults
	@scripts/image.sh $(CARGO_TARGET_DIR)/debug $(ARCHIVE) $(IMAGE) >/dev/null
	@TAFFRAIL_PROMETHEUS=$$(scripts/prometheus.sh) TAFFRAIL_IMAGE=$(IMAGE) TAFFRAIL_IMAGE_ARCHIVE=$(ARCHIVE) $(CARGO) test --workspace --features taffrail-localkube/e2e,taffrail-scenarios/e2e --test localkube --test cluster --test survival --test membership --test bad_input --test metrics -- --test-threads=1 --nocapture

.PHONY: test
test: ## run check, integration and e2e, as CI does: 16 minutes after the first `up`, then 8
	@$(STEPS); \
	step "check" "4 min" $(MAKE) --no-print-directory check; \
	step "integration" "10 min after the first up, then 4" $(MAKE) --no-print-directory integration; \
	step "e2e" "4 min" $(MAKE) --no-print-directory e2e

.PHONY: clean-cache
clean-cache: ## remove the cache that all checkouts share
	@rm -rf $(TAFFRAIL_CACHE)
