# Shortcuts for people who work on the kit. Each is one command that also works alone.
PYTHON := .venv/bin/python

.PHONY: setup test test-all lint bench alignment ranks table1 trust

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

trust: ## what docs/reliability.md promises, in its long form: hours; a stopped one goes on
	$(PYTHON) -m benchmarks.trust.kills
	$(PYTHON) -m benchmarks.trust.writes
	$(PYTHON) -m benchmarks.trust.flips
	$(PYTHON) -m benchmarks.trust.hostile
	$(PYTHON) -m benchmarks.trust.shared
	$(PYTHON) -m benchmarks.trust.disk
	$(PYTHON) -m benchmarks.trust.memory

bench: ## the demo model against PyTorch: a guided step, a training step, the whole pipeline
	$(PYTHON) -m benchmarks.speed.step --size demo
	$(PYTHON) -m benchmarks.speed.train_step --size demo
	$(PYTHON) -m benchmarks.speed.pipeline --count 8

alignment: ## training in Jittor beside PyTorch, 500 steps: docs/alignment; 16 GB of memory for the full U-Net's step
	$(PYTHON) -m benchmarks.alignment

ranks: ## every stage on 1, 2 and 4 ranks: losses of 50 steps, and final weights
	$(PYTHON) -m benchmarks.quality.ranks --steps 50 --ranks 2 4 --stage diffusion segmenter
	$(PYTHON) -m benchmarks.quality.ranks --steps 50 --ranks 2 4 --stage gaugan clade scgan sean --published

# The embedded Table 1 from nothing: data, six trainings, images, scores. About 90 minutes on two cores: two trainings at
# a time, on one thread each. A call that was stopped goes on. Other sizes, for a trial: docs/experiments.md.
TABLE1 := runs/table1
CONFIGS := table1_%
COUNT := 2000
SIZE := 256x192
MASKS := 200
ROWS := sean scgan gaugan clade iidm
config = $(subst %,$(1),$(CONFIGS))

table1:
	$(PYTHON) -m jiidm data synth $(TABLE1)/data --count $(COUNT) --size $(SIZE)
	mkdir -p $(TABLE1)/half
	OMP_NUM_THREADS=1 $(MAKE) -j2 $(addprefix train-,judge $(ROWS))
	$(PYTHON) -m jiidm table1 $(ROWS:%=$(TABLE1)/half/%.safetensors) jiidm/assets/demo.safetensors \
		--segmenter $(TABLE1)/half/judge.safetensors --count $(MASKS) --out $(TABLE1)/table

train-judge: # the segmenter that scores; it sees other landscapes than the rows
	$(PYTHON) -m jiidm train segmenter --config $(call config,judge) --run $(TABLE1)/judge
	$(PYTHON) -m jiidm export $(TABLE1)/judge/segmenter.safetensors $(TABLE1)/half/judge.safetensors

train-iidm: # DM's U-Net, too
	$(PYTHON) -m jiidm train $(TABLE1)/data --config $(call config,iidm) --run $(TABLE1)/iidm \
		--autoencoder jiidm/assets/demo.safetensors
	$(PYTHON) -m jiidm export $(TABLE1)/iidm/model.safetensors $(TABLE1)/half/iidm.safetensors

train-%:
	$(PYTHON) -m jiidm train $(TABLE1)/data --config $(call config,$*) --run $(TABLE1)/$*
	$(PYTHON) -m jiidm export $(TABLE1)/$*/model.safetensors $(TABLE1)/half/$*.safetensors
