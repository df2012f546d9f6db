# What a person types. `make` alone lists it.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PREFIX ?= /usr
DESTDIR ?=
TARGET := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)
BINARIES := snapshotd snapshotd-mount snapctl
export PATH := $(TARGET)/tools/bin:$(PATH)

.PHONY: help demo build test test-long test-vm soak bench bench-peers check fuzz fmt schemas doc install clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## Snapshot a real running container and restore it lazily, in a sandbox of its own
	@scripts/demo

build: ## Build the release binaries
	@scripts/setup build
	cargo build --release --locked --bins

test: ## Run every test, with real mounts, containerd and runc; as root
	@scripts/setup test
	cargo build --locked --workspace --bins
	scripts/test

test-long: ## The same with many more rounds of the random ones
	@scripts/setup test
	cargo build --locked --workspace --bins
	SNAP_ROUNDS=long scripts/test --profile long

soak: ## Do everything at random for half an hour, with kills, and keep account (SOAK_MINUTES, SOAK_SEED); as root
	@scripts/setup test
	cargo build --locked --workspace --bins --example soak
	$(TARGET)/debug/examples/soak

test-vm: ## Try it on a whole Debian machine under qemu, with power cuts (VM_ROUNDS, VM_KERNEL=stable|backports)
	@scripts/setup vm
	cargo build --release --locked --bins
	scripts/vm

bench: ## Measure, with a yardstick beside each figure; as root
	@scripts/setup bench
	cargo build --locked --release --bins
	scripts/bench

bench-peers: ## Measure beside restic, borg, squashfs and others, and write docs/benchmarks.md; as root
	@scripts/setup bench-peers
	cargo build --locked --release --bins
	scripts/bench-peers
	scripts/bench-peers-report

check: ## Format, lints, licences and rooms, documents, systemd units
	@scripts/setup check
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	@# The crates of every platform, so that the next one needs no network.
	cargo fetch --quiet --locked
	cargo deny --offline --locked check bans licenses sources
	RUSTDOCFLAGS='-D warnings' cargo doc --locked --workspace --no-deps --quiet
	scripts/check-docs
	scripts/check-units

fuzz: ## Fuzz every decoder for a minute each (SECONDS=…)
	@scripts/setup fuzz
	FUZZ_SECONDS=$(or $(SECONDS),60) scripts/fuzz

fmt: ## Format the code
	cargo fmt --all

schemas: ## Write docs/schemas, what commands print as JSON, from the types
	@scripts/setup build
	SNAP_WRITE_SCHEMAS=1 cargo test --locked --workspace --bin snapctl the_schemas_are_those_of_the_types

doc: ## Build the code's documentation
	cargo doc --workspace --no-deps

install: ## Install binaries, units, man pages, completions and schemas (DESTDIR, PREFIX)
	@scripts/install "$(DESTDIR)" "$(PREFIX)"

clean: ## Remove everything that was built, fixtures and tools too
	cargo clean
