# Everything is installed into .venv, nothing elsewhere. `make train EXTRA=cu112` uses NVIDIA GPUs.
SHELL := /bin/sh
.DELETE_ON_ERROR:

FITS := import sys; sys.exit(not (3, 8) <= sys.version_info[:2] <= (3, 13))
PYTHON ?= $(or $(firstword $(foreach p,python3 python3.11 python3.10 python3.9 python3.8 python3.12 python3.13,\
	$(shell $(p) -c '$(FITS)' 2>/dev/null && echo $(p)))),python3)
INSTALLED := $(shell cat .venv/.ready 2>/dev/null)
EXTRA ?= $(or $(INSTALLED),cpu)
PIP := .venv/bin/python -m pip --disable-pip-version-check

TRAIN_FLAGS ?= --num-layers 92 --shape slim --data-dir data/sample/cifar10 --epochs 5 --batch-size 25 \
	--dtype auto --optimizer adam --lr 0.002 --warmup-epochs 0.3 --name sample $(if $(filter cpu,$(EXTRA)),--num-gpus 0)
PYTEST_ARGS ?=
BENCH_FLAGS ?=

ifeq ($(filter cpu cu112,$(EXTRA)),)
$(error EXTRA is cpu or cu112, not '$(EXTRA)')
endif
ifneq ($(EXTRA),$(INSTALLED))
.PHONY: .venv/.ready  # another build of MXNet is asked for
endif

.PHONY: help train native native-asan test test-pythons test-all lint docs bench clean
help:
	@echo "make train | native | test | test-pythons | test-all | lint | docs | bench | clean   (see CONTRIBUTING.md)"

# One core is left to other processes, see docs/speed.md.
train: .venv/.ready $(if $(filter cpu,$(EXTRA)),.venv/.native)
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-$$(nproc --ignore=1)} \
	.venv/bin/python train/cifar10_train.py $(TRAIN_FLAGS)

# The native library, see docs/native.md; a line says why, where it cannot be built.
native: .venv/.native
	@.venv/bin/python -m gluon_attention.native.build

.venv/.native: .venv/.ready gluon_attention/native/build.py $(wildcard gluon_attention/native/source/*)
	@$(PIP) install -q -c constraints.txt -e '.[$(EXTRA),native]' || echo "oneDNN cannot be installed"
	@.venv/bin/python -m gluon_attention.native.build
	@touch $@

# Tests of the library with the sanitizers of addresses and of undefined behaviour.
native-asan: .venv/.native
	export GLUON_ATTENTION_NATIVE=$(CURDIR)/.venv/asan && \
	.venv/bin/python -m gluon_attention.native.build --asan && \
	LD_PRELOAD="$$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libubsan.so)" \
	ASAN_OPTIONS=detect_leaks=0 OMP_NUM_THREADS=1 \
	.venv/bin/python -m pytest tests/native $(PYTEST_ARGS)

# A process a core: most tests are too small for a second thread.
test: .venv/.ready
	OMP_NUM_THREADS=1 .venv/bin/python -m pytest -n auto --maxprocesses 4 --dist worksteal \
	$(PYTEST_ARGS)

# `make test` on every Python in PYTHONS: what is committed, each in a clone and an environment of its
# own in a temporary folder. One that fails does not keep the others from being tested.
PYTHONS ?= $(foreach p,$(addprefix python3.,8 9 10 11 12 13),$(shell $(p) -c '' 2>/dev/null && echo $(p)))
test-pythons:
	@test -n "$(strip $(PYTHONS))" || { echo "no Python 3.8 to 3.13 here: name some," \
	"make test-pythons PYTHONS='python3.9 /path/to/python3.13'" >&2; exit 1; }
	@status=0; for python in $(PYTHONS); do \
		folder=$$(mktemp -d) && git clone -q . $$folder/clone \
		&& $(MAKE) -C $$folder/clone PYTHON=$$python EXTRA=cpu test \
		&& echo "$$python: passed" || { echo "$$python: failed" >&2; status=1; }; \
		rm -rf $$folder; \
	done; exit $$status

# One test at a time, with all threads. Slow tests as well, on the CUDA build those that need a GPU,
# and with Horovod those that need it; those that need PyTorch where GLUON_ATTENTION_TORCH names a
# Python that has it.
test-all: .venv/.ready
	.venv/bin/python -m pytest -m "$(if $(filter cpu,$(EXTRA)),not gpu,(slow or not slow)) $(shell \
	.venv/bin/python -c 'import horovod.mxnet' 2>/dev/null || echo and not horovod) \
	$(if $(GLUON_ATTENTION_TORCH),,and not torch)" $(PYTEST_ARGS)

lint: .venv/.ready
	.venv/bin/python -m ruff check .
	.venv/bin/python -m ruff format --check .

# The site in build/site. API pages are read from the source, so that MXNet is not needed.
docs: .venv-docs/.ready
	.venv-docs/bin/python -m mkdocs build --strict --quiet

.venv-docs/.ready: docs/requirements.txt
	$(PYTHON) -m venv --clear .venv-docs
	.venv-docs/bin/python -m pip --disable-pip-version-check install -q -r docs/requirements.txt
	@touch $@

bench: .venv/.ready
	.venv/bin/python benchmarks/speed.py $(BENCH_FLAGS)

clean:
	rm -rf .venv .venv-docs build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# On Python 3.13 MXNet comes last and without what it asks for, see setup.py: so pip does not complain.
.venv/.ready: setup.py constraints.txt
	@$(PYTHON) -c '$(FITS)' 2>/dev/null || { echo "gluon_attention needs Python 3.8 to 3.13, and" \
	"$(PYTHON) is none: install one, then run make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@.venv/bin/python -c '$(FITS)' 2>/dev/null && $(PIP) --version >/dev/null 2>&1 \
	|| $(PYTHON) -m venv --clear .venv >/dev/null 2>&1 \
	|| { rm -rf .venv; echo "$(PYTHON) cannot make a virtual environment: on Debian or Ubuntu" \
	"run apt-get install python3-venv" >&2; exit 1; }
	@! $(PIP) show -q $(if $(filter cpu,$(EXTRA)),mxnet-cu112,mxnet) 2>/dev/null \
	|| $(PIP) uninstall -q -y mxnet mxnet-cu112  # they overwrite each other's files
	$(PIP) install -q -c constraints.txt -e '.[$(EXTRA),dev]'
	@.venv/bin/python -c 'import sys; sys.exit(sys.version_info >= (3, 13))' \
	|| $(PIP) install -q --no-deps $(if $(filter cpu,$(EXTRA)),mxnet,mxnet-cu112)==1.9.1
	@echo $(EXTRA) >$@
