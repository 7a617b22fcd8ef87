# masktune: `make demo` and `make test` do everything on a fresh Debian or Ubuntu machine.
# Everything built lands in $(BUILD); nothing else in the tree changes.

BUILD     ?= .build
CC        ?= gcc
LUA       ?= lua5.4
PKG_CONFIG ?= pkg-config
PREFIX    ?= /usr/local
LUADIR    ?= $(PREFIX)/share/lua/5.4
LIBDIR    ?= $(PREFIX)/lib/lua/5.4

PACKAGES  := openblas libpng zlib
LUA_INC   ?= $(shell $(PKG_CONFIG) --cflags lua5.4 2>/dev/null || $(PKG_CONFIG) --cflags lua-5.4 2>/dev/null)
PKG_INC   := $(shell $(PKG_CONFIG) --cflags $(PACKAGES) 2>/dev/null)
PKG_LIBS  := $(shell $(PKG_CONFIG) --libs $(PACKAGES) 2>/dev/null)

OPT       ?= -O3 -g
WARNINGS  := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla
CFLAGS    ?=
ALL_CFLAGS := -std=gnu11 -fPIC -fopenmp -fvisibility=hidden $(OPT) $(WARNINGS) -Icsrc -MMD -MP $(CFLAGS)
# No signalling and no errno from libm: lets the compiler vectorise; NaN and infinity keep their meaning.
KERNEL_CFLAGS := -fno-math-errno -fno-trapping-math -ffp-contract=fast
LIBS      := $(PKG_LIBS) -lm -lpthread

ARCH      := $(shell uname -m)
ifeq ($(ARCH),x86_64)
ISAS      := plain avx2 avx512
else
ISAS      := plain
endif
ISA_plain  := -DMT_ISA=plain -DMT_VECTOR_BYTES=16
ISA_avx2   := -DMT_ISA=avx2 -DMT_VECTOR_BYTES=32 -mavx2 -mfma
ISA_avx512 := -DMT_ISA=avx512 -DMT_VECTOR_BYTES=64 -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx2 -mfma -mprefer-vector-width=512

KERNEL_SRC := $(filter-out csrc/kernels/dispatch.c,$(wildcard csrc/kernels/*.c))
LUA_SRC    := $(wildcard csrc/lua/*.c)
CORE_SRC   := $(filter-out $(KERNEL_SRC) $(LUA_SRC),$(wildcard csrc/*/*.c))
OBJECTS    := $(CORE_SRC:csrc/%.c=$(BUILD)/obj/%.o) $(LUA_SRC:csrc/%.c=$(BUILD)/obj/%.o) \
              $(foreach isa,$(ISAS),$(KERNEL_SRC:csrc/%.c=$(BUILD)/obj/%.$(isa).o))
MODULE     := $(BUILD)/masktune/core.so

.PHONY: all
all: $(MODULE)

$(MODULE): $(OBJECTS)
	@mkdir -p $(@D)
	$(CC) -shared -fopenmp $(LDFLAGS) -o $@ $^ $(LIBS)

$(BUILD)/obj/lua/%.o: csrc/lua/%.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(LUA_INC) $(PKG_INC) -c -o $@ $<

$(BUILD)/obj/%.o: csrc/%.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(PKG_INC) -c -o $@ $<

define isa_rule
$(BUILD)/obj/kernels/%.$(1).o: csrc/kernels/%.c
	@mkdir -p $$(@D)
	$$(CC) $$(ALL_CFLAGS) $$(KERNEL_CFLAGS) $$(ISA_$(1)) -c -o $$@ $$<
endef
$(foreach isa,$(ISAS),$(eval $(call isa_rule,$(isa))))

-include $(OBJECTS:.o=.d)
