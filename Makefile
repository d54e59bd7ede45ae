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

.PHONY: help
help: ## one line per target
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

.PHONY: deps
deps: ## install missing Debian packages (root)
	@scripts/deps.sh

.PHONY: tools
tools: ## build Kubernetes, helm, etcd and CoreDNS once into the cache
	@scripts/k8s-tools.sh >/dev/null

.PHONY: prometheus
prometheus: ## build Prometheus with its Kubernetes discovery once into the cache, for e2e-long
	@scripts/prometheus.sh >/dev/null

.PHONY: build
build: ## the binaries, for tests and the local Kubernetes
	@$(CARGO) build --workspace --bins

.PHONY: up
up: deps tools build ## the main job on a fresh machine: Kubernetes, operator, Cluster, store, first events
	@scripts/up.sh $(IMAGE) $(ARCHIVE)

.PHONY: down
down: ## end the local Kubernetes; nothing is left but caches
	@[ -x $(LOCALKUBE) ] || $(CARGO) build -q --workspace --bin localkube
	@$(LOCALKUBE) down

.PHONY: env
env: ## print export lines for eval "$$(make -s env)"
	@echo "export KUBECONFIG=$$($(LOCALKUBE) kubeconfig) PATH=$(K8S_BIN):$(CARGO_TARGET_DIR)/debug:\$$PATH"

.PHONY: images
images: deps ## release binaries as one image: make images IMAGE=NAME:TAG, writes taffrail-image.tar
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
check: deps tools lint docs ## formats, lints, docs, drift, charts, scripts, named paths and licences, without editing
	@$(CARGO) fmt --all -- --check
	@$(CARGO) run -q -p taffrail-crds --bin crdgen -- check .
	@charts/check.sh
	@shellcheck -S error scripts/*.sh charts/*.sh .ci/run
	@scripts/paths.sh
	@scripts/licences.py
	@scripts/notices.py --check

.PHONY: lint
lint: deps ## clippy over everything, tests included; a warning is an error
	@$(CARGO) clippy -q --workspace --all-targets --features taffrail-e2e/e2e,taffrail-e2e/bench -- -D warnings

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
	@$(CARGO) build --release -p taffrail-node -p taffrail-e2e --features taffrail-e2e/bench --bin taffrail --bin hot-paths
	@$(CARGO_TARGET_DIR)/release/hot-paths

.PHONY: integration
integration: ## all tests that need no Kubernetes, 200 simulated seeds included
	@$(CARGO) test --workspace --lib --bins --tests

.PHONY: e2e
e2e: tools build ## from helm install to a stable store and a quiet minute, on a real Kubernetes
	@scripts/image.sh $(CARGO_TARGET_DIR)/debug $(ARCHIVE) $(IMAGE) >/dev/null
	@TAFFRAIL_IMAGE=$(IMAGE) TAFFRAIL_IMAGE_ARCHIVE=$(ARCHIVE) $(CARGO) test --workspace --features taffrail-e2e/e2e --test cluster -- --test-threads=1 from_helm

.PHONY: e2e-long
e2e-long: tools prometheus build ## the local Kubernetes itself, and every scenario on it, faults included
	@scripts/image.sh $(CARGO_TARGET_DIR)/debug $(ARCHIVE) $(IMAGE) >/dev/null
	@TAFFRAIL_PROMETHEUS=$$(scripts/prometheus.sh) TAFFRAIL_IMAGE=$(IMAGE) TAFFRAIL_IMAGE_ARCHIVE=$(ARCHIVE) $(CARGO) test --workspace --features taffrail-e2e/e2e --test localkube --test cluster --test survival --test membership --test bad_input --test metrics -- --test-threads=1 --nocapture

.PHONY: test
test: ## what CI runs: check, every test that needs no Kubernetes, and the main job on a real Kubernetes (e2e-long has the rest)
	@$(MAKE) --no-print-directory check
	@$(MAKE) --no-print-directory integration
	@$(MAKE) --no-print-directory e2e

.PHONY: clean-cache
clean-cache: ## remove what was built once for all checkouts
	@rm -rf $(TAFFRAIL_CACHE)
