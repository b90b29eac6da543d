# What there is to do here; `make` alone, or `make help`, lists it.

PREFIX ?= /usr/local
DESTDIR ?=
PACKAGES ?= packages
CARGO ?= cargo
RELEASE := $(or $(CARGO_TARGET_DIR),target)/release
CONFORMANCE = $(CARGO) test --locked --quiet -p tests --test conformance

.DEFAULT_GOAL := help
.PHONY: help run test kills kills-samples beside fuzz bench bench-peers conformance docs fmt install package static

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## start an agent and an evaluator on this host, to try them; Ctrl-C ends both
	@scripts/run.sh

test: ## check everything: format, clippy, all tests; as root it installs what they need
	@tests/all.sh

kills: ## kill the evaluator CRASH_ROUNDS (1000) times in the order of CRASH_SEED (1), and judge what was told
	@CRASH_ROUNDS=$(or $(CRASH_ROUNDS),1000) CRASH_SEED=$(or $(CRASH_SEED),1) \
	  $(CARGO) test --locked --quiet -p tests --test evaluator -- --nocapture kills_lose

kills-samples: ## kill whoever writes samples CRASH_ROUNDS (10000) times in the order of CRASH_SEED (1), and read what is left
	@CRASH_ROUNDS=$(or $(CRASH_ROUNDS),10000) CRASH_SEED=$(or $(CRASH_SEED),1) \
	  $(CARGO) test --locked --quiet -p storage --test kills

beside: ## judge more than a thousand rules beside a real Prometheus for BESIDE_SECONDS (1800), and compare the alerts
	@BESIDE_SECONDS=$(or $(BESIDE_SECONDS),1800) \
	  $(CARGO) test --locked --quiet -p tests --test evaluator -- --nocapture beside_rules

fuzz: ## feed RUNS (10000000) broken inputs to TARGET: exposition, protobuf, promql, templates, yaml, matchers or chunk
	@case "$(TARGET)" in \
	  chunk) FUZZ_RUNS=$(or $(RUNS),10000000) $(CARGO) test --locked --release --quiet -p storage --lib -- --nocapture changed_chunks ;; \
	  *) FUZZ_TARGET=$(TARGET) FUZZ_RUNS=$(or $(RUNS),10000000) $(CARGO) test --locked --release --quiet -p alertmanager --test fuzz ;; \
	esac

conformance: ## compare with Prometheus, Alertmanager, Nagios: the cases in CONFORMANCE_DIR
	@$(CONFORMANCE)

bench: ## measure the parts that are called often; about five minutes
	@$(CARGO) bench --locked --workspace --bench '*'

bench-peers: ## measure the programs beside their peers, by the harness in MEASURE_DIR
	@tests/bench/run.sh

docs: ## write the settings of every kind of probe into docs/probes.md
	@UPDATE_DOCS=1 $(CARGO) test --locked --quiet -p agent --lib the_documents_show

fmt: ## format the code
	@$(CARGO) fmt --all

install: ## build, and install programs, scripts and dashboards below PREFIX (/usr/local)
	$(CARGO) build --locked --release --bin veilleur --bin veilleur-agent
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib/veilleur \
	  $(DESTDIR)$(PREFIX)/share/veilleur/grafana
	install -m 755 $(RELEASE)/veilleur $(RELEASE)/veilleur-agent $(DESTDIR)$(PREFIX)/bin
	install -m 755 probes/scripts/*.sh probes/scripts/*.py $(DESTDIR)$(PREFIX)/lib/veilleur
	install -m 644 dashboards/grafana/*.json $(DESTDIR)$(PREFIX)/share/veilleur/grafana

package: ## build the agent's Debian package into PACKAGES (./packages)
	$(CARGO) build --locked --release --bin veilleur-agent
	@agent/deploy/debian/build.sh $(RELEASE)/veilleur-agent $(PACKAGES)

static: ## build an agent that needs no library of the host, for any Linux of this processor
	install -D -m 755 "$$(CARGO=$(CARGO) agent/deploy/static.sh --release)" \
	  $(or $(CARGO_TARGET_DIR),target)/static/veilleur-agent
