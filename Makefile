# Every target does its own set-up, in .venv, and does nothing twice. Start with `make run` or `make test`.
#
#   make run  ARGS='"def fib(n):"'     complete Python with the embedded model; ARGS go to `nearlight run`
#   make test ARGS='tests/text -k gguf'    all tests, or those that ARGS choose
#   make fuzz ARGS='--workers 1'       spoiled packages, loaded under limits, for hours; Ctrl-C ends with a summary
#   make everywhere                    all tests on a machine that is busy, narrow, plain, slow and fast
#   make lint format levels sanitize tsan clean

VENV := .venv
BIN := $(VENV)/bin
NATIVE := $(shell find native)
native_tests := tests/kernels tests/machine tests/decode/test_ranking.py
pytest = $(BIN)/python -m pytest -n auto --maxprocesses 8

.PHONY: run test everywhere lint format levels fuzz sanitize tsan clean
.DELETE_ON_ERROR:

run: ARGS ?= 'def read_config(path):'
run: $(VENV)/.installed
	@$(BIN)/nearlight run $(ARGS)

test: $(VENV)/.test
	@$(pytest) $(ARGS)

# All tests in conditions that they must not notice, one after the other; `make everywhere CONDITIONS=slow` for one.
CONDITIONS := idle busy narrow plain slow fast
idle :=
busy := command -v stress-ng >/dev/null || { echo 'busy needs stress-ng (apt install stress-ng)' >&2; exit 1; }; \
  stress-ng --cpu 4 >/dev/null 2>&1 & trap "kill $$! 2>/dev/null" EXIT INT TERM;
narrow := taskset -c 0
plain := export NEARLIGHT_ISA=plain;
slow := export NEARLIGHT_PACE=0.5;
fast := export NEARLIGHT_PACE=2;
everywhere: $(CONDITIONS:%=under-%)
under-%: $(VENV)/.test
	@echo 'tests under the condition: $*'
	@$($*) $(pytest) $(ARGS)

lint: $(VENV)/.lint
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.lint
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# The tests of native code once for each instruction level that this processor has.
levels: $(VENV)/.test
	@for level in $$($(BIN)/python -c 'from nearlight import _native; print(*_native.isas())'); do \
	  echo "level $$level"; NEARLIGHT_ISA=$$level $(pytest) $(native_tests) $(ARGS) || exit 1; \
	done

# Spoiled packages of every family, loaded under limits of memory and time, until Ctrl-C. What fails is saved.
fuzz: $(VENV)/.test
	@$(BIN)/python -m tests.attacks.fuzzing $(ARGS)

# The tests of native code under AddressSanitizer and UndefinedBehaviorSanitizer, on the plain level. The sanitized build lies
# beside the usual one, and is the one found because the base interpreter, which is given the venv's packages as a mere
# path, does not run the venv's hook for editable installs.
sanitize: SANITIZERS := address,undefined
sanitize: PRELOADED := libasan.so libstdc++.so
sanitize: $(VENV)/.test
	@$(build_sanitized)
	@ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
	$(run_sanitized) $(native_tests) $(ARGS)

# Recording and replaying with 1, 2 and 3 threads under ThreadSanitizer, likewise. Addresses are not randomized, as its
# shadow memory has fixed places; and it cannot follow threads that are started after a fork.
tsan: SANITIZERS := thread
tsan: PRELOADED := libtsan.so
tsan: $(VENV)/.test
	@$(build_sanitized)
	@TSAN_OPTIONS=halt_on_error=1:exitcode=66 setarch -R env $(run_sanitized) \
	  tests/kernels/test_cpu_program.py -k 'not fork' -p no:xdist $(ARGS)

sanitized = build/$@
define build_sanitized
echo 'building with sanitizers: $(SANITIZERS)' >&2; rm -rf $(sanitized)/site; \
$(call quietly,$(BIN)/python -m pip install --no-build-isolation --no-deps --target $(sanitized)/site \
  -C build-dir=$(sanitized)/cmake -C cmake.define.NEARLIGHT_SANITIZE=$(SANITIZERS) -C install.strip=false .)
endef
run_sanitized = LD_PRELOAD=$(subst $(space),:,$(foreach library,$(PRELOADED),$(shell $${CXX:-c++} -print-file-name=$(library)))) \
  NEARLIGHT_ISA=plain \
  PYTHONPATH=$(sanitized)/site:$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))') \
  $$($(BIN)/python -c 'import sys; print(sys._base_executable)') -S -m pytest
space := $(subst ,, )

clean:
	rm -rf $(VENV) build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find src tests train -name __pycache__ -prune -exec rm -rf {} +

# ---- set-up: a file in .venv stands for each thing done --------------------------------------------------------------

# $(call quietly,command): say nothing unless it fails.
quietly = ( $(1) ) >$(VENV)/setup.log 2>&1 || { cat $(VENV)/setup.log >&2; exit 1; }

# pip is upgraded because dependency groups need 25.1, and Python 3.11 brings an older one.
$(VENV)/.created:
	@for python in $(PYTHON) python3 python3.14 python3.13 python3.12 python3.11; do \
	  $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break; python=; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "nearlight needs Python 3.11 or newer, and found $$(python3 --version 2>/dev/null || echo none);" \
	    "install one, or name it: make PYTHON=/path/to/python3.12" >&2; exit 1; \
	fi; \
	echo "setting up: $$($$python --version) in $(VENV)" >&2; \
	rm -rf $(VENV) && mkdir $(VENV) && \
	$(call quietly,$$python -m venv $(VENV) && $(BIN)/python -m pip install --upgrade 'pip>=25.1')
	@touch $@

# Built without pip's isolation: an isolated build has new paths each time and would compile everything again.
$(VENV)/.installed: $(VENV)/.created pyproject.toml $(NATIVE)
	@printf '#include <compare>\nstruct A { int x; bool operator==(const A&) const = default; };\n' >$(VENV)/try.cpp; \
	$${CXX:-c++} -std=c++20 -fsyntax-only $(VENV)/try.cpp 2>/dev/null || { \
	  echo "nearlight needs a C++20 compiler (GCC 11 or Clang 14, or newer) as $${CXX:-c++}; install one" \
	    "(Debian, Ubuntu: apt install g++; macOS: xcode-select --install), or name it: CXX=/path/to/g++ make" >&2; \
	  exit 1; }
	@echo 'setting up: packages' >&2
	@$(call quietly,$(BIN)/python -m pip install --group build)
	@echo 'setting up: native library (compiling takes a minute)' >&2
	@$(call quietly,$(BIN)/python -m pip install --no-build-isolation --editable .)
	@touch $@

$(VENV)/.test: pyproject.toml | $(VENV)/.installed
	@echo 'setting up: what the tests need (PyTorch among it)' >&2
	@$(call quietly,$(BIN)/python -m pip install --group test)
	@touch $@

$(VENV)/.lint: pyproject.toml | $(VENV)/.test
	@echo 'setting up: linters' >&2
	@$(call quietly,$(BIN)/python -m pip install --group lint)
	@touch $@
