# Everything a person does with this project. Each target sets up what it needs.
.DEFAULT_GOAL := help
.PHONY: help setup demo demo-cluster serve test check conformance bundle dashboard ffmpeg chromium

help: ## say what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: node_modules/.installed ffmpeg bundle dashboard ## install packages (Node 24 among them) and ffmpeg, build service and dashboard

demo: setup ## make a video with two simulated GPUs, from the REST request to the MP4
	@npm run --silent demo

demo-cluster: setup ## run twelve jobs on three simulated nodes with PostgreSQL, and kill the leader
	@npm run --silent demo-cluster

serve: setup ## run the service on this machine's GPUs; docs/configuration.md has the settings
	@npm start --silent --ignore-scripts

test: setup chromium check ## run every check: types, lint, Python, and all tests
	@echo '--- tests'
	@npm test --silent

check: node_modules/.installed ## run the quick checks: types, lint, Python, documentation
	@echo '--- types'
	@npm run --silent types
	@echo '--- lint'
	@npm run --silent lint
	@echo '--- python'
	@npm run --silent python
	@echo '--- documentation'
	@npm run --silent docs -- --check

conformance: setup ## run the real code of Wan2.2 on a CPU through the service; test/conformance/README.md says how
	@sh scripts/ensure-python-venv.sh
	@npm run --silent conformance

# Install scripts stay off: better-sqlite3 brings its binaries, and would try to compile them anew.
# Only the package that brings Node itself has something to do.
node_modules/.installed: package.json package-lock.json
	@echo '--- packages'
	@npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@npm rebuild node --loglevel=error >/dev/null
	@touch $@

bundle: dist/.built ## build the service, if its sources have changed

dist/.built: $(shell find src \( -path src/dashboard -o -name __pycache__ \) -prune -o -type f -print) vite.config.ts node_modules/.installed
	@echo '--- service'
	@npm run --silent bundle
	@touch $@

dashboard: dist/dashboard/.built ## build the page at /, if its sources have changed

dist/dashboard/.built: $(shell find src/dashboard -type f) node_modules/.installed
	@echo '--- dashboard'
	@npm run --silent dashboard
	@touch $@

ffmpeg:
	@sh scripts/ensure-ffmpeg.sh

# Not needed to run the service: tests of pages in a browser are skipped without one.
chromium:
	@sh scripts/ensure-chromium.sh
