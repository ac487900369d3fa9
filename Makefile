# Hythe: every task of a developer or a first-time user. `make help` lists them.

SHELL := /bin/bash
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

# Compiled code lives outside the checkout, where the platform's user can read it and where a fresh clone finds it again.
CACHE := $(if $(filter 0,$(shell id -u)),/var/cache/hythe,$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/hythe)
export CARGO_TARGET_DIR ?= $(CACHE)/target
export HYTHE_PREFIX ?= $(CACHE)/prefix
export HYTHE_STACK_CACHE ?= $(CACHE)/stacks
# The optimised programs; a packager gives another folder.
PREFIX ?= $(CACHE)/release
export HYTHE_TOOLS ?= $(CACHE)/tools
# The cluster of the tests: its programs, and the folder of the one that runs.
export HYTHE_CLUSTER_BIN ?= $(CACHE)/cluster
export HYTHE_CLUSTER ?= /var/tmp/hythe-cluster
TOOLS := $(HYTHE_TOOLS)
PROGRAMS := -p hythed -p hythe -p hythe-sandbox
GUEST := x86_64-unknown-linux-musl
GUEST_CRATES := hythe-lifecycle hythe-launcher hythe-carrier $(addprefix hythe-buildpack-,$(notdir $(patsubst %/,%,$(wildcard buildpacks/*/))))

help: ## Lists the tasks
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 22

prepare: ## Prepares the machine (packages, the user hythe, cgroups); silent when there is nothing to do
	@scripts/prepare

# Cargo takes sources of the same age for the same sources, also when they lie elsewhere now, and the tests know their own folder
# by the path that they were compiled at.
checkout:
	@mkdir -p "$(CARGO_TARGET_DIR)"
	@[ "$$(cat "$(CARGO_TARGET_DIR)/checkout" 2>/dev/null)" = "$(CURDIR)" ] || { \
		find buildpacks src testing tests -name '*.rs' -exec touch {} + && echo "$(CURDIR)" >"$(CARGO_TARGET_DIR)/checkout"; }

build: prepare guest ## Builds the programs and lays them out under $(HYTHE_PREFIX)
	@cargo build --locked $(PROGRAMS)
	@scripts/install debug "$(HYTHE_PREFIX)"

install: prepare guest ## Builds optimised programs, for use, and lays them out under PREFIX; some fifteen minutes the first time
	@cargo build --locked --release $(PROGRAMS)
	@scripts/install release "$(PREFIX)"

guest: checkout
	@cargo build --locked --profile guest --target $(GUEST) $(addprefix -p ,$(GUEST_CRATES))

demo: build ## Starts the server and deploys three sample tools by git push
	@scripts/demo start

demo-stop: ## Stops the demo's server and what it runs
	@scripts/demo stop

test: build $(TOOLS)/bin/crane $(TOOLS)/bin/registry cluster-programs ## Runs every test; on a Kubernetes cluster of this machine too, which it starts
	@KUBECONFIG=$$(tests/support/cluster/which) && export KUBECONFIG && cargo test --locked --workspace

test-kubernetes-versions: build cluster-programs ## Runs the stories of a cluster on the three newest minor releases; some twenty minutes each the first time
	@GO=$$(scripts/go $(TOOLS)) scripts/test-kubernetes-versions

demo-kubernetes: build cluster-programs ## Installs Hythe in a cluster of this machine and deploys three sample tools by git push
	@scripts/demo-kubernetes start

demo-kubernetes-replicas: build cluster-programs ## The same with two servers on PostgreSQL, which are then replaced under pushes and requests
	@scripts/demo-kubernetes start replicas
	@scripts/demo-kubernetes replace

demo-kubernetes-stop: ## Removes it
	@scripts/demo-kubernetes stop

cluster: prepare cluster-programs ## Starts a Kubernetes cluster of one node to play with, or says where it runs
	@tests/support/cluster/up $(HYTHE_CLUSTER_BIN) $(HYTHE_CLUSTER)

cluster-stop: ## Stops it
	@tests/support/cluster/down $(HYTHE_CLUSTER_BIN) $(HYTHE_CLUSTER)

cluster-programs: prepare
	@mkdir -p $(TOOLS) && GO=$$(scripts/go $(TOOLS)) tests/support/cluster/build $(HYTHE_CLUSTER_BIN)

check: checkout ## The inner loop: build, lint and fast tests of what changed
	@cargo clippy --locked --workspace --all-targets -- -D warnings
	@cargo test --locked --workspace --lib --bins --test cli --test document

lint: checkout $(TOOLS)/bin/cargo-deny ## Formatting, clippy, licences and bans
	@cargo fmt --all --check
	@cargo clippy --locked --workspace --all-targets -- -D warnings
	@cargo fetch --locked --quiet
	@$(TOOLS)/bin/cargo-deny --offline check licenses bans sources

docs: checkout ## Builds the documentation of every item, private ones too
	@RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --document-private-items

bench: build ## Measures the platform against its peers and prints ratios
	@scripts/bench

bench-kubernetes: install cluster-programs ## Measures a release in a cluster against kubectl
	@HYTHE_PREFIX="$(PREFIX)" scripts/demo-kubernetes start
	@HYTHE_PREFIX="$(PREFIX)" scripts/bench-kubernetes

bench-many-tools: install cluster-programs ## Measures the server with 100, 1,000 and 10,000 tools in a cluster of its own; an hour and more
	@GO=$$(scripts/go $(TOOLS)) tests/support/cluster/build-kwok $(HYTHE_CLUSTER_BIN)
	@cargo build --release --locked --workspace --example seed
	@HYTHE_PREFIX="$(PREFIX)" scripts/bench-many-tools

bench-logs: ## Measures runtime logs that several servers share
	@cargo run --locked --release -p hythe-tests --example logs

$(TOOLS)/bin/crane: scripts/go
	@mkdir -p $(TOOLS)
	@go=$$(scripts/go $(TOOLS)) && GOBIN=$(TOOLS)/bin $$go install github.com/google/go-containerregistry/cmd/crane@v0.22.1
	@touch $@

# What images are sent to in the tests.
$(TOOLS)/bin/registry: scripts/go
	@mkdir -p $(TOOLS)
	@go=$$(scripts/go $(TOOLS)) && GOBIN=$(TOOLS)/bin $$go install github.com/distribution/distribution/v3/cmd/registry@v3.1.2
	@touch $@

$(TOOLS)/bin/cargo-deny:
	@cargo install cargo-deny --locked --version 0.20.2 --root $(TOOLS) --target-dir $(TOOLS)/target
	@rm -rf $(TOOLS)/target

.PHONY: help prepare checkout build install guest demo demo-stop test test-kubernetes-versions demo-kubernetes demo-kubernetes-replicas demo-kubernetes-stop cluster cluster-stop cluster-programs check lint docs bench bench-kubernetes bench-many-tools bench-logs
