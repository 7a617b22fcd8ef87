# masktune: `make demo` and `make test` do everything on a fresh Debian or Ubuntu machine; `make help` lists the rest.
# Everything built lands in $(BUILD), what the examples write in out/; nothing else in the tree changes.

BUILD      ?= .build
LUA        ?= lua5.4
PKG_CONFIG ?= pkg-config
PREFIX     ?= /usr/local
LUADIR     ?= $(PREFIX)/share/lua/5.4
LIBDIR     ?= $(PREFIX)/lib/lua/5.4
BINDIR     ?= $(PREFIX)/bin
export CC LUA LUA_INCDIR

# WebP images are read where libwebp is there (WEBP= leaves it out).
WEBP       ?= $(shell $(PKG_CONFIG) --exists libwebp 2>/dev/null && echo libwebp)
# Figures become PNG and PDF where Cairo is there (CAIRO= leaves it out), else SVG.
CAIRO      ?= $(shell $(PKG_CONFIG) --exists cairo-pdf 2>/dev/null && echo cairo)
PACKAGES   := openblas libpng libjpeg zlib $(WEBP) $(CAIRO)
LUA_INC    ?= $(if $(LUA_INCDIR),-I$(LUA_INCDIR),$(shell \
                $(PKG_CONFIG) --cflags lua5.4 2>/dev/null || $(PKG_CONFIG) --cflags lua-5.4 2>/dev/null))
PKG_INC    := $(shell $(PKG_CONFIG) --cflags $(PACKAGES) 2>/dev/null) $(if $(WEBP),-DMT_WITH_WEBP) $(if $(CAIRO),-DMT_WITH_CAIRO)
# Where pkg-config is missing (luarocks does without) the libraries have their usual names, in the usual places.
PKG_LIBS   := $(or $(shell $(PKG_CONFIG) --libs $(PACKAGES) 2>/dev/null),-lopenblas -lpng -ljpeg -lz)

OPT        ?= -O3 -g -DNDEBUG
# Unknown pragmas: clang does not know some of GCC's.
WARNINGS   := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wno-unknown-pragmas
ALL_CFLAGS  = -std=gnu11 -fPIC -pthread -fvisibility=hidden $(OPT) $(WARNINGS) -Icsrc -MMD -MP $(CFLAGS)
# No signalling and no errno from libm: lets the compiler vectorise; NaN and infinity keep their meaning.
KERNEL_CFLAGS := -fno-math-errno -fno-trapping-math -ffp-contract=fast
LIBS       := $(PKG_LIBS) -lm -lpthread

ifeq ($(firstword $(subst -, ,$(shell $(CC) -dumpmachine))),x86_64)
ISAS       := plain avx2 avx512
else
ISAS       := plain
endif
ISA_plain  := -DMT_ISA=plain -DMT_VECTOR_BYTES=16
ISA_avx2   := -DMT_ISA=avx2 -DMT_VECTOR_BYTES=32 -mavx2 -mfma
ISA_avx512 := -DMT_ISA=avx512 -DMT_VECTOR_BYTES=64 -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx2 -mfma -mprefer-vector-width=512

KERNEL_SRC := $(filter-out csrc/kernels/dispatch.c,$(wildcard csrc/kernels/*.c))
LUA_SRC    := $(wildcard csrc/lua/*.c)
CORE_SRC   := $(filter-out $(KERNEL_SRC) $(LUA_SRC) $(wildcard csrc/mpi/*.c csrc/mpi_lua/*.c),$(wildcard csrc/*/*.c))
OBJECTS    := $(CORE_SRC:csrc/%.c=$(BUILD)/obj/%.o) $(LUA_SRC:csrc/%.c=$(BUILD)/obj/%.o) \
              $(foreach isa,$(ISAS),$(KERNEL_SRC:csrc/%.c=$(BUILD)/obj/%.$(isa).o))
MODULE     := $(BUILD)/masktune/core.so
DOCS       := $(BUILD)/masktune/native_docs.lua

# Data-parallel runs go over MPI where its compiler is found (MPICC= leaves it out): a second module, which alone links it.
MPICC      ?= $(shell command -v mpicc 2>/dev/null)
MPI_SRC    := $(wildcard csrc/mpi/*.c csrc/mpi_lua/*.c)
MPI_OBJECTS := $(if $(MPICC),$(MPI_SRC:csrc/%.c=$(BUILD)/obj/%.o))
MPI_MODULE := $(if $(MPICC),$(BUILD)/masktune/mpi.so)

# V=1 shows the commands.
ifndef V
SAY         = @echo "  $(@:$(BUILD)/%=%)";
endif

.PHONY: all
all: $(MODULE) $(MPI_MODULE) $(DOCS) ## build the C core (the default)

# nodelete: Lua unloads the module when its state closes, while the pool's threads (core/threads.h) still live in it.
$(MODULE): $(OBJECTS)
	@mkdir -p $(@D)
	$(SAY)$(CC) -shared -pthread -Wl,-z,nodelete $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)

# nodelete: it acts when the process ends, after Lua has closed.
$(MPI_MODULE): $(MPI_OBJECTS)
	@mkdir -p $(@D)
	$(SAY)$(MPICC) -shared -pthread -Wl,-z,nodelete $(CFLAGS) $(LDFLAGS) -o $@ $^

$(MPI_OBJECTS): $(BUILD)/obj/%.o: csrc/%.c
	@mkdir -p $(@D)
	$(SAY)$(MPICC) $(ALL_CFLAGS) $(LUA_INC) -c -o $@ $<

# The core's documentation, for mt.help.
$(DOCS): $(LUA_SRC) lua/masktune/help/native.lua lua/masktune/help/comments.lua
	@mkdir -p $(@D)
	$(SAY)$(LUA) lua/masktune/help/native.lua $(LUA_SRC) > $@.part && mv $@.part $@

$(BUILD)/obj/lua/%.o: csrc/lua/%.c
	@mkdir -p $(@D)
	$(SAY)$(CC) $(ALL_CFLAGS) $(LUA_INC) $(PKG_INC) -c -o $@ $<

$(BUILD)/obj/%.o: csrc/%.c
	@mkdir -p $(@D)
	$(SAY)$(CC) $(ALL_CFLAGS) $(PKG_INC) -c -o $@ $<

# Built anew when a library has come or gone since.
$(BUILD)/obj/image/webp.o $(BUILD)/obj/image/format.o: $(BUILD)/with$(if $(WEBP),,out)-webp
$(BUILD)/obj/draw/sheet.o $(BUILD)/obj/lua/draw.o: $(BUILD)/with$(if $(CAIRO),,out)-cairo
$(BUILD)/with-% $(BUILD)/without-%:
	@mkdir -p $(@D); rm -f $(BUILD)/with-$* $(BUILD)/without-$*; touch $@

define isa_rule
$(BUILD)/obj/kernels/%.$(1).o: csrc/kernels/%.c
	@mkdir -p $$(@D)
	$$(SAY)$$(CC) $$(ALL_CFLAGS) $$(KERNEL_CFLAGS) $$(ISA_$(1)) -c -o $$@ $$<
endef
$(foreach isa,$(ISAS),$(eval $(call isa_rule,$(isa))))

-include $(OBJECTS:.o=.d) $(MPI_OBJECTS:.o=.d)

# ---- work in the checkout ----

# The build comes as a make of its own wherever set-up goes first: pkg-config may only just have been installed.
JOBS       ?= $(shell nproc 2>/dev/null || echo 2)
BUILD_ALL   = $(MAKE) --no-print-directory $(if $(filter -j%,$(MAKEFLAGS)),,-j$(JOBS)) all
# Lua with the paths of the checkout in front of the user's own.
RUN         = env -u LUA_PATH_5_4 -u LUA_CPATH_5_4 \
              LUA_PATH="$(CURDIR)/lua/?.lua;$(CURDIR)/lua/?/init.lua;$(abspath $(BUILD))/?.lua;$(CURDIR)/spec/?.lua;$${LUA_PATH_5_4:-$${LUA_PATH:-;}}" \
              LUA_CPATH="$(abspath $(BUILD))/?.so;$${LUA_CPATH_5_4:-$${LUA_CPATH:-;}}"
SPECS      ?= spec

.PHONY: deps demo test asan fuzz arm64 lint bench doc install uninstall clean help
deps: ## install everything that is missing, with apt (needs root or sudo)
	@.ci/setup demo test lint extras

demo: ## watch a net that cheats become one that reads digits: set-up, build, a few epochs
	@.ci/setup demo
	@$(BUILD_ALL)
	@$(RUN) $(LUA) examples/biased_mnist.lua --epochs 4 --out out/demo \
	  $(if $(findstring --resume,$(DEMO_FLAGS)),,--overwrite) $(DEMO_FLAGS)

test: ## set-up, build and the spec suite (SPECS=spec/area, BUSTED_FLAGS=--filter=... narrow it)
	@.ci/setup test
	@$(BUILD_ALL)
	@$(RUN) $(LUA) spec/run.lua -o plainTerminal $(BUSTED_FLAGS) $(SPECS)

# Specs tagged #nosan do not fit under the sanitizers: they limit the address space, or are about other programs.
SAN_BUILD   = .build-asan
SAN_FLAGS  := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
asan: ## the spec suite under Address- and UndefinedBehaviorSanitizer, with leak detection
	@.ci/setup test
	@$(BUILD_ALL) BUILD=$(SAN_BUILD) OPT="$(SAN_FLAGS)" LDFLAGS="$(LDFLAGS) $(SAN_FLAGS)"
	@$(MAKE) --no-print-directory BUILD=$(SAN_BUILD) asan-run

.PHONY: asan-run
asan-run:
	@$(RUN) .ci/asan $(abspath $(BUILD)) lua5.4 spec/run.lua -o plainTerminal --exclude-tags=nosan $(BUSTED_FLAGS) $(SPECS)

# Each C reader is a libFuzzer target over exactly the files it needs; those in Lua run on the core of `make asan`.
FUZZ_BUILD   = .build-fuzz
FUZZ_SECONDS ?= 60
FUZZ_RUNS    ?= -1
FUZZ_CC      ?= clang
FUZZ_TARGETS ?= png jpeg bmp pnm gunzip json safetensors torch matfile idx cifar10 svhn tar
FUZZ_SRC     = csrc/core/error.c csrc/core/tensor.c $(wildcard csrc/io/*.c) \
               $(addprefix csrc/image/,png.c jpeg.c bmp.c pnm.c exif.c pixels.c) spec/fuzz/support.c
FUZZ_OBJECTS = $(FUZZ_SRC:%.c=$(FUZZ_BUILD)/obj/%.o)
FUZZ_FLAGS   = -std=gnu11 -O1 -g -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined \
               -fno-omit-frame-pointer -Icsrc -Ispec/fuzz -MMD -MP $(PKG_INC)
FUZZ_C       = $(patsubst spec/fuzz/%.c,%,$(filter-out spec/fuzz/support.c,$(wildcard spec/fuzz/*.c)))

fuzz: ## damaged files for every reader, under the sanitizers (FUZZ_SECONDS=60 each, FUZZ_TARGETS="png jpeg ...")
	@.ci/setup test fuzz
	@$(BUILD_ALL)
	@$(BUILD_ALL) BUILD=$(SAN_BUILD) OPT="$(SAN_FLAGS)" LDFLAGS="$(LDFLAGS) $(SAN_FLAGS)"
	@$(MAKE) --no-print-directory $(if $(filter -j%,$(MAKEFLAGS)),,-j$(JOBS)) $(FUZZ_C:%=$(FUZZ_BUILD)/%)
	@$(RUN) SAN_BUILD=$(SAN_BUILD) spec/fuzz/run.sh $(abspath $(FUZZ_BUILD)) $(FUZZ_SECONDS) $(FUZZ_RUNS) $(FUZZ_TARGETS)

$(FUZZ_C:%=$(FUZZ_BUILD)/%): $(FUZZ_BUILD)/%: $(FUZZ_BUILD)/obj/spec/fuzz/%.o $(FUZZ_OBJECTS)
	$(SAY)$(FUZZ_CC) -fsanitize=fuzzer,address,undefined -o $@ $^ $(shell $(PKG_CONFIG) --libs libpng libjpeg zlib) -lm

$(FUZZ_BUILD)/obj/%.o: %.c
	@mkdir -p $(@D)
	$(SAY)$(FUZZ_CC) $(FUZZ_FLAGS) -c -o $@ $<

-include $(FUZZ_OBJECTS:.o=.d)

# qemu is slow: the specs of the arithmetic, unless SPECS names others.
ARM64_ROOT  ?= $(HOME)/.cache/masktune/arm64
arm64: ## cross-compile for arm64 and run specs under qemu's user mode (installs what that needs)
	@.ci/setup build
	@.ci/arm64 $(CURDIR)/.build-arm64 $(ARM64_ROOT) $(BUSTED_FLAGS) $(if $(filter spec,$(SPECS)),spec/ops spec/nn spec/explain,$(SPECS))

lint: ## luacheck, clang-format, and builds with warnings as errors, by GCC and clang
	@.ci/setup lint
	luacheck -q .luacheckrc lua lua/masktune/command/masktune examples spec rockspec/*.rockspec
	clang-format --dry-run -Werror $(wildcard csrc/*/*.[ch] spec/fuzz/*.[ch])
	@$(BUILD_ALL) BUILD=.build-werror CFLAGS="$(CFLAGS) -Werror"
	@$(BUILD_ALL) BUILD=.build-clang CC=clang CFLAGS="$(CFLAGS) -Werror"

bench: ## speed and memory, beside PyTorch's where python3 with torch is found (BENCH_FLAGS=--quick, --company)
	@.ci/setup
	@$(BUILD_ALL)
	@$(RUN) $(LUA) examples/bench.lua --json bench.json $(BENCH_FLAGS)

doc: ## the API's pages, with LDoc, in $(BUILD)/doc/html
	@.ci/setup doc
	@$(BUILD_ALL)
	@rm -rf $(BUILD)/doc && mkdir -p $(BUILD)/doc/src
	@$(RUN) $(LUA) lua/masktune/help/pages.lua ldoc $(BUILD)/doc/src
	ldoc --fatalwarnings -c .ci/doc.ld -d $(BUILD)/doc/html $(BUILD)/doc/src

# ---- elsewhere ----

LUA_FILES   = $(shell cd lua && find masktune -name '*.lua')
install: all ## into PREFIX (LUADIR, LIBDIR and BINDIR name the folders, DESTDIR goes in front)
	@set -e; for file in $(LUA_FILES); do \
	  install -D -m 644 "lua/$$file" "$(DESTDIR)$(LUADIR)/$$file"; \
	done
	@install -D -m 644 $(DOCS) "$(DESTDIR)$(LUADIR)/masktune/native_docs.lua"
	@$(RUN) $(LUA) lua/masktune/help/pages.lua luals $(BUILD)/masktune/annotations.lua
	@install -D -m 644 $(BUILD)/masktune/annotations.lua "$(DESTDIR)$(LUADIR)/masktune/annotations.lua"
	@set -e; for module in $(MODULE) $(MPI_MODULE); do \
	  install -D -m 755 "$$module" "$(DESTDIR)$(LIBDIR)/masktune/$${module##*/}"; \
	done
	@mkdir -p "$(DESTDIR)$(BINDIR)"
	@sed '1s|lua5.4|$(LUA)|' lua/masktune/command/masktune >"$(DESTDIR)$(BINDIR)/masktune"
	@chmod 755 "$(DESTDIR)$(BINDIR)/masktune"

uninstall: ## what install put there
	rm -rf "$(DESTDIR)$(LUADIR)/masktune" "$(DESTDIR)$(LIBDIR)/masktune" "$(DESTDIR)$(BINDIR)/masktune"

clean: ## everything that was built
	rm -rf $(BUILD) .build-arm64 .build-asan .build-fuzz .build-werror .build-rock

help: ## this list
	@sed -n 's/^\([a-z]*\):[^#]*## \(.*\)/make \1\t\2/p' Makefile | expand -t 20
