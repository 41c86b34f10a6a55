# Two commands do everything on a machine with Python 3.11 or newer: `make run` and `make test`.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# What a daemon needs is installed, and what the tests need as well.
RUNNABLE := $(VENV)/.runnable
INSTALLED := $(VENV)/.installed
PREFIX ?= /usr/local
DESTDIR ?=

# Where the environment forbids byte code, each daemon that a test starts compiles a hundred modules anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run test test-all compiled explore check style types format unicode-table vectors bench torture mutate simulate interleavings scenario cluster-suites install uninstall systemd-test constraints stub clean

# As variables, so that OPTIONS may say otherwise.
run: export PRESENCED_STORAGE__DIRECTORY = var/presenced
run: export PRESENCED_ADMIN__SOCKET = auto
run: export PRESENCED_HTTP__ADDRESS = 127.0.0.1:5251
run: $(RUNNABLE)  ## start a daemon for trying things out (loopback only, believes every name)
	$(BIN)/presenced serve --dev $(OPTIONS)

test: $(INSTALLED)  ## the quick tests, with a fifth of the samples
	TEST_SHARE=0.2 $(BIN)/python -m pytest -q -n auto --dist worksteal -m 'not slow and not peers and not systemd'

test-all: $(INSTALLED)  ## all tests
	$(BIN)/python -m pytest -q -n auto --dist loadfile $(WORDS)

compiled: $(INSTALLED)  ## the byte code of all tests, which each process of the next run would make for itself
	-@$(BIN)/python -m pytest -q --collect-only >/dev/null

explore: $(INSTALLED)  ## property tests and simulated lives that nobody has tried, twice as many; the printed seed brings them back
	@seed=$${HYPOTHESIS_SEED:-$$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')}; \
	echo "hypothesis seed, and seed of the first life: $$seed (again with HYPOTHESIS_SEED=$$seed)"; \
	TEST_SHARE=2 FIRST_LIFE=$$seed $(BIN)/python -m pytest -q -n auto --dist worksteal -m 'not peers and not systemd' --hypothesis-seed=$$seed $(WORDS)

check: style types test-all  ## what has to hold before anything is merged

style: $(INSTALLED)
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .

types: $(INSTALLED)
	$(BIN)/mypy

format: $(INSTALLED)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

unicode-table: $(INSTALLED)  ## (with Python 3.11) the tables of characters, from the newest Unicode
	$(BIN)/python -m tests.unicode.make_table

vectors: $(INSTALLED)  ## the vectors of presenced/conformance, from protocol.md
	$(BIN)/python -m tests.conformance.make_vectors

bench: $(INSTALLED)  ## server CPU per delivery, beside a bare C loop
	$(BIN)/python -m bench fanout --watchers 1000 --changes 200

torture: $(INSTALLED)  ## hours: a million crash states, every damaged log, every failing system call, 4,000 kills, 250 failovers, 16,000 lives, 10 million bytes at the doors
	$(BIN)/python -m tests.storage.seeded_bugs
	$(BIN)/python -m tests.torture.crash --states 1000000
	$(BIN)/python -m tests.torture.reader
	$(BIN)/python -m tests.torture.kill --rounds 1000
	$(BIN)/python -m tests.torture.follow --rounds 1000
	$(BIN)/python -m tests.torture.returns --rounds 1000
	$(BIN)/python -m tests.torture.faults
	$(BIN)/python -m tests.sim --lives 10000 --seed 0
	$(BIN)/python -m tests.doors.fuzz
	$(BIN)/python -m tests.cluster 0 1000
	$(BIN)/python -m tests.torture.nodes --kills 1000 --failovers 200 --others 300 --pairs 300 --grouped 1000 --towns 4
	$(BIN)/python -m tests.torture.nodes --kills 50 --failovers 50 --ack replica --towns 4
	$(MAKE) cluster-suites

interleavings: $(INSTALLED)  ## an hour: who holds a device, after any seven steps of services, programs and the server
	PRESENCED_STEPS=7 $(BIN)/python -m pytest -q -n auto tests/client/test_interleavings.py

mutate: $(INSTALLED)  ## changes to the code, one by one, that the nearest tests have to notice
	$(BIN)/python -m tests.mutation $(WORDS)

simulate: $(INSTALLED)  ## LIVES=N lives of a server, its disk and its clients, from a seed; SEED=N alone: that one again
	$(BIN)/python -m tests.sim $(if $(LIVES),--lives $(LIVES)) $(if $(SEED),--seed $(SEED))

scenario: $(INSTALLED)  ## minutes: two backends and 300 pages, in virtual time, with a daemon and with three nodes, where everything is killed
	PRESENCED_SCENARIO_S=60 $(BIN)/python -m pytest -q -n auto tests/scenario

cluster-suites: $(INSTALLED)  ## minutes: the suites of one server, whole, with each link on another of three nodes
	PRESENCED_SCENARIO_S=60 $(BIN)/python -m pytest -q -n auto -k 'three and nodes' tests/conformance tests/e2e tests/scenario tests/visibility

# Under /usr/local, or PREFIX; into a package's tree with DESTDIR; with another interpreter by PYTHON.
INSTALL_CHOICES = PREFIX='$(PREFIX)' DESTDIR='$(DESTDIR)' PYTHON='$(if $(filter file,$(origin PYTHON)),,$(PYTHON))'

install:  ## (as root) the programs, the systemd units, and once a configuration and a secret; again = upgrade
	@$(INSTALL_CHOICES) systemd/install.sh

uninstall:  ## (as root) takes that away, but for configuration, secret, state and user
	@$(INSTALL_CHOICES) systemd/uninstall.sh

systemd-test: $(INSTALLED)  ## (as root) the installed service under a real systemd, in a container
	$(BIN)/python -m pytest -q tests/systemd

# Both say what they do, and look first whether this Python will do.
$(RUNNABLE): pyproject.toml constraints.txt .ci/make-venv.sh
	@PYTHON='$(PYTHON)' .ci/make-venv.sh $(VENV) cluster
	@touch $@

$(INSTALLED): pyproject.toml constraints.txt .ci/make-venv.sh
	@PYTHON='$(PYTHON)' .ci/make-venv.sh $(VENV) dev
	@touch $(RUNNABLE) $@

stub: $(INSTALLED)  ## presenced/sync.pyi anew, after a method of a client has changed
	$(BIN)/python -m tests.client.sync_stub

constraints:  ## constraints.txt anew: the newest version of everything; run the tests before you keep it
	@PYTHON='$(PYTHON)' .ci/make-constraints.sh

clean:
	rm -rf $(VENV) bench/build .mypy_cache .ruff_cache .pytest_cache .hypothesis
