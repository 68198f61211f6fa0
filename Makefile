# make run: set up a virtual environment and run the default workflow, page included.
# make setup: set up only. make test: set up and run every test except the slowest.
# make test-all: those too.
#
# make records: measure, and pack the records into one archive. make page RECORDS=...: tables, figures
# and page of such an archive. make bundle: an archive of all that measuring needs, for a machine
# without internet (docs/setup.md).
#
# Needs Python 3.11 to 3.13 and nothing else. Other configs: make run ARGS="--configfile config/..."

VENV := .venv
BIN := $(VENV)/bin
# Processes that run tests: three for two cores, since those of faults and of SLURM often wait.
WORKERS ?= 3
export PATH := $(CURDIR)/$(BIN):$(PATH)
# A pip.conf for other work may say `user = true`, which no virtual environment can do.
export PIP_USER := 0
unexport PYTHONHOME
# Snakemake keeps sources below the home, which in a container may be nobody's.
ifeq ($(shell test -w "$$HOME" && echo yes)$(XDG_CACHE_HOME),)
export XDG_CACHE_HOME := $(CURDIR)/.cache
endif

.PHONY: run setup records page bundle gpu-day test test-fast test-all test-cuda-build lint docs computed lock audit clean

run: $(VENV)/.ready
	snakemake --cores all $(ARGS)

setup: $(VENV)/.ready

# In a bundle there is what PyTorch needs, and the default config asks for more.
records: $(VENV)/.ready
	snakemake --cores all pack_records $(or $(ARGS),$(PYTORCH_ONLY))

PYTORCH_ONLY = $(if $(wildcard wheels/bundle),--configfile config/presets/pytorch.yaml)

# A slice of a day with a GPU, within minutes (docs/gpu-day.md): SLICE=1, ARGS="--rehearse".
gpu-day: $(VENV)/.ready
	PYTHONPATH=scripts python benchmarks/gpu_day/run.py $(SLICE) $(ARGS)

# RECORDS is what `make records` left, on any machine.
page: $(VENV)/.ready
	@config=$$(PYTHONPATH=scripts python -m sdbench.records.archive '$(RECORDS)') \
	  && snakemake --cores all --configfile "$$config" $(ARGS)

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
	mypy --num-workers=2
	snakefmt --check Snakefile rules
	snakemake --lint

# The reference of all config keys, from the schema.
docs: $(VENV)/.ready
	PYTHONPATH=scripts python -m sdbench.config.docs config/schema.yaml config/README.md

# What ships of described models: after a change of resources/architectures, resources/published.csv or
# of what counts and follows them. It takes minutes.
computed: $(VENV)/.ready
	PYTHONPATH=scripts python setup/computed.py

UV := uv==0.13.9

# Again where another PyTorch is asked for than it was made with.
$(VENV)/.ready: requirements.txt requirements.lock \
  $(if $(TORCH),$(if $(shell grep -sx '$(TORCH)' $(VENV)/.ready),,FORCE))
	@sh setup/setup.sh $(VENV) $(UV)

# For a machine without internet: FOR=3.12-x86_64, else for this Python on this machine. FULL=1 packs
# everything, PyTorch included (CUDA=1: the usual wheel).
bundle: $(VENV)/.ready
	python setup/bundle.py $(FOR) $(if $(FULL),--full) $(if $(CUDA),--cuda)

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
	printf '%s\n' 'pulp; sys_platform == "never"' 'hf-xet; sys_platform == "never"' >> $(VENV)/without-torch.txt
	$(LOCK) requirements-measure.txt -o requirements-measure.lock

LOCK = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
  --constraints constraints.txt --overrides $(VENV)/without-torch.txt --no-emit-package torch --no-annotate \
  --custom-compile-command "make lock"

# PyTorch's CUDA build, which needs no GPU to be imported and asked: 5 GB of wheels for each version.
# ONNX Runtime is that for GPUs. The tests are those that the CPU build has doubles for, those that
# doubles cannot show (tests/cuda_build), and with the version that is installed for users the
# workflow on the CPU.
PINNED := $(patsubst torch==%,%,$(shell grep '^torch==' requirements.txt))
CUDA_BUILDS := $(PINNED) 2.11.0
test-cuda-build: $(CUDA_BUILDS:%=.cache/cuda-%/.tested)

.cache/cuda-%/.tested: .cache/cuda-%/.ready FORCE
	@# In processes of its own: doubles ask for devices, after which no fork can use one.
	PATH="$(CURDIR)/.cache/cuda-$*/bin:$$PATH" python -m pytest --numprocesses=$(WORKERS) \
	  -m cuda_build tests/cuda_build
	PATH="$(CURDIR)/.cache/cuda-$*/bin:$$PATH" python -m pytest --numprocesses=$(WORKERS) \
	  $(if $(filter $*,$(PINNED)),tests/workflow/test_dag.py tests/e2e/test_default_workflow.py) \
	  $(addprefix tests/e2e/test_,$(addsuffix .py,memory offload onnxruntime options platforms \
	  processes races sweep))

# `===`: the version as it stands, and no build of it for a CPU.
.cache/cuda-%/.ready: requirements-dev.lock | $(VENV)/.ready
	$(BIN)/python -m venv $(@D)
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
