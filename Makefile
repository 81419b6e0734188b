# Everything a newcomer types. Each target makes .venv and installs what it needs; nothing is assumed but Python >= 3.10.
# make demo PYTHON=python3.12     another Python; TORCH_INDEX=none or a URL: where torch comes from (install.py)
PYTHON ?= python3
BIN := .venv/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
IMAGE ?=

.PHONY: demo test test-fast coverage lint docs fuzz bench clean

demo: .venv/demo.installed  ## export the demo models, run them on a real image (or IMAGE=...), show where the result is
	@$(BIN)/python demo/demo.py $(IMAGE)

# Each worker has a core of its own; a second thread of PyTorch or NumPy would wait for the other worker's, and spin.
test test-fast coverage: export OMP_NUM_THREADS ?= 1
TESTS := -m pytest -n auto --maxprocesses 4 --dist worksteal

test: .venv/dev.installed  ## every test that this machine can run; TESTS_OF=slow: only those that `test-fast` leaves out
	@$(BIN)/python $(TESTS) $(if $(TESTS_OF),-m $(TESTS_OF))

test-fast: .venv/dev.installed  ## the tests that take seconds, for the edit-run loop
	@$(BIN)/python $(TESTS) -m "not slow"

coverage: .venv/dev.installed  ## branch coverage of the fast tests; fails below the figure in pyproject.toml
	@$(BIN)/python $(TESTS) -m "not slow" --cov --cov-report=term:skip-covered

lint: .venv/dev.installed  ## style, types, import contracts
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@PYTHONPATH=. $(BIN)/lint-imports

docs: export NO_MKDOCS_2_WARNING := 1
docs: .venv/docs.installed  ## the handbook, into build/docs; a broken link or a missing reference fails
	@$(BIN)/mkdocs build --strict
	@echo "build/docs/index.html"

bench: .venv/dev.installed  ## every benchmark, as ratios against a peer in the same run
	@$(BIN)/python benchmarks/preprocess.py
	@$(BIN)/python benchmarks/predict.py
	@$(BIN)/python benchmarks/export.py
	@$(BIN)/python benchmarks/cpu.py --out benchmarks/results/arithmetic.md
	@$(BIN)/python benchmarks/engines.py
	@$(BIN)/python benchmarks/serving.py --out benchmarks/results/serving.md
	@$(BIN)/python benchmarks/compare.py --out benchmarks/results/compare.md --keep build/bench

COUNT ?= 50000
SEED ?= 0
fuzz: .venv/dev.installed  ## hostile inputs; FAMILY=images: one family, OUT=FILE.md: write the table
	@OMP_NUM_THREADS=1 PYTHONPATH=.:tests $(BIN)/python -m attacks.fuzz --count $(COUNT) --seed $(SEED) \
		$(if $(FAMILY),--family $(FAMILY)) $(if $(OUT),--out $(OUT))

clean:  ## forget what was installed and made
	rm -rf .venv demo_output build dist *.egg-info

.venv/%.installed: pyproject.toml constraints.txt install.py
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.10 or newer is needed, got %d.%d. Name one: make PYTHON=python3.11 ..." % sys.version_info[:2] if sys.version_info < (3, 10) else 0)'
	@$(PYTHON) install.py $*
