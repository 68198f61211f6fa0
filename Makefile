# make run: set up a virtual environment and run the default workflow, page included.
# make setup: set up only. make test: set up and run every test except the slowest.
# make test-all: those too.
#
# Needs Python 3.11 and nothing else. Other configs: make run ARGS="--configfile config/presets/..."

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
# Processes that run tests: three for two cores, since those of faults and of SLURM often wait.
WORKERS ?= 3
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: run setup test test-fast test-all test-cuda-build lint docs lock audit clean

run: $(VENV)/.ready
	snakemake --cores all $(ARGS)
	@echo "Open report.html in the results folder: results/, or the config's own."

setup: $(VENV)/.ready

test: $(VENV)/.ready-dev lint
	pytest --numprocesses=$(WORKERS)

test-fast: $(VENV)/.ready-dev
	pytest --numprocesses=$(WORKERS) tests/unit

# Every test, also those that take minutes each: the slowest faults, conda's environments and PyTorch's
# CUDA build. Writes the date and the counts into docs/reliability.md.
test-all: $(VENV)/.ready-dev lint
	rm -rf .cache/reliability
	pytest --numprocesses=$(WORKERS) -m "not cuda_build"
	python -m tests.reliability docs/reliability.md .cache/reliability
	$(MAKE) test-cuda-build

lint: $(VENV)/.ready-dev
	ruff check .
	ruff format --check .
	mypy
	snakefmt --check Snakefile rules
	snakemake --lint

# The reference of all config keys, from the schema.
docs: $(VENV)/.ready
	PYTHONPATH=scripts python -m sdbench.config.docs config/schema.yaml config/README.md

# On Linux the usual wheel of torch brings gigabytes of CUDA. Where there is no NVIDIA driver, take
# a build without them: one that pip is set up to find, else the one that uv knows of. CUDA=1 takes
# the usual wheel all the same: on the login node of a cluster whose other nodes have the GPUs.
TORCH := $(shell grep '^torch==' requirements.txt)
UV := uv==0.13.9

# Every package but torch by the hash of its file: those of its builds differ, and so does where they
# come from. --no-deps, since all that there is to install stands in the locks.
$(VENV)/.ready: requirements.txt requirements.lock
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --require-hashes --no-deps -r requirements.lock
	if [ -n "$(CUDA)" ] || nvidia-smi -L >/dev/null 2>&1; then $(BIN)/pip install $(TORCH); \
	else $(BIN)/pip install $(TORCH)+cpu \
	  || { $(BIN)/pip install $(UV) \
	       && $(BIN)/uv pip install --python $(BIN)/python --torch-backend cpu $(TORCH); } \
	  || $(BIN)/pip install $(TORCH); fi
	touch $@

$(VENV)/.ready-dev: $(VENV)/.ready requirements-dev.lock
	$(BIN)/pip install --require-hashes --no-deps -r requirements-dev.lock
	touch $@

# The locks, from the versions in requirements*.txt and constraints.txt: the hashes of every file of
# each, for all platforms. Run it after changing a version.
lock: $(VENV)/.ready
	$(BIN)/pip install $(UV)
	echo "torch; sys_platform == 'never'" > $(VENV)/without-torch.txt
	$(LOCK) requirements.txt -o requirements.lock
	$(LOCK) requirements.txt requirements-dev.txt -o requirements-dev.lock

LOCK = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
  --constraints constraints.txt --overrides $(VENV)/without-torch.txt --no-emit-package torch --no-annotate \
  --custom-compile-command "make lock"

# PyTorch's CUDA build, which needs no GPU to be imported and asked: 5 GB of wheels for each version.
# ONNX Runtime is that for GPUs. The tests are those that the CPU build has doubles for, those that
# doubles cannot show (tests/cuda_build), and the default workflow on the CPU.
CUDA_BUILDS := $(patsubst torch==%,%,$(TORCH)) 2.11.0
test-cuda-build: $(CUDA_BUILDS:%=.cache/cuda-%/.tested)

.cache/cuda-%/.tested: .cache/cuda-%/.ready FORCE
	@# In processes of its own: doubles ask for devices, after which no fork can use one.
	PATH="$(CURDIR)/.cache/cuda-$*/bin:$$PATH" python -m pytest --numprocesses=$(WORKERS) \
	  -m cuda_build tests/cuda_build
	PATH="$(CURDIR)/.cache/cuda-$*/bin:$$PATH" python -m pytest --numprocesses=$(WORKERS) \
	  tests/workflow/test_dag.py $(addprefix tests/e2e/test_,$(addsuffix .py,default_workflow memory \
	  offload onnxruntime options platforms processes races sweep))

# `===`: the version as it stands, and no build of it for a CPU.
.cache/cuda-%/.ready: requirements-dev.lock
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/pip install --require-hashes --no-deps -r requirements-dev.lock
	$(@D)/bin/pip install "torch===$*"
	$(@D)/bin/pip uninstall --yes onnxruntime
	$(@D)/bin/pip install --no-deps $(subst onnxruntime,onnxruntime-gpu,$(shell grep '^onnxruntime==' requirements.txt))
	touch $@

.PRECIOUS: .cache/cuda-%/.ready
FORCE:

# Known vulnerabilities of what is installed. Without a network it only says so.
audit: $(VENV)/.ready-dev
	python -m tests.audit requirements-dev.lock

clean:
	rm -rf $(VENV) .cache
