# make demo    set up .venv and segment a rendered street drive
# make quick   lint, types and the tests that take no time: minutes less than make test
# make test    lint, types and every test
# make fuzz    thousands of damaged files of every kind (CASES=5000, FUZZ="--replay TARGET:SEED")
# make wheels  dist/: a wheel that installs without a compiler, tried in an empty environment
# make docs    build/site: the documentation, without warnings
# make cuda    compile the CUDA kernels for every architecture, spills are errors, and list them
#
# TORCH=...    which torch to install if there is none, for example TORCH=torch==2.13.0
# PYTHON=...   the Python that .venv is made with

PYTHON ?= python3
TORCH ?= torch>=2.10
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
READY := $(VENV)/.ready
BUILD_INPUTS := setup.py pyproject.toml $(shell find csrc -type f)

CASES ?= 5000
SLOW := slow or browser or emulated

.PHONY: demo quick test fuzz lint format wheels docs cuda clean

demo: $(READY)
	mkdir -p demo
	$(BIN)/accel-rt street demo/street.mp4 --seconds 6
	$(BIN)/accel-rt segment demo/street.mp4 -o demo/street_accel.mp4 --legend
	@echo "Look at demo/street_accel.mp4"

quick: $(READY) lint
	$(BIN)/python -m pytest -m "not ($(SLOW))"

test: $(READY) lint
	$(BIN)/python -m pytest

fuzz: $(READY)
	$(BIN)/python -m tests.fuzz --cases $(CASES) $(FUZZ)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/clang-format --dry-run --Werror $$(find csrc tests \( -name '*.cpp' -o -name '*.cu' -o -name '*.h' -o -name '*.cuh' \))

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $$(find csrc tests \( -name '*.cpp' -o -name '*.cu' -o -name '*.h' -o -name '*.cuh' \))

wheels: $(READY)
	PYTHON=$(BIN)/python .ci/wheels

docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

cuda: $(READY)
	ACCEL_RT_CUDA=1 ACCEL_RT_STRICT=1 $(BIN)/python setup.py build_ext --build-temp build/cuda --build-lib build/cuda/lib
	$(PIP) install -q nvidia-cuda-cuobjdump nvidia-cuda-nvdisasm
	$(BIN)/python benchmarks/cuda_kernels.py build/cuda/lib/accel_rt/ops/_C.abi3.so

# The build sees the torch of this environment: isolation would fetch another one of several GB.
$(READY): $(BUILD_INPUTS)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install -q --upgrade "setuptools>=77" wheel ninja
	$(BIN)/python -c "import torch" 2>/dev/null || $(PIP) install "$(TORCH)"
	$(PIP) install -q --no-build-isolation -e ".[dev]" -e ./weights-paper
	touch $@

clean:
	rm -rf build dist demo *.egg-info accel_rt/ops/*.so $(READY)
