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

.PHONY: demo test lint types wheel-test adapter eval quality clean

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

# An adapter for the embedded guard, in two stages (over an hour on two cores; goes on where it was cut off).
ROWS := plugin/railscribe/training/rows
TRAIN = $(BIN)/railscribe train $(ROWS)/*.jsonl ../shared/data/training/*.jsonl --policies $(ROWS)/policies.json
adapter: .venv/ready
	test -f runs/first/adapter_model.safetensors || $(TRAIN) --out runs/first --held-out runs/held_out/held_out.jsonl
	$(TRAIN) --out runs/second --start runs/first --epochs 1 --steps 150 --tokens-per-step 1024 \
	  --learning-rate 3e-4 --seed 2

eval: .venv/ready
	$(BIN)/railscribe eval runs/held_out/held_out.jsonl --adapter runs/second --concurrency 1

# The frozen stand-in sets; ADAPTER=runs/mine for another adapter than the one that ships.
quality: .venv/ready
	@mkdir -p runs
	$(BIN)/python benchmarks/guard_quality.py $(if $(ADAPTER),--adapter $(ADAPTER)) --json runs/quality.json

clean:
	rm -rf .venv build dist .cache
