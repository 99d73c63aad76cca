# Entry point of all tasks: `make help` lists the targets.

SHELL := /bin/bash
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help

CLUSTER := e2e/cluster/cluster.sh

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9.-]+:.*## / { printf "  %-20s %s\n", $$1, $$2 } /^##@ / { printf "\n%s\n", substr($$0, 5) }' $(MAKEFILE_LIST)

##@ Build

.PHONY: build
build: ## build the release binary, target/release/traffictrace
	cargo build --release --locked --workspace

.PHONY: build-arm64
build-arm64: ## build the release binary for arm64, static; fetches a compiler when rustup has none
	@e2e/matrix/build-arm64.sh

.PHONY: plugin
plugin: ## pack the kubectl plugin for this machine, or others: PLUGIN_TARGETS="aarch64-apple-darwin x86_64-pc-windows-gnu"
	@scripts/plugin.sh archive $(PLUGIN_TARGETS)

.PHONY: dist
dist: ## what a release consists of, small and stripped, in target/artifacts
	@scripts/dist.sh

.PHONY: image
image: ## the image for both architectures, by docker buildx; IMAGE=REGISTRY/NAME:TAG pushes it
	@scripts/image.sh

.PHONY: generate
generate: ## write the generated files: CRDs, and manifests/install.yaml from the chart
	scripts/generate.sh
	scripts/install-manifest.sh

##@ See it work

.PHONY: demo
demo: ## the main job on this machine, without Kubernetes: installs what it needs, builds, shows, cleans up (root)
	@scripts/demo.sh

##@ Test cluster: a real Kubernetes of two nodes on this machine (root)

.PHONY: cluster-up
cluster-up: ## bring it up; its last line is for eval: eval "$(make cluster-up | tail -n 1)"
	@$(CLUSTER) up

.PHONY: cluster-images
cluster-images: ## pack our images and import them on every node
	@$(CLUSTER) images

.PHONY: deploy
deploy: build ## build, pack and import the image, then install the chart; with KUBECONFIG set, on that cluster
	@scripts/deploy.sh

.PHONY: demo-cluster
demo-cluster: setup build ## show the main job there: a shop of ten pods, and who floods its network
	@scripts/demo-cluster.sh

.PHONY: cluster-down
cluster-down: ## end it and leave nothing behind
	@$(CLUSTER) down

##@ Tests: what cannot run says SKIPPED; with CI=true that is a failure

.PHONY: test
test: ## everything: set-up, format, lints, unit tests, kernel tests, the cluster suite
	@scripts/test.sh all

.PHONY: test-unit
test-unit: ## format, lints and unit tests
	@scripts/test.sh unit

.PHONY: test-kernel
test-kernel: ## the product on this machine's kernel, byte for byte (root)
	@scripts/test.sh kernel

.PHONY: soak
soak: ## random load of every kind, compared byte for byte: make soak SECONDS_EACH=600 SEED=1 (root)
	@scripts/soak.sh

.PHONY: test-e2e
test-e2e: ## the suite on the test cluster (root), or on the one that KUBECONFIG names
	@scripts/test.sh e2e

.PHONY: test-kubernetes-1.30
test-kubernetes-1.30: ## definitions, policies and rights on an API server of the oldest supported Kubernetes (root)
	@scripts/test.sh kubernetes-1.30

.PHONY: test-monitoring
test-monitoring: ## the chart's alerts and dashboard before a real Prometheus (root)
	@scripts/test-monitoring.sh

.PHONY: test-otlp
test-otlp: ## the export by OTLP to a real OpenTelemetry collector, which it builds from Go modules
	@scripts/test-otlp.sh

.PHONY: kernel-matrix
kernel-matrix: ## the product on Debian's kernels in QEMU, or on some of them: KERNELS="5.10 6.1 6.12 newest arm64-5.10"
	@e2e/matrix/matrix.sh $(KERNELS)

.PHONY: setup
setup: ## install what building and testing need and this machine lacks
	@scripts/setup.sh

.PHONY: setup-build
setup-build: ## install what building alone needs
	@scripts/setup.sh build

##@ Measurements

.PHONY: bench
bench: ## what tracing costs, beside other tools, as tables for the README, in 20 minutes (root); BENCH="--only rates"
	@scripts/bench.sh $(BENCH)

##@ Documentation

.PHONY: pictures
pictures: build ## make the pictures of the docs from the real thing, with the cluster that KUBECONFIG names (root)
	@scripts/pictures.sh

##@ Checks

.PHONY: deny
deny: ## licences, sources and known faults of the crates that others wrote
	@scripts/supply-chain.sh deny

.PHONY: sbom
sbom: ## the list of these crates (CycloneDX), in target/sbom
	@scripts/supply-chain.sh sbom

.PHONY: licenses
licenses: ## the licences of these crates, as the image has them, in target/licenses
	@scripts/supply-chain.sh licenses

.PHONY: check-scripts
check-scripts: ## shellcheck, clang-format, go vet, helm lint, and whether generated manifests are up to date
	@scripts/check-scripts.sh
