# Two commands do everything: `make bench` and `make test`. Each installs what it needs once.
#
#   PYTHON=python3.11   the Python to build the environment with: by itself `make` takes the first of
#                       3.10 to 3.12 that it finds, uv's too; with a later one all but IPEX works
#   PROFILE=standard    smoke, standard or full
#   BUDGET=             seconds of measuring; empty: the profile's own
#   DATA=data/pills     the pills: rendered if they are missing; a folder of your own in MVTec AD's
#                       layout is used as it is
#   ENVS="ipex latest"  what to measure side by side: `latest` is the newest stock PyTorch, built into
#                       .venv-latest once (5 GB); NAME=PATH/TO/python is any other environment, where
#                       a space in the path has a backslash before it
#   BACKENDS=openvino   further backends to measure: openvino, onnxruntime, zentorch; installed when
#                       named, zentorch beside the newest PyTorch: it needs ENVS="ipex latest"
#   AGAINST=            the commit that `make gate` compares with; empty: where main was left
#   TORCH_INDEX=        a package index with PyTorch's CPU-only wheels, instead of the large default

# python3 itself where IPEX works with it, else another that is installed beside it.
PYTHON ?= $(shell for found in python3 python3.12 python3.11 python3.10 \
	"$$(uv python find --no-project '>=3.10,<3.13' 2>/dev/null)"; do \
	"$$found" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null \
	&& echo "$$found" && break; done)
PROFILE ?= standard
BUDGET ?=
TORCH_INDEX ?=
DATA ?= data/pills
AGAINST ?=
ENVS ?= ipex
BACKENDS ?=
VENV ?= .venv
VENV_LATEST ?= .venv-latest
RUN ?=

python := $(VENV)/bin/python
# The pinned PyTorch 2.8 has no wheels for Python 3.14: there the newest of everything is taken.
pins = $(shell $(python) -c 'import sys; print("-c constraints.txt" if sys.version_info < (3, 14) else "")')
pip = $(python) -m pip install --disable-pip-version-check --quiet $(pins)
pip_latest := $(VENV_LATEST)/bin/python -m pip install --disable-pip-version-check --quiet -c constraints-latest.txt
log := $(VENV)/install.log

# One word for the shell, whatever its characters are; `~/` is the home folder, also inside quotes.
quoted = '$(subst ','\'',$(subst <start>,,$(subst <start>~/,$(HOME)/,<start>$(1))))'
interpreter = $(call quoted,$(PYTHON))
data = $(call quoted,$(DATA))
# Only pills that pillqc rendered have its file; a folder of others has one of good pills somewhere.
own_pills = ! grep -qs '"renderer"' $(data)/dataset.json && \
	find -L $(data) -maxdepth 3 -type d -iname good -print -quit 2>/dev/null | grep -q .

# Make splits a list at every space: that of a path, `\ `, has another name until the shell sees it.
space := $() $()
wanted_envs := $(subst \$(space),<space>,$(ENVS))
# `ipex` is always there, since its stock default is what everything divides by.
latest := $(if $(filter latest,$(wanted_envs)),$(VENV_LATEST)/.installed)
envs := $(if $(latest),--env torch-latest=$(VENV_LATEST)) $(foreach env,$(wanted_envs),$(if $(findstring =,$(env)),--env $(subst <space>,\$(space),$(env))))
unknown_envs := $(subst <space>,\$(space),$(foreach env,$(filter-out ipex latest,$(wanted_envs)),$(if $(findstring =,$(env)),,$(env))))
# One line says what failed and where the rest is; nothing half-installed passes as done.
or_stop = >>$(if $(2),$(2),$(log)) 2>&1 || { echo "make: installing $(1) failed: $$(grep -h '^ERROR' $(if $(2),$(2),$(log)) | tail -n 1) (all of it is in $(if $(2),$(2),$(log)))" >&2; exit 1; }

# A further backend has an extra of its name; pip would only warn of one that does not exist.
unknown_backends := $(strip $(foreach name,$(BACKENDS),$(if $(shell grep '^$(name) = \[' pyproject.toml),,$(name))))
# One that needs a newer PyTorch than that of IPEX is installed beside the newest.
elsewhere := $(filter zentorch,$(BACKENDS))
without_env := $(if $(strip $(envs)),,$(elsewhere))
installed_backends := $(patsubst %,$(VENV)/.installed-%,$(filter-out $(elsewhere),$(BACKENDS))) $(if $(latest),$(elsewhere:%=$(VENV_LATEST)/.installed-%))

.DEFAULT_GOAL := help
.PHONY: help bench gate report machine data tutorial train test check microbench microbench-compare example clean known-envs known-backends

help: ## show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

bench: known-envs known-backends data $(latest) $(installed_backends) ## measure and write results/ and reports/ (PROFILE=smoke|standard|full, BUDGET=seconds)
	@$(python) -m bench run --profile $(PROFILE) $(if $(BUDGET),--budget $(BUDGET)) --data $(data) $(envs) $(foreach name,$(BACKENDS),--backend $(name))

report: $(VENV)/.installed ## make the newest run's page again (RUN=results/... for another)
	@$(python) -m bench report $(if $(RUN),$(call quoted,$(RUN)))

# make ends with 2 whatever the gate's own exit code is: scripts call `python -m bench gate`.
gate: data ## is this tree slower than where it left main (AGAINST=commit for another)?
	@$(python) -m bench gate $(if $(AGAINST),--against $(call quoted,$(AGAINST))) --data $(data)

machine: $(VENV)/.installed ## show what this machine is and can do
	@$(python) -m bench machine

data: $(VENV)/.installed ## render the synthetic pills, unless DATA= has pills of your own
	@if $(own_pills); then echo $(data)': pills that pillqc did not render, used as they are'; \
		else $(python) -m pillqc render --out $(data); fi

tutorial: data ## the tutorial "Good or Bad Pill?", each statement measured here (DATA= real pills)
	@$(python) -m bench tutorial --data $(data)

train: data ## train the inspector on the pills
	@$(python) -m pillqc train --data $(data)

test: $(VENV)/.installed-dev ## run the tests
	@$(python) -m pytest

check: $(VENV)/.installed-dev ## format, lint, types and layers
	@$(python) -m ruff format --check .
	@$(python) -m ruff check .
	@$(python) -m mypy
	@$(VENV)/bin/lint-imports --no-logo

microbench: $(VENV)/.installed-dev ## time single functions inside one process, and keep the times
	@$(python) -m pytest tests/microbench/bench_*.py -n 0 -q --durations=0 -W default --benchmark-autosave

microbench-compare: $(VENV)/.installed-dev ## the kept times of single functions, side by side
	@$(VENV)/bin/pytest-benchmark compare --group-by=name --columns=min,median,iqr,rounds

example: $(VENV)/.installed-dev ## make the docs' example page and picture again (RUN=results/...)
	@$(python) .ci/example.py $(if $(RUN),$(call quoted,$(RUN)))

clean: ## remove the environments and caches; results and reports stay
	@rm -rf $(VENV) $(VENV_LATEST) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

known-envs:
	@test -z "$(unknown_envs)" || { echo "make: ENVS=$(unknown_envs) is not known: say ipex, latest or NAME=PATH/TO/python" >&2; exit 1; }

known-backends:
	@test -z "$(unknown_backends)" || { echo "make: BACKENDS=$(unknown_backends) is not known: say openvino, onnxruntime or zentorch" >&2; exit 1; }
	@test -z "$(without_env)" || { echo "make: BACKENDS=$(without_env) needs a newer PyTorch than IPEX's: say ENVS=\"ipex latest\" too" >&2; exit 1; }

$(VENV)/.created:
	@test -n $(interpreter) || { echo "make: no Python 3.10, 3.11 or 3.12 was found: get one with 'uv python install 3.12' or your system's packages, or name one with PYTHON= (with PYTHON=python3.13 all but IPEX works)" >&2; exit 1; }
	@$(interpreter) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "make: Python 3.10 or later is needed and $(PYTHON) is another: name one with PYTHON=" >&2; exit 1; }
	@$(interpreter) -c 'import sys; sys.version_info < (3, 13) or print("Python", sys.version.split()[0] + ": all but IPEX works, which needs 3.10 to 3.12")'
	@$(interpreter) -m venv $(VENV) || { echo "make: cannot create $(VENV): is the venv module installed?" >&2; exit 1; }
	@touch $@

$(VENV)/.installed: $(VENV)/.created pyproject.toml constraints.txt
	@echo "installing PyTorch, IPEX and the rest into $(VENV) (some minutes, once)"
	@$(pip) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch torchvision $(call or_stop,PyTorch)
	@$(pip) -e '.[ipex]' $(call or_stop,the packages)
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@$(pip) -e '.[ipex,dev]' $(call or_stop,the development tools)
	@touch $@

$(VENV)/.installed-%: $(VENV)/.installed
	@$(pip) -e '.[ipex,$*]' $(call or_stop,$*)
	@touch $@

# IPEX 2.8 needs PyTorch 2.8, so the newest PyTorch cannot be beside it: an environment of its own.
$(VENV_LATEST)/.installed: constraints-latest.txt | $(VENV)/.created
	@echo "installing the newest stock PyTorch into $(VENV_LATEST) (some minutes, once)"
	@$(python) -m venv $(VENV_LATEST) || { echo "make: cannot create $(VENV_LATEST)" >&2; exit 1; }
	@$(pip_latest) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch torchvision $(call or_stop,the newest PyTorch,$(VENV_LATEST)/install.log)
	@$(pip_latest) -r constraints-latest.txt $(call or_stop,the newest PyTorch's packages,$(VENV_LATEST)/install.log)
	@touch $@

$(VENV_LATEST)/.installed-%: $(VENV_LATEST)/.installed pyproject.toml
	@$(pip_latest) '$(shell sed -n 's/^$* = \["\([^;"]*\).*/\1/p' pyproject.toml)' $(call or_stop,$*,$(VENV_LATEST)/install.log)
	@touch $@
