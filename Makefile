PYTHON ?= python3
VENV ?= .venv

.PHONY: demo test thorough slow site

demo: $(VENV)/.demo
	$(VENV)/bin/xalign demo

test: $(VENV)/.installed
	$(VENV)/bin/pytest --numprocesses 2 --dist loadfile

thorough: $(VENV)/.installed
	$(VENV)/bin/pytest --numprocesses 2 --dist loadfile -m 'thorough and not slow'

slow: $(VENV)/.installed
	$(VENV)/bin/pytest -m slow

site: $(VENV)/.installed
	XALIGN_RUN_NOTEBOOKS=1 NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict

# A stamp comes last, so that an install that broke off is done again. Each target installs what it needs and
# takes nothing away, so that either can come first.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

$(VENV)/.demo: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --constraint constraints.txt --editable '.[demo]'
	touch $@
