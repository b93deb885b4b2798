# Everything runs from a virtual environment of its own, .venv, which the first call makes.
PYTHON ?= python3
BIN := .venv/bin
DEMO := demo

.PHONY: help demo test test-slow test-backends check bench build clean

help:
	@echo "make demo       draw actors, preprocess, train, ablate and write the report (8 minutes)"
	@echo "make test       run the tests"
	@echo "make test-slow  run the tests that take longer"
	@echo "make test-backends  run the tests of models and training on PyTorch and JAX, and time the ConvLSTM"
	@echo "make check      ruff and mypy"
	@echo "make bench      measure start-up and preprocessing speed"
	@echo "make build      build the wheel"
	@echo "make clean      remove the environment, builds and the demo"

# OpenCV's usual build wants desktop libraries; where they are missing, its headless build
# of the same version takes its place.
.venv/ready: setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "microx needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version)." \
	         "Name another: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@echo "setting up .venv (about two minutes, most of it TensorFlow)"
	@$(PYTHON) -m venv --clear .venv || \
	  { echo "no virtual environment could be made; on Debian and Ubuntu: apt install python3-venv"; exit 1; }
	@$(BIN)/pip install --quiet --disable-pip-version-check --use-pep517 --editable '.[dask,heic,onnx,tflite,tensorboard,test,check,build]'
	@$(BIN)/python -c 'import cv2' 2>/dev/null || \
	  $(BIN)/pip install --quiet --disable-pip-version-check --no-deps \
	    "opencv-python-headless==$$($(BIN)/python -c 'from importlib.metadata import version; print(version("opencv-python"))')"
	@touch $@

demo: .venv/ready
	@rm -rf $(DEMO)
	$(BIN)/microx synth $(DEMO)/videos --subjects 12 --takes 1 --seed 0
	$(BIN)/microx preprocess $(DEMO)/videos --out $(DEMO)/corpus --label-set microx7
	$(BIN)/microx ablate $(DEMO)/corpus --out $(DEMO)/run --regions paper --shuffle-labels

test: .venv/ready
	$(BIN)/python -m pytest

test-slow: .venv/ready
	$(BIN)/python -m pytest -m slow

# The version of PyTorch whose package for CPUs is small; the newest brings gigabytes for GPUs.
.venv-backends/ready:
	@$(PYTHON) -m venv --clear .venv-backends
	@.venv-backends/bin/pip install --quiet --disable-pip-version-check torch==2.13.0 jax
	@.venv-backends/bin/pip install --quiet --disable-pip-version-check --use-pep517 --editable '.[test]'
	@touch $@

test-backends: .venv-backends/ready
	for backend in torch jax; do \
	  KERAS_BACKEND=$$backend .venv-backends/bin/python -m pytest -m 'backends and not slow' || exit 1; \
	  KERAS_BACKEND=$$backend .venv-backends/bin/python tests/bench/networks.py || exit 1; \
	done

check: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: .venv/ready
	$(BIN)/python tests/bench/bench.py

build: .venv/ready
	rm -rf build dist
	$(BIN)/python -m build --wheel

clean:
	rm -rf .venv .venv-backends build dist $(DEMO) *.egg-info .mypy_cache .ruff_cache .pytest_cache
