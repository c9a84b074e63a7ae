# Entry points for someone standing in a checkout; all thin. `make help` lists them.
SHELL := /bin/bash -o pipefail
CACHE := $(or $(ASCEND_GPUSTACK_CACHE),$(HOME)/.cache/ascend-gpustack)
export ASCEND_GPUSTACK_CACHE := $(CACHE)
VENV := $(CACHE)/venv-$(shell sha256sum requirements-dev.txt | cut -c1-12)
export PATH := $(VENV)/bin:$(PATH)
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg
# Ansible's temporary files and the sockets of its SSH connections, and pip's downloads, lie in the cache too, not in the home directory.
export ANSIBLE_HOME := $(CACHE)/ansible
export ANSIBLE_SSH_CONTROL_PATH_DIR := $(ANSIBLE_HOME)/cp
export PIP_CACHE_DIR := $(CACHE)/pip

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

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

# ---- the demo: five simulated servers, one real cluster -----------------------------------------------------------------

PAGE_PORT := $(or $(LAB_PAGE_PORT),18080)

.PHONY: demo
demo: venv ## five simulated Atlas servers, and a real GPUStack cluster on them
	@lab/lab up 5
	@start=$$SECONDS; ansible-playbook -i inventories/lab/hosts.yml site.yml && \
	  echo "==> site.yml: $$((SECONDS - start)) s"
	@echo "==> GPUStack page: http://127.0.0.1:$(PAGE_PORT), user admin; its initial password, valid until the first login:"
	@echo "    lab/lab exec atlas1 docker exec gpustack cat /var/lib/gpustack/initial_admin_password"
	@echo "    To remove it all: make clean"

# Hosts with kernels of their own, for what containers can't do: an NFS server, a reboot.
VM_PAGE_PORT := $(or $(LAB_PAGE_PORT),18081)

.PHONY: vm-up
vm-up: ## three simulated servers as virtual machines
	@lab/vm up 3

.PHONY: vm-demo
vm-demo: venv vm-up ## the same cluster on virtual machines, with a store over NFS
	@start=$$SECONDS; ansible-playbook -i inventories/vm/hosts.yml site.yml && \
	  echo "==> site.yml: $$((SECONDS - start)) s"
	@echo "==> GPUStack page: http://127.0.0.1:$(VM_PAGE_PORT), user admin; its initial password, valid until the first login:"
	@echo "    lab/vm exec atlas1 docker exec gpustack cat /var/lib/gpustack/initial_admin_password"
	@echo "    To remove it all: make vm-down"

.PHONY: vm-down
vm-down: ## remove the virtual machines; keep what they are made of
	@lab/vm down

.PHONY: clean
clean: ## remove the demo's and the tests' servers, networks, volumes and processes; keep the cache
	@for socket in $(ANSIBLE_SSH_CONTROL_PATH_DIR)/*; do [ ! -S "$$socket" ] || ssh -q -O exit -o ControlPath="$$socket" lab 2>/dev/null || true; done
	@$(TEST_LAB_2) lab/lab down
	@$(TEST_LAB_1) lab/lab down
	@lab/lab clean
	@rm -rf $(ANSIBLE_HOME) .ansible .mypy_cache .pytest_cache .ruff_cache .hypothesis .molecule
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: distclean
distclean: clean ## also the cache
	@rm -rf $(CACHE)

# ---- what leaves the checkout ---------------------------------------------------------------------------------------------

.PHONY: awx-project
awx-project: venv ## a git repository for AWX in DEST; with PUBLISHED=1 it names the collection's version on Galaxy
	@[ -n "$(DEST)" ] || { echo "awx-project: DEST is empty; expected the folder to write to. Run make awx-project DEST=FOLDER."; exit 1; }
	@awx/export "$(DEST)" $(if $(PUBLISHED),--published)

# ---- tests ----------------------------------------------------------------------------------------------------------------

# The tests' servers have a name and a network of their own, so that a demo beside them is left alone; tests/run makes them twice at a time.
TEST_LAB_1 := LAB_NAME=ascend-gpustack-test LAB_NET=$(or $(TEST_LAB_NET),198.18.34) LAB_PAGE_PORT=$(or $(TEST_LAB_PAGE_PORT),18134)
TEST_LAB_2 := LAB_NAME=ascend-gpustack-test2 LAB_NET=$(or $(TEST_LAB2_NET),198.18.36) LAB_PAGE_PORT=$(or $(TEST_LAB2_PAGE_PORT),18136)
TEST_LAB := $(TEST_LAB_$(or $(TEST_LANE),1))
# Seen by the machines alone, and the same for both, which so share their first boots.
VM_NET := LAB_NET=$(or $(TEST_VM_NET),198.18.35)
VM_TEST_LAB_1 := LAB_NAME=ascend-gpustack-vmtest $(VM_NET) LAB_VM_SSH_PORT=$(or $(TEST_VM_SSH_PORT),22320) LAB_PAGE_PORT=$(or $(TEST_VM_PAGE_PORT),18135)
VM_TEST_LAB_2 := LAB_NAME=ascend-gpustack-vmtest2 $(VM_NET) LAB_VM_SSH_PORT=$(or $(TEST_VM2_SSH_PORT),22340) LAB_PAGE_PORT=$(or $(TEST_VM2_PAGE_PORT),18137)
VM_TEST_LAB := $(VM_TEST_LAB_$(or $(TEST_LANE),1))
comma := ,
parts = $(subst $() $(),$(comma),$(strip $(1)))
SCENARIOS := $(notdir $(patsubst %/molecule.yml,%,$(wildcard molecule/*/molecule.yml)))
# Those that are slow and rarely broken: takeovers, upgrades, workers that leave, models of GPUStack 0.7, and a cluster of five that grows, of
# which the scenario awx has a worker join by --limit.
LONG_ONLY := molecule-documented molecule-leave molecule-migrate molecule-models molecule-models_earlier molecule-scale_out molecule-upgrade
# Those that are run with GPUStack 0.7, too
OLD := old-backup old-interrupted old-options old-reset old-scale_out
# In two lanes of about the same length. The Swarm is measured under load, and the site on virtual machines takes all of the processors, so that
# both are alone.
CLUSTERS := $(filter-out molecule-vm_% molecule-swarm molecule-check_mode $(LONG_ONLY),$(SCENARIOS:%=molecule-%))
BESIDE_UNIT := molecule-awx molecule-backup molecule-images

.PHONY: lint
lint: venv ## form and types: ruff, mypy, yamllint, ansible-lint (production), the changelog
	@ruff check . && ruff format --check .
	@cd collections && mypy --config-file ../pyproject.toml ansible_collections/ascend/gpustack/plugins
	@yamllint --strict .
	@antsibull-changelog lint
	@ansible-lint --offline -q

.PHONY: unit
unit: venv ## parsers, filters and modules, without a host
	@pytest tests/unit

# Without those that also need what runs on the controller, which are a part of matrix-2.15.
.PHONY: python39
python39: venv ## the same of modules alone, on the oldest Python that they run on
	@tests/controller/run modules python3 -m pytest -q --strict-markers -p no:cacheprovider \
	  $$(grep -l 'plugins\.module\(s\|_utils\)' tests/unit/test_*.py | xargs grep -LE 'plugins\.(action|filter|plugin_utils)')

.PHONY: sanity
sanity: venv ## ansible-test sanity
	@tests/sanity/run 2>&1 | grep -Ev '^(Collecting|Downloading|  Downloading|Installing|Successfully|Using cached)|━'

.PHONY: gateway
gateway: venv ## the gateway's settings in the real HAProxy, before stand-ins of vLLM
	@tests/gateway/run

.PHONY: docs
docs: venv ## the documentation as a site in each language, and a zip of both, in the cache; a link that leads nowhere fails
	@python docs/build.py $(CACHE)/docs

.PHONY: galaxy
galaxy: venv ## the collection's tarball, and what galaxy-importer says of it
	@tests/galaxy

# tests/controller/versions.txt has every ansible-core that is tested, and whether it is a part of `make test` or of `make test-long`.
matrix_of = $(patsubst %,matrix-%,$(shell awk '$$7 == "$(1)" { split($$1, part, "."); print part[1] "." part[2] }' tests/controller/versions.txt))

.PHONY: matrix
matrix: venv ## the collection on every ansible-core that it is tested with; prints what ran with which result
	@$(TEST_LAB) tests/matrix
	@$(TEST_LAB) lab/lab down

.PHONY: matrix-%
matrix-%: venv
	@$(TEST_LAB) tests/matrix $*

.PHONY: molecule
molecule: venv $(SCENARIOS:%=molecule-%) ## every scenario on the simulated servers
	@$(TEST_LAB) lab/lab down
	@$(VM_TEST_LAB) lab/vm down

.PHONY: molecule-%
molecule-%: venv
	@echo "==> scenario $*"
	@molecule reset -s $* >$(CACHE)/molecule-$*.log 2>&1 || { cat $(CACHE)/molecule-$*.log; exit 1; }
	@$(TEST_LAB) molecule test -s $* --destroy=never

# Those on virtual machines come last; the containers of the others would only take their processors.
.PHONY: molecule-vm_%
molecule-vm_%: vm-lab
	@echo "==> scenario vm_$*"
	@molecule reset -s vm_$* >$(CACHE)/molecule-$*.log 2>&1 || { cat $(CACHE)/molecule-$*.log; exit 1; }
	@$(VM_TEST_LAB) molecule test -s vm_$* --destroy=never

# A scenario that is the same for both, with GPUStack 0.7.
.PHONY: old-%
old-%:
	@TEST_LONG=1 TEST_GPUSTACK_0_7=1 $(MAKE) --no-print-directory molecule-$*

# A scenario with its tests that are marked as long.
.PHONY: long-%
long-%:
	@TEST_LONG=1 $(MAKE) --no-print-directory molecule-$*

# The scenario check_mode is a part of each version of the matrix here, with either generation of GPUStack. On virtual machines one takeover of a
# store and one site.yml with a reboot are tried here; a check, a second run, a dead store and what storage is refused for, in test-long.
.PHONY: test
test: venv ## the tests; prints what each part took, and leaves nothing behind
	@tests/run lab lint,unit,$(call parts,$(call matrix_of,test)),$(call parts,$(BESIDE_UNIT))+$(call parts,$(filter-out $(BESIDE_UNIT),$(CLUSTERS)) lab-down) molecule-swarm vm-lab \
	  python39,sanity,galaxy,docs,gateway+molecule-vm_takeover molecule-vm_site

.PHONY: test-long
test-long: venv ## what test leaves out
	@tests/run lab $(call parts,$(call matrix_of,long) $(LONG_ONLY))+long-default,long-interrupted,long-reset,$(call parts,$(OLD)) \
	  long-swarm vm-lab molecule-vm_refusals long-vm_site

.PHONY: lab
lab: ## the servers' images for the tests, and empty servers
	@$(TEST_LAB) lab/lab reset 5

.PHONY: lab-down
lab-down: ## remove these servers
	@$(TEST_LAB) lab/lab down

.PHONY: vm-lab
vm-lab: venv labs-down ## the virtual machines' disks for the tests
	@$(VM_TEST_LAB) lab/vm images

.PHONY: labs-down
labs-down: # without an engine there are none
	@! docker info >/dev/null 2>&1 || { $(TEST_LAB_2) lab/lab down && $(TEST_LAB_1) lab/lab down; }

.PHONY: test-down
test-down: labs-down
	@$(VM_TEST_LAB_2) lab/vm down
	@$(VM_TEST_LAB_1) lab/vm down
	@$(TEST_LAB_1) lab/lab engine-stop
