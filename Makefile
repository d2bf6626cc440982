# Every target sets up what it needs in .venv. `make` alone lists the targets.
# Windows and conda: README.md gives the same steps without make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SETTINGS := pyproject.toml constraints.txt
CHAPTERS := $(wildcard chapters/*.ipynb)
# Where `make lab` opens; the first chapter unless LAB_CHAPTER names another.
LAB_CHAPTER ?= $(firstword $(wildcard chapters/[0-9]*.ipynb))
LAB_ARGS ?=
# Gigabytes that .venv needs.
SPACE := 3

# One thread a process: sums come out the same whatever the number of cores (so the committed
# outputs can be compared strictly), and two notebooks run side by side without a quarrel.
ONE_THREAD := OMP_NUM_THREADS=1

.DEFAULT_GOAL := help
.PHONY: help lab test book pdf browser accessibility links costs portability sync bench assignments \
	grade mutants exercises progress lock clean

help:  ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(firstword $(MAKEFILE_LIST)) | sed -E 's/:.*## /\t/' | expand -t 15

lab: $(VENV)/.stamp-notebooks  ## open the course in JupyterLab (LAB_ARGS="--no-browser --port=8899")
	@$(if $(CHAPTERS),$(BIN)/python -m nbformat.sign $(CHAPTERS) >/dev/null)
	@echo "JupyterLab prints its address below; stop it with Ctrl-C."
	@JUPYTER_CONFIG_PATH="$(CURDIR)/.jupyter" $(BIN)/python -m jupyterlab $(if $(filter 0,$(shell id -u)),--allow-root) \
		$(if $(LAB_CHAPTER),--LabApp.default_url=/lab/tree/$(LAB_CHAPTER)) $(LAB_ARGS)

test: $(VENV)/.stamp-course  ## style, types, tests, and every notebook against its committed outputs
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy
	$(ONE_THREAD) $(BIN)/python -m pytest -n 2 -m "not site and not browser and not attack"
	$(ONE_THREAD) $(BIN)/python -m pytest --nbval --nbval-sanitize-with=tests/chapters/nbval.cfg \
		$(CHAPTERS) -n 2 --dist loadfile

book: $(VENV)/.stamp-site  ## build the site from the committed outputs, warnings as errors
	$(BIN)/jupyter-book build --all -W -n --keep-going .
	@echo "The site: $(CURDIR)/_build/html/index.html"

pdf: $(VENV)/.stamp-pdf book  ## the whole book as one PDF, printed by Chromium: _build/course.pdf
	$(BIN)/python scripts/pdf.py

browser: $(VENV)/.stamp-course  ## the site and JupyterLab driven by a headless Chromium
	$(ONE_THREAD) $(BIN)/python -m pytest -n 2 --dist loadscope -m "site or browser"

accessibility: $(VENV)/.stamp-course book  ## ask axe-core about every page of the site: results/accessibility.json
	$(BIN)/python scripts/accessibility.py

links: $(VENV)/.stamp-course  ## ask every address that the course points to whether it is still there (needs a network)
	$(BIN)/python scripts/links.py

costs: $(VENV)/.stamp-notebooks  ## seconds and peak memory of each chapter that changed (CHAPTER= ALL=1)
	$(BIN)/python scripts/notebook_costs.py $(CHAPTER) $(if $(ALL),--all)

portability: $(VENV)/.stamp-notebooks  ## execute the chapters as on other machines: threads, instruction sets (CHAPTER=)
	$(BIN)/python scripts/portability.py $(CHAPTER)

sync: $(VENV)/.stamp-notebooks  ## execute the chapters whose text changed (ALL=1: every one)
	$(BIN)/python scripts/notebooks.py sync $(if $(ALL),--all)
	$(BIN)/python scripts/overview.py

bench: $(VENV)/.stamp-data  ## time a training step of each model against the loop people write first
	$(BIN)/python -m course_lib bench

assignments: $(VENV)/.stamp-grading  ## write the student versions to release/ (CHAPTER=04_gan_minimax)
	$(BIN)/python scripts/assignments.py $(if $(CHAPTER),--chapter $(CHAPTER))

grade: $(VENV)/.stamp-grading  ## collect, check in a sandbox, record, write feedback (CHAPTER= STUDENT= INBOX= JOBS= SCHEDULER= AGAIN=1 TRUSTED=1)
	$(BIN)/python -m classroom grade $(if $(CHAPTER),--chapter $(CHAPTER)) $(if $(STUDENT),--student "$(STUDENT)") \
		$(if $(INBOX),--inbox "$(INBOX)") $(if $(JOBS),--jobs $(JOBS)) $(if $(SCHEDULER),--scheduler $(SCHEDULER)) \
		$(if $(AGAIN),--again) $(if $(TRUSTED),--trusted)

mutants: $(VENV)/.stamp-notebooks  ## change the solutions automatically: do the tests of the exercises notice? (CHAPTER= ALL=1)
	$(ONE_THREAD) $(BIN)/python scripts/mutants.py $(if $(CHAPTER),--chapter $(CHAPTER)) $(if $(ALL),--all)

exercises: $(VENV)/.stamp-notebooks  ## your own copies of the exercises, with hints and solutions, in my_exercises/
	$(BIN)/python -m classroom exercises $(if $(CHAPTER),--chapter $(CHAPTER))

progress: $(VENV)/.stamp-notebooks  ## which of your exercises are solved
	$(BIN)/python -m classroom progress

lock:  ## renew constraints.txt from the ranges in pyproject.toml
	$(PYTHON) scripts/lock.py

clean:  ## remove .venv and everything built
	rm -rf $(VENV) _build build *.egg-info

# .stamp-notebooks installs the extra "notebooks", and so on: a target waits only for what it
# uses, once, until the settings change. pip 25.1 is the first that shows how far it has come.
$(VENV)/.stamp-%: $(SETTINGS) | $(BIN)/python
	@echo 'Installing "$*" into $(VENV): once, some minutes. On Linux PyTorch brings CUDA along, several'
	@echo 'gigabytes; to avoid that see README.md, "A smaller download on Linux".'
	@{ $(BIN)/python -m pip install --quiet --disable-pip-version-check "pip>=25.1" && \
		$(BIN)/python -m pip install -c constraints.txt -e ".[$*]"; } || \
		{ echo 'The installation stopped, for the reason above. The next make goes on with it.'; exit 1; }
	@touch $@

# Where ensurepip is missing (Debian: python3-venv), venv says so, but leaves half of .venv behind.
$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { \
		echo 'There is no $(PYTHON). The course needs Python 3.11 or newer (https://www.python.org).'; \
		echo 'If it has another name here: make PYTHON=python3.12 ...'; exit 1; }
	@$(PYTHON) -c 'import sys; v = sys.version.split()[0]; sys.exit(sys.version_info < (3, 11) and \
		f"Python 3.11 or newer is needed, but $(PYTHON) is {v}; try: make PYTHON=python3.12 ...")'
	@$(PYTHON) -c 'import shutil, sys; free = shutil.disk_usage(".").free / 1e9; sys.exit(free < $(SPACE) and \
		f"Only {free:.1f} GB are free here. The course needs $(SPACE) GB, with CUDA on Linux several more.")'
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }
