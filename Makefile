# Everything runs in .venv at the root, which the first target makes; the documentation in .venv-docs.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-slow lowest soak fuzz lint docs weights bench coverage mutation gpu gpu-cifar clean

demo: .venv/attnlab   ## analyse and attack the built-in model: Tables 1-5 in runs/demo, Table 6 in runs/demo-evaluate
	$(BIN)/attnlab analyze --split val --method grad-cam,lime --lime-superpixels slic --lime-samples 50 --out runs/demo
	$(BIN)/attnlab evaluate --limit 200 --attacks clean,fgsm,pgd10,pgd20,cw10 --out runs/demo-evaluate
	@echo "next: source .venv/bin/activate, and \`attnlab\` is found; attnlab report runs/demo shows every image"

test: .venv/dev   ## the whole test suite, up to four tests at a time
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" -n auto --maxprocesses 4 --dist worksteal

test-slow: .venv/dev   ## the tests that take minutes
	$(BIN)/python -m pytest -m slow

lowest: .venv-lowest/ready   ## the suite with the oldest library of each kind that pyproject.toml allows; PYTHON is 3.11
	OMP_NUM_THREADS=1 .venv-lowest/bin/python -m pytest -m "not slow" -n auto --maxprocesses 4 --dist worksteal

SOAK ?= --count 200 --seed 0 --out runs/soak

soak: .venv/dev   ## 200 seeded faults, each command repeated and compared byte for byte; done seeds are not tried again
	OMP_NUM_THREADS=1 PYTHONPATH=tests $(BIN)/python -m endurance.soak $(SOAK)

fuzz: .venv/dev   ## 10,000 generated cases: damaged images and tables, odd options, broken runs and networks
	OMP_NUM_THREADS=1 PYTHONPATH=tests $(BIN)/python -m endurance.fuzz $(FUZZ)

lint: .venv/dev   ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: .venv-docs/ready   ## the pages of docs/ as site/index.html; any broken link is an error
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/python -m mkdocs build --strict --quiet
	@echo "open site/index.html: its search works without a server"

weights: .venv/attnlab   ## train the built-in model again
	$(BIN)/python -m benchmarks.weights

bench: .venv/dev   ## every benchmark against peer and floor; DATA names a folder of photographs and weights
	$(BIN)/python -m benchmarks.bench $(if $(DATA),--data $(DATA))

coverage: .venv/dev   ## branch coverage of attnlab/ and cli/ by the test suite
	rm -f .coverage .coverage.*
	OMP_NUM_THREADS=1 $(BIN)/python -m coverage run -m pytest -m "not slow" -n 2 --dist worksteal
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report --sort=cover

mutation: .venv/dev   ## change the code 40 times a file, seeded, and print what no test notices
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.mutation

# For a machine with a GPU whose Python has the packages already: nothing is installed. PYTHON names it, OUT the folder
# of the results, ROOT that of CIFAR-10's files; the same command goes on with what is left.
OUT ?= runs/gpu

gpu:   ## device tests and benchmarks on one GPU, nine minutes a call
	$(PYTHON) -m benchmarks.gpu --out $(OUT)

gpu-cifar:   ## the whole CIFAR-10 block of Table 6 on one GPU, nine minutes a call
	$(PYTHON) -m benchmarks.gpu_cifar $(if $(ROOT),--root $(ROOT)) --out $(OUT)

clean:
	rm -rf .venv .venv-docs .venv-lowest site build dist *.egg-info

.venv/attnlab: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -c constraints.txt -e .
	touch $@

.venv/dev: .venv/attnlab
	$(BIN)/python -m pip install --quiet -c constraints.txt -e .[dev]
	touch $@

# torchattacks asks for a requests of 2020, with which no datasets of today works
.venv-lowest/ready: pyproject.toml
	$(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/python -m pip install --quiet uv
	echo "requests>=2.32.2" > .venv-lowest/overrides.txt
	.venv-lowest/bin/uv pip install --quiet --python .venv-lowest --resolution lowest-direct \
		--override .venv-lowest/overrides.txt -e .[test]
	touch $@

.venv-docs/ready: pyproject.toml docs/constraints.txt
	$(PYTHON) -m venv .venv-docs
	.venv-docs/bin/python -m pip install --quiet --upgrade "pip>=25.1"
	.venv-docs/bin/python -m pip install --quiet -c docs/constraints.txt --group docs
	touch $@
