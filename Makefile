# The project's only interface. On a fresh machine `make run` and `make test` need nothing before them.
VENV   := .venv
PY     := $(VENV)/bin/python
# Byte code is made of what is imported, and kept: most modules of most packages never are.
INSTALL := -m pip install --quiet --disable-pip-version-check --use-pep517 --no-compile --require-hashes
PIP    := $(PY) $(INSTALL)
CONVERT := .venv-convert
TOOLS  := .venv-tools
PYTHON ?= python3
PORT   ?= 8001
comma  := ,
# Not `?=`: shells keep the machine's name in a variable HOST.
HOST   := 127.0.0.1
BASE_PORT ?= 15050
ADMIN_PORT ?= 9901
export PYTHONPATH := .:gen:clients/python/src
unexport PYTHONDONTWRITEBYTECODE

# What `make evaluate` measures on: a folder a person, and pairs in LFW's format (PAIRS= for all pairs).
DATA   ?= $(or $(RECO_TEST_DATA),../shared/data)
PHOTOS ?= $(DATA)/faces/lfw_dev
PAIRS  ?= $(wildcard $(PHOTOS)/pairsDevTest.txt)

# Makes models ready; status 3 says that one is a Keras file and TensorFlow is not here: then it is installed first.
CONVERTING = $(PY) -m deploy.models --will-install $(1) || { status=$$?; [ $$status = 3 ] || exit $$status; \
	$(MAKE) --no-print-directory $(CONVERT)/.done && $(PY) -m deploy.models $(1); }

PROTOS := $(shell find protos -name '*.proto')

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help run install-service check test demo console-shots proto models evaluate calibrate bench load chaos fuzz soak backup restore move-database check-data rotate-key key keys revoke-key audit cert mtls mysql s3 lock vulnerabilities openapi release clean

help:
	@echo "make run       serve on port $(PORT) (PORT=… to change); sets itself up"
	@echo "make install-service  the same as a service of systemd, for good; as root"
	@echo "make key       make a key for a client: NAME=door ROLE=verify|enroll|admin EXPIRES=90d"
	@echo "make keys      list keys; make revoke-key NAME=door makes one worthless"
	@echo "make audit     check and print the audit log"
	@echo "make cert      make a certificate, for TLS"
	@echo "make mtls      make certificates by which the services know each other, for RECO_MTLS"
	@echo "make check     check style and types, and run the unit tests: a minute; sets itself up"
	@echo "make test      do that, and run all other tests; sets itself up"
	@echo "make backup    everything in one file, closed by a passphrase, while it runs: TO=file PASSPHRASE_FILE=file"
	@echo "make restore   put it back where nobody is enrolled: FROM=file"
	@echo "make check-data  whether rows, photos, templates and the index agree; REPAIR=yes mends what can be mended"
	@echo "make move-database  into that of another .env, such as from SQLite to MySQL: TO=.env.mysql"
	@echo "make demo      enroll and verify a person on the running system"
	@echo "make models    fetch and convert the weights of MODELS=… (default: SELECTED_MODELS of .env)"
	@echo "make evaluate  measure accuracy on labelled photos"
	@echo "make calibrate fit thresholds on your own people: PHOTOS=folder, or those who are enrolled"
	@echo "make bench     measure speed"
	@echo "make load      load each gRPC method and REST endpoint, by ghz and wrk"
	@echo "make chaos     kill and crowd enrollments, and check that nothing is lost"
	@echo "make fuzz      send INPUTS=… requests that are odd in every way, and check that none does harm"
	@echo "make soak      keep it busy for MINUTES=…, restart its database, and check that it does not grow"
	@echo "make rotate-key  encrypt what is stored by a new key (RECO_ENCRYPTION_KEY_FILE), while it runs"
	@echo "make lock      pin the packages of pyproject.toml anew, with their hashes"
	@echo "make vulnerabilities  ask whether a pinned package is known to be vulnerable"
	@echo "make proto     make the stubs and Envoy's descriptor set"
	@echo "make console-shots  take the documents' pictures of the console"
	@echo "make release   note what later versions of the protos may not break"
	@echo "make openapi   make services/gateway/openapi.json of the protos"

run: $(VENV)/.run gen/reco.pb .env
	@umask 077 && mkdir -p var/db var/uploads var/log
	@grep -Eq '^SQL_URI=["'\'']?sqlite:' .env || $(MAKE) --no-print-directory mysql
	@test -z "$(VECTOR_URI)" || $(MAKE) --no-print-directory $(VENV)/.milvus
	@$(IF_S3)
	@($(call CONVERTING,--missing)) || echo "It starts all the same; what needs that model is refused, and says so."
	@$(PY) -m deploy.local.run --listen $(HOST) --port $(PORT) --base-port $(BASE_PORT) --admin-port $(ADMIN_PORT)

# A service of systemd that starts with the machine: docs/deployment.md.
install-service: $(VENV)/.run gen/reco.pb .env
	@HOST=$(HOST) PORT=$(PORT) BASE_PORT=$(BASE_PORT) ADMIN_PORT=$(ADMIN_PORT) deploy/systemd/install

# Keys of clients, and the audit log: docs/security.md.
ACCESS = $(PY) -m services.gateway.access
key keys revoke-key audit: $(VENV)/.run gen/reco.pb .env
	@mkdir -p var/db var/uploads var/log
	@grep -Eq '^SQL_URI=["'\'']?sqlite:' .env || $(MAKE) --no-print-directory mysql
	@case $@ in \
	key) $(ACCESS) new --name "$(NAME)" --role "$(ROLE)" --expires "$(EXPIRES)" ;; \
	keys) $(ACCESS) list ;; \
	revoke-key) $(ACCESS) revoke --name "$(NAME)" ;; \
	audit) $(ACCESS) audit ;; esac

# A certificate that signs itself, for RECO_TLS_CERT and RECO_TLS_KEY; NAMES=DNS:door.example,IP:10.0.0.2 adds names.
TLS_FOLDER := var/tls
cert:
	@command -v openssl >/dev/null || deploy/local/apt-install openssl
	@! test -e $(TLS_FOLDER)/key.pem || { echo "$(TLS_FOLDER) has a pair already; move it away first"; exit 1; }
	@umask 077 && mkdir -p $(TLS_FOLDER) && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 365 \
		-subj /CN=reco -addext "subjectAltName=DNS:localhost,IP:127.0.0.1,DNS:$$(uname -n)$(addprefix $(comma),$(NAMES))" \
		-keyout $(TLS_FOLDER)/key.pem -out $(TLS_FOLDER)/cert.pem 2>/dev/null
	@echo "made $(TLS_FOLDER)/cert.pem, for a year: RECO_TLS_CERT=$(TLS_FOLDER)/cert.pem RECO_TLS_KEY=$(TLS_FOLDER)/key.pem make run"

# One for all services of this machine, for RECO_MTLS.
mtls: $(VENV)/.run gen/reco.pb
	@umask 077 && $(PY) -m deploy.docker.certificates --together var/mtls
	@echo "RECO_MTLS=var/mtls make run"

check: $(VENV)/.check gen/reco.pb
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(PY) -m pytest tests/unit

test: check $(VENV)/.test $(VENV)/.mysql $(VENV)/.milvus $(CONVERT)/.done
	@command -v mariadbd >/dev/null || deploy/local/apt-install mariadb-server
	@command -v chromium >/dev/null || deploy/local/apt-install chromium
	@command -v nginx >/dev/null || test -d /run/systemd/system || deploy/local/apt-install nginx-light  # systemd would start it
	$(PY) -m pytest --ignore tests/unit $(PYTEST_ARGS)

console-shots: $(VENV)/.test gen/reco.pb
	@command -v chromium >/dev/null || deploy/local/apt-install chromium
	@$(PY) -m tests.e2e.console_shots

demo: $(VENV)/.demo gen/reco.pb
	@$(PY) -m deploy.local.demo --port $(PORT)

models: $(VENV)/.run gen/reco.pb $(if $(MODELS),,.env)
	@umask 077 && mkdir -p var/db var/uploads var/log
	@$(call CONVERTING,$(MODELS))

evaluate: $(VENV)/.test gen/reco.pb
	$(PY) -m tests.quality.evaluate --models $(or $(MODELS),Dlib) --photos $(PHOTOS) $(addprefix --pairs ,$(PAIRS)) --out var/evaluation \
		$(addprefix --groups ,$(GROUPS)) $(if $(DISGUISES),--disguises)
	$(PY) -m tests.quality.evaluate_liveness

calibrate: $(VENV)/.test gen/reco.pb
	$(PY) -m tests.quality.calibrate --models $(or $(MODELS),MobileFaceNet) \
		$(if $(filter-out file,$(origin PHOTOS)),--photos $(PHOTOS)) --out var/calibration

bench: $(VENV)/.test gen/reco.pb
	$(PY) -m tests.load.bench $(BENCH_ARGS)

load: $(VENV)/.test gen/reco.pb
	@$(PY) -m tests.load.run $(LOAD_ARGS)

chaos: $(VENV)/.test $(VENV)/.mysql gen/reco.pb
	@$(PY) -m tests.e2e.chaos $(CHAOS_ARGS)

fuzz: $(VENV)/.test gen/reco.pb
	@$(PY) -m tests.fuzz.run $(addprefix --inputs ,$(INPUTS)) $(addprefix --seed ,$(SEED)) $(addprefix --replay ,$(REPLAY))

soak: $(VENV)/.test $(VENV)/.mysql gen/reco.pb
	@$(PY) -m tests.e2e.soak $(addprefix --minutes ,$(MINUTES))

IF_S3 = test -z "$(PHOTOS_URI)" || $(MAKE) --no-print-directory s3

# People's data as a whole: docs/backup.md.
IF_MYSQL = ! grep -qs '^SQL_URI=' $(1) || grep -Eq '^SQL_URI=["'\'']?sqlite:' $(1) || $(MAKE) --no-print-directory mysql
PASSPHRASE = $(addprefix --passphrase-file ,$(PASSPHRASE_FILE))
backup restore move-database check-data: $(VENV)/.run gen/reco.pb
	@umask 077 && mkdir -p var/db var/uploads var/log
	@$(call IF_MYSQL,.env) && $(if $(filter move-database,$@),$(call IF_MYSQL,$(TO)),true) && $(IF_S3)
	@case $@ in \
	backup) $(PY) -m deploy.data.backup $(addprefix --to ,$(TO)) $(PASSPHRASE) ;; \
	restore) $(PY) -m deploy.data.restore "$(FROM)" $(PASSPHRASE) ;; \
	move-database) $(PY) -m deploy.data.move "$(TO)" --gateway 127.0.0.1:$(BASE_PORT) ;; \
	check-data) $(PY) -m deploy.data.check $(if $(REPAIR),--repair) --embedder 127.0.0.1:$$(($(BASE_PORT) + 3)) ;; esac

rotate-key: $(VENV)/.run gen/reco.pb .env
	@$(IF_S3)
	@$(PY) -m deploy.local.rotate_key

proto: gen/reco.pb

# What later versions of the protos may not break: to be made, and committed, with each release.
release: gen/reco.pb
	@site=$$($(PY) -c 'import sysconfig; print(sysconfig.get_path("purelib"))') && \
	$(PY) -m grpc_tools.protoc -I protos -I "$$site" --include_imports --descriptor_set_out=protos/released.binpb $(sort $(PROTOS))

# A test wants it to be what this makes.
openapi: gen/reco.pb
	@$(PY) -m deploy.openapi

gen/reco.pb: $(PROTOS) $(VENV)/.run
	@rm -rf gen && mkdir -p gen
	@site=$$($(PY) -c 'import sysconfig; print(sysconfig.get_path("purelib"))') && \
	$(PY) -m grpc_tools.protoc -I protos -I "$$site" --python_out=gen --grpc_python_out=gen --pyi_out=gen \
		--plugin=$(dir $(PY))protoc-gen-mypy_grpc --mypy_grpc_out=quiet,only_sync:gen $(PROTOS) && \
	$(PY) -m grpc_tools.protoc -I protos -I "$$site" --include_imports --include_source_info \
		--descriptor_set_out=$@ $(PROTOS) google/rpc/error_details.proto

.env:
	@umask 077 && $(PY) -m deploy.local.first_env

# MySQL's client is compiled, and needs the client's headers: only where MySQL is used.
mysql: $(VENV)/.mysql

# The client of an object store: only where PHOTOS_URI is set.
s3: $(VENV)/.s3

# The virtual environment, in layers: what running needs, on top of it what `make check` needs, and `make test` on top.
$(PY):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; name one with make PYTHON=python3.11"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || deploy/local/apt-install python3-venv
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.run: requirements/run.txt | $(PY)
	@echo "installing dependencies (once) …"
	@$(PIP) -r $<
	@touch $@

$(VENV)/.mysql: requirements/mysql.txt $(VENV)/.run
	@command -v mariadb_config >/dev/null || command -v mysql_config >/dev/null || \
		deploy/local/apt-install libmariadb-dev pkg-config gcc python3-dev
	@$(PIP) -r $<
	@touch $@

$(VENV)/.milvus: requirements/milvus.txt $(VENV)/.run
	@$(PIP) -r $<
	@touch $@

$(VENV)/.s3: requirements/s3.txt $(VENV)/.run
	@$(PIP) -r $<
	@touch $@

$(VENV)/.demo: requirements/demo.txt $(VENV)/.run
	@$(PIP) --no-deps --target $(VENV)/demo --upgrade -r $<
	@touch $@

$(VENV)/.check: requirements/check.txt $(VENV)/.run $(VENV)/.demo
	@$(PIP) -r $<
	@touch $@

$(VENV)/.test: requirements/test.txt $(VENV)/.check
	@$(PIP) -r $<
	@touch $@

# TensorFlow and deepface, 1.7 GB, apart from all else: only Keras files that are to become ONNX networks need them.
$(CONVERT)/.done: requirements/convert.txt requirements/convert-nodeps.txt | $(PY)
	@echo "installing TensorFlow, to convert Keras files (once) …"
	@test -x $(CONVERT)/bin/python || $(PYTHON) -m venv $(CONVERT)
	@$(CONVERT)/bin/python $(INSTALL) -r $<
	@$(CONVERT)/bin/python $(INSTALL) --no-deps -r requirements/convert-nodeps.txt
	@touch $@

# What looks after the pins, apart from what is pinned.
$(TOOLS)/.done: requirements/tools.txt
	@test -x $(TOOLS)/bin/python || $(PYTHON) -m venv $(TOOLS)
	@$(TOOLS)/bin/python $(INSTALL) -r $<
	@touch $@

# Pins extras of pyproject.toml and all that they need, with the hashes of their files, for Debian 12's Python, by earlier
# pins where those say something.
LOCK := pip compile --quiet --python-version 3.11.2 --generate-hashes --no-header --no-annotate --no-emit-index-url
PIN = $(TOOLS)/bin/uv $(LOCK) pyproject.toml -o requirements/$(1).txt $(2:%=--extra %) $(3:%=-c requirements/%.txt)
lock: $(TOOLS)/.done
	$(call PIN,run,run)
	$(call PIN,check,check,run)
	$(call PIN,test,test,run check)
	$(call PIN,mysql,mysql,run)
	$(call PIN,milvus,milvus-lite,run test)
	$(call PIN,s3,s3,run test)
	$(call PIN,images/detector,detector,run)
	$(call PIN,images/liveness,liveness workshop,run)
	$(call PIN,images/embedder,embedder workshop mysql,run mysql)
	$(call PIN,images/gateway,gateway mysql,run mysql)
	$(call PIN,images/milvus,milvus,run milvus)
	$(call PIN,images/s3,s3,run s3)
	$(call PIN,convert,convert)
	$(call PIN,convert-nodeps,convert-nodeps) --no-deps
	$(call PIN,bench,bench)
	$(call PIN,demo,demo) --no-deps
	$(call PIN,tools,tools)

vulnerabilities: $(TOOLS)/.done
	@$(PYTHON) -m deploy.local.vulnerabilities $(TOOLS)/bin/pip-audit requirements/*.txt requirements/images/*.txt

clean:
	rm -rf $(VENV) $(CONVERT) $(TOOLS) gen
