# `make demo` and `make test` are all you need; both set up .venv first where something is missing.
.POSIX:
.PHONY: setup demo test test-slow lint bench clean

PY = .venv/bin/python
ARGS =

demo: .venv/.ready
	.venv/bin/flockcast run nyc-green

test: .venv/.ready
	$(PY) -m pytest -m "not slow" $(ARGS)

# the statistical and long checks: many kills, the paper's table
test-slow: .venv/.ready
	$(PY) -m pytest -m slow $(ARGS)

lint: .venv/.ready
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

bench: .venv/.ready
	$(PY) benchmarks/accuracy.py
	$(PY) benchmarks/graphs.py
	$(PY) benchmarks/regenn.py jhu
	$(PY) benchmarks/regenn.py reference
	$(PY) benchmarks/regenn.py speed
	$(PY) benchmarks/flows.py --seeds 2
	$(PY) benchmarks/privacy.py --seeds 5
	$(PY) benchmarks/dp_sgd.py
	$(PY) benchmarks/private_step.py
	$(PY) benchmarks/ledger.py

setup: .venv/.ready

.venv/.ready: pyproject.toml constraints.txt .ci/setup
	@sh .ci/setup

clean:
	rm -rf .venv
