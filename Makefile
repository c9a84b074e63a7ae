# Entry points for someone standing in a checkout; all thin. `make help` lists them.
SHELL := /bin/bash
CACHE := $(or $(ASCEND_GPUSTACK_CACHE),$(HOME)/.cache/ascend-gpustack)
export ASCEND_GPUSTACK_CACHE := $(CACHE)
VENV := $(CACHE)/venv-$(shell cat requirements.txt requirements-dev.txt | sha256sum | cut -c1-12)
export PATH := $(VENV)/bin:$(PATH)
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

.PHONY: venv
venv: $(VENV)/.done ## Python environment with Ansible and the test tools, in the cache

$(VENV)/.done:
	@echo "==> Python environment $(VENV)"
	@mkdir -p $(CACHE)
	@python3 -m venv --help >/dev/null 2>&1 && python3 -c 'import ensurepip' 2>/dev/null || \
	  apt-get install -y --no-install-recommends python3-venv >$(CACHE)/venv.log 2>&1
	@rm -rf $(VENV) && python3 -m venv $(VENV)
	@$(VENV)/bin/pip install -q --disable-pip-version-check -r requirements-dev.txt >>$(CACHE)/venv.log 2>&1 || \
	  { tail -20 $(CACHE)/venv.log; rm -rf $(VENV); exit 1; }
	@ln -sfn $(VENV) $(CACHE)/venv-dev
	@touch $@
