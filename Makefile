# Shortcuts for people who work on the kit. Each is one command that also works alone.
PYTHON := .venv/bin/python

.PHONY: setup test test-all lint bench

setup: ## the environment with what the tests need, and PyTorch in one of its own
	bash setup_env.sh --dev
	bash tests/parity/setup.sh

test: ## the fast tests
	$(PYTHON) -m pytest -q -m "not slow and not parity and not scripts"

test-all: ## every test, as CI runs them
	$(PYTHON) -m pytest

lint:
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy

bench: ## the demo model against PyTorch: a guided step, a training step, the whole pipeline
	$(PYTHON) -m benchmarks.speed.step --size demo
	$(PYTHON) -m benchmarks.speed.train_step --size demo
	$(PYTHON) -m benchmarks.speed.pipeline --count 8
