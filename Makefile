# SPDX-License-Identifier: Apache-2.0
# Everything is made below .work/<distro>; 'make help' lists the targets and variables.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help build demo test bench lint clean

# A distribution named on the command line is meant, whatever is sourced.
ifeq ($(origin ROS_DISTRO),command line)
export SPIKESEG_FORCE_WHEELS := 1
endif
OUT ?= demo_output

help:
	@echo 'make build   make the environment where none is sourced, and build the package'
	@echo 'make demo    run the whole ROS graph on a simulated scene, or on BAG=path'
	@echo 'make test    run all tests'
	@echo 'make bench   run the benchmarks'
	@echo 'make lint    check style, types and the package manifest'
	@echo 'make clean   remove what was built; rm -rf .work removes the environments too'
	@echo
	@echo 'ROS_DISTRO=jazzy|kilted   ROS 2 of the virtual environment (default: what is sourced, or jazzy)'
	@echo 'PYTHON=python3.12         its interpreter (3.10 to 3.13)'
	@echo 'TORCH_SPEC=torch==2.13.0  what pip installs where torch is missing (2.6 or newer); only for the CPU:'
	@echo '                          "torch==2.13.0+cpu --extra-index-url https://download.pytorch.org/whl/cpu"'
	@echo 'demo:  MODEL=spikeseg|mfs_seg|spike2former BAG=path IMAGES=folder WEIGHTS=file OUT=$(OUT) ARGS="..."'
	@echo 'test:  ARGS="test/events -k evt3"'
	@echo 'bench: ARGS="events encoder --quick"'

build:
	@scripts/build.sh

demo: build
	@scripts/run.sh spikeseg demo --out '$(OUT)' $(if $(BAG),--bag '$(BAG)') $(if $(IMAGES),--images '$(IMAGES)') \
	  $(if $(MODEL),--model '$(MODEL)') $(if $(WEIGHTS),--weights '$(WEIGHTS)') $(ARGS)

test: build
	@env -u ROS_DOMAIN_ID scripts/run.sh python3 -m pytest $(or $(ARGS),test)

bench: build
	@scripts/run.sh python3 -m bench $(ARGS)

lint: build
	@scripts/run.sh scripts/lint.sh

clean:
	rm -rf .work/*/{build,install,src,log,numba,pycache,build.stamp} .work/pip
