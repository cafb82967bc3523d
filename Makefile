# SPDX-License-Identifier: BSD-2-Clause
# make              build/dalang.elf and build/BOOTX64.EFI (and host tools)
# make CC=clang     the same with clang
# make run | test   what tools/dalang demo | test do
# make image       build/dalang.img for a USB stick
# make unit fuzz-replay fuzz-ci fuzz check-virtio-coverage check-layers lines check-lines bench coverage clean        see each rule

# "undefined" is what a make that runs inside this one finds: it inherits the -R below.
ifneq ($(filter default undefined,$(origin CC)),)
CC := gcc
endif
HOSTCC ?= gcc
NASM ?= nasm
IASL ?= iasl
LD := ld
NM := nm
OBJCOPY := objcopy

.DELETE_ON_ERROR:
.SUFFIXES:
MAKEFLAGS += -rR

B := build
O := $(B)/obj/$(notdir $(CC))
all: $(B)/dalang.elf $(if $(wildcard boot/uefi/*.c),$(B)/BOOTX64.EFI)

# --- the core -------------------------------------------------------------------------------
rwild = $(foreach d,$(wildcard $(1)*),$(call rwild,$(d)/,$(2)) $(filter $(2),$(d)))
CORE_C := $(sort $(wildcard lib/*.c boot/*.c) \
	$(foreach d,arch/x86_64/ vmm/ drivers/,$(call rwild,$(d),%.c)))
CORE_ASM := $(sort $(wildcard boot/*.asm) $(call rwild,arch/x86_64/,%.asm))
CORE_OBJ := $(CORE_C:%=$(O)/%.o) $(CORE_ASM:%=$(O)/%.o)

cc-option = $(shell $(CC) -Werror $(1) -xc -c /dev/null -o /dev/null 2>/dev/null && echo $(1))
WARN := -Wall -Wextra -Werror
# A loop that the compiler turns into a call of memcpy or strlen would recurse in lib/string.c.
CFLAGS := -std=gnu17 -O2 -g -ffreestanding -fno-pic -fno-pie -mcmodel=kernel -mno-red-zone \
	-mgeneral-regs-only -fno-stack-protector -fcf-protection=none -fno-strict-aliasing \
	-fno-omit-frame-pointer -fno-asynchronous-unwind-tables -fno-common -I. -I$(B)/gen $(WARN) \
	$(call cc-option,-fno-tree-loop-distribute-patterns) $(EXTRA_CFLAGS)
# make COVERAGE=1: a core (arch/, vmm/, drivers/) and unit tests that count what they run; `make coverage` uses it.
ifdef COVERAGE
CORE_OBJ += $(O)/tests/coverage/dump.c.o
CORE_LIBS := $(shell $(CC) -print-file-name=libgcov.a)
COVER := -O1 --coverage -fprofile-info-section=gcov_info -fprofile-update=atomic
$(filter $(O)/arch/% $(O)/vmm/% $(O)/drivers/%,$(CORE_OBJ)): CFLAGS += $(COVER)
WRAP := --wrap=power_off --wrap=machine_give_up --wrap=power_off_emulator
endif
LDFLAGS := -nostdlib -static -z max-page-size=4096 --build-id=none \
	--no-undefined -T linker.ld $(WRAP)

$(O)/%.c.o: %.c Makefile
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -MMD -MP -c $< -o $@
# -MD names the files that %include and incbin bring in.
$(O)/%.asm.o: %.asm Makefile
	@mkdir -p $(@D)
	$(NASM) -f elf64 -g -F dwarf -w+error -w-reloc-rel-dword -I. -MD $(@:.o=.d) -MT $@ $< -o $@

# The virtual PC's DSDT and its SSDTs of processors and of virtio's MMIO devices as C bytes, without the table header, which acpi_tables.c writes.
AML := $(patsubst %,$(B)/gen/vmm/platform/%_aml.h,dsdt cpus virtio)
$(AML): $(B)/gen/%_aml.h: %.asl Makefile
	@mkdir -p $(@D)
	@$(HOSTCC) -E -P -undef -x c $< -o $(@D)/$(*F).i
	@$(IASL) -we -p $(@D)/$(*F) $(@D)/$(*F).i >$(@D)/$(*F).log 2>&1 || { cat $(@D)/$(*F).log; exit 1; }
	@{ echo 'static const unsigned char $(*F)_aml[] = {'; \
		od -An -v -j36 -tx1 $(@D)/$(*F).aml | sed 's/ \(..\)/ 0x\1,/g'; echo '};'; } >$@
$(O)/vmm/platform/acpi_tables.c.o: $(AML)

# Linked twice: the first link gives the addresses for the symbol table that the second one adds
# behind everything else. That it moved nothing is checked, not believed.
$(O)/pass1.elf: $(CORE_OBJ) linker.ld
	$(LD) $(LDFLAGS) $(CORE_OBJ) $(CORE_LIBS) -o $@
$(O)/symtab.o: $(O)/pass1.elf tools/symtab.awk
	$(NM) -n $< | awk -f tools/symtab.awk >$(@:.o=.asm)
	$(NASM) -f elf64 -w+error $(@:.o=.asm) -o $@
$(B)/dalang.elf: $(O)/symtab.o $(O)/pass1.elf $(B)/.cc-$(notdir $(CC))
	$(LD) $(LDFLAGS) $(CORE_OBJ) $< $(CORE_LIBS) -o $@
	@$(NM) $(O)/pass1.elf | awk -f tools/fixed-part.awk >$(O)/pass1.nm
	@$(NM) $@ | awk -f tools/fixed-part.awk >$(O)/pass2.nm
	@cmp $(O)/pass1.nm $(O)/pass2.nm || { echo "$@: the second link moved symbols"; rm $@; exit 1; }

# Another compiler's image in build/ is out of date even if it is newer.
$(B)/.cc-$(notdir $(CC)):
	@mkdir -p $(B)
	@rm -f $(B)/.cc-*
	@touch $@

# --- the UEFI application ---------------------------------------------------------------------
# gnu-efi gives the headers, crt0, the self-relocation and the linker script. Its library is not
# used: ours is the runtime, and firmware is called directly (GNU_EFI_USE_MS_ABI).
EFI_SRC := $(wildcard boot/uefi/*.c) boot/meminfo.c boot/files.c lib/string.c lib/printf.c $(wildcard lib/cfg.c)
EFI_OBJ := $(EFI_SRC:%=$(O)/efi/%.o)
EFI_CFLAGS := -std=gnu17 -O2 -g -ffreestanding -fpic -fshort-wchar -mno-red-zone \
	-mgeneral-regs-only -fno-stack-protector -fcf-protection=none -fno-strict-aliasing \
	-fno-asynchronous-unwind-tables -fvisibility=hidden -I. -isystem /usr/include/efi \
	-isystem /usr/include/efi/x86_64 -DGNU_EFI_USE_MS_ABI $(WARN) \
	$(call cc-option,-fno-tree-loop-distribute-patterns) \
	$(call cc-option,-maccumulate-outgoing-args) $(EXTRA_CFLAGS)

$(O)/efi/%.c.o: %.c Makefile
	@mkdir -p $(@D)
	$(CC) $(EFI_CFLAGS) -MMD -MP -c $< -o $@
$(O)/BOOTX64.so: $(EFI_OBJ)
	$(LD) -nostdlib -shared -Bsymbolic -znocombreloc --no-undefined --build-id=none \
		-T /usr/lib/elf_x86_64_efi.lds /usr/lib/crt0-efi-x86_64.o $(EFI_OBJ) \
		/usr/lib/libgnuefi.a -o $@
$(B)/BOOTX64.EFI: $(O)/BOOTX64.so $(B)/.cc-$(notdir $(CC))
	$(OBJCOPY) -j .text -j .sdata -j .data -j .dynamic -j .dynsym -j '.rel*' -j .reloc \
		--target=efi-app-x86_64 --subsystem=10 $< $@

# --- the configuration checker for the build machine --------------------------------------------
HOST_CFLAGS := -std=gnu17 -O2 -g -I. $(WARN)
ifneq ($(wildcard tools/dalang-cfg.c),)
all: $(B)/dalang-cfg
DALANG_CFG_SRC := tools/dalang-cfg.c lib/cfg.c lib/string.c $(wildcard vmm/config*.c drivers/net/config*.c)
$(B)/dalang-cfg: $(DALANG_CFG_SRC) $(wildcard lib/*.h vmm/*.h) Makefile
	@mkdir -p $(B)
	$(HOSTCC) $(HOST_CFLAGS) $(DALANG_CFG_SRC) -o $@
endif

# --- unit tests and fuzz targets ----------------------------------------------------------------
# The sources a test links with stand in its own first lines, and libraries behind "libs:":
# /* unit: lib/insn.c libs: -lZydis */
SAN := $(if $(COVERAGE),--coverage,-fsanitize=address,undefined -fno-sanitize-recover=all)
TEST_CFLAGS := -std=gnu17 -O1 -g -fno-omit-frame-pointer -I. -I$(B)/gen $(WARN) $(SAN)
unit-line = $(shell sed -n '1,2s,.*/\* unit:\(.*\)\*/.*,\1,p' $(1))
unit-of = $(filter %.c,$(call unit-line,$(1)))
unit-libs = $(filter -l%,$(call unit-line,$(1)))
UNIT_TESTS := $(sort $(patsubst tests/unit/test_%.c,%,$(wildcard tests/unit/test_*.c)))
FUZZERS := $(sort $(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c)))

# make unit: builds and runs every tests/unit/test_*.c; says at the end which failed.
unit: $(UNIT_TESTS:%=$(B)/unit/%)
	@failed=; for t in $(UNIT_TESTS); do \
		echo "== $$t"; $(B)/unit/$$t || failed="$$failed $$t"; done; \
	if [ -n "$$failed" ]; then echo "unit: FAILED:$$failed"; exit 1; fi; \
	echo "unit: $(words $(UNIT_TESTS)) test programs passed"
# What they link is compiled once for all of them, fuzz-replay too.
host-obj = $(patsubst %,$(B)/unit/obj/%.o,$(1))
$(B)/unit/obj/%.c.o: %.c Makefile
	@mkdir -p $(@D)
	$(HOSTCC) $(TEST_CFLAGS) -MMD -MP -c $< -o $@
define unit-rule
$(B)/unit/$(1): $(call host-obj,tests/unit/test_$(1).c $(call unit-of,tests/unit/test_$(1).c))
	@mkdir -p $(B)/unit
	$(HOSTCC) $(SAN) $$^ -lcmocka $(call unit-libs,tests/unit/test_$(1).c) -o $$@
endef
$(foreach t,$(UNIT_TESTS),$(eval $(call unit-rule,$(t))))
-include $(shell find $(B)/unit/obj -name '*.d' 2>/dev/null)
$(B)/unit/obj/vmm/platform/acpi_tables.c.o: $(AML)

# make fuzz-replay: every fuzz target over its corpus, by the compiler at hand, without libFuzzer.
fuzz-replay: $(FUZZERS:%=$(B)/fuzz-replay/%)
	@failed=; for t in $(FUZZERS); do \
		echo "== $$t"; \
		$(B)/fuzz-replay/$$t tests/fuzz/corpus/$$t || failed="$$failed $$t"; done; \
	if [ -n "$$failed" ]; then echo "fuzz-replay: FAILED:$$failed"; exit 1; fi
# make fuzz-ci: a million executions of virtio's rings and of each device, from the kept corpora and always the same. What
# libFuzzer learns of comparisons is left out: that takes half of the time, and the corpora have been there.
FUZZ_CI := virtq $(filter virtio_%,$(FUZZERS))
FUZZ_RUNS := 1000000
fuzz-ci: $(FUZZ_CI:%=fuzz-ci-%)
$(FUZZ_CI:%=fuzz-ci-%): fuzz-ci-%: $(B)/fuzz-ci/%
	@ls tests/fuzz/corpus/$*/* >$<.seeds
	@$< -seed=1 -runs=$(FUZZ_RUNS) -max_len=256 -timeout=10 -detect_leaks=0 -entropic=0 -artifact_prefix=$<- \
		-seed_inputs=@$<.seeds >$<.log 2>&1 || { tail -50 $<.log; exit 1; }
	@grep DONE $<.log
# make fuzz [FUZZ_TIME=600]: libFuzzer on each target in turn; needs clang and libclang-rt-14-dev.
FUZZ_TIME ?= 600
fuzz: $(FUZZERS:%=$(B)/fuzz/%)
	@for t in $(FUZZERS); do mkdir -p $(B)/fuzz/corpus-$$t tests/fuzz/corpus/$$t; echo "== $$t"; \
		$(B)/fuzz/$$t -max_total_time=$(FUZZ_TIME) -timeout=10 -artifact_prefix=$(B)/fuzz/$$t- \
			$(B)/fuzz/corpus-$$t tests/fuzz/corpus/$$t || exit 1; done
fuzz-of = tests/fuzz/fuzz_$(1).c $(call unit-of,tests/fuzz/fuzz_$(1).c)
# What they may include.
FUZZ_H := $(wildcard lib/*.h boot/*.h vmm/*.h tests/fuzz/*.h tests/unit/fake_*.h drivers/virtio/*.h drivers/virtio/virtq.c)
define fuzz-rule
$(B)/fuzz-replay/$(1): $(call host-obj,$(call fuzz-of,$(1)) tests/fuzz/replay.c)
	@mkdir -p $(B)/fuzz-replay
	$(HOSTCC) $(SAN) $$^ $(call unit-libs,tests/fuzz/fuzz_$(1).c) -o $$@
$(B)/fuzz/$(1): $(call fuzz-of,$(1)) $(FUZZ_H) Makefile
	@mkdir -p $(B)/fuzz
	clang $(TEST_CFLAGS) -fsanitize=fuzzer $(call fuzz-of,$(1)) $(call unit-libs,tests/fuzz/fuzz_$(1).c) -o $$@
$(B)/fuzz-ci/$(1): $(call fuzz-of,$(1)) $(FUZZ_H) Makefile
	@mkdir -p $(B)/fuzz-ci
	clang $(TEST_CFLAGS) -O2 -fsanitize=fuzzer -fno-sanitize-coverage=trace-cmp,indirect-calls $(call fuzz-of,$(1)) -o $$@
endef
$(foreach t,$(FUZZERS),$(eval $(call fuzz-rule,$(t))))

# --- the rest -------------------------------------------------------------------------------------
run: all
	tools/dalang demo
test: all
	tools/dalang test
bench: all
	tools/dalang bench
# make coverage: which lines unit, fuzz and system tests reach; writes docs/coverage.md. Half an hour.
coverage: all
	tools/dalang coverage
# make check-virtio-coverage: unit tests and the fuzz corpora reach 90 % of the lines of drivers/virtio. Seconds.
check-virtio-coverage:
	tools/dalang coverage --virtio
# make image: build/dalang.img for a USB stick, without VMs; `tools/dalang image` puts them in.
image: all
	tools/dalang image $(B)/dalang.img
# make soak: the tests that are too long for every change as well, and all in torture mode; hours.
soak: all
	tools/dalang test --soak
	tools/dalang test --torture 1

# make monitor-doc: docs/monitor.md from the table of verbs; its unit test says when it is out of date.
monitor-doc: $(B)/unit/monitor
	MONITOR_DOC=1 $(B)/unit/monitor

# make check-layers: who includes whom, proved; the check proves first that it can fail.
check-layers:
	tools/check-layers.sh --self-test
	tools/check-layers.sh
# make lines: code lines by room (neither blank nor comment). check-lines: whether the table in
# docs/architecture.md is within a tenth of them; tools/lines.sh --update writes it anew.
lines:
	tools/lines.sh
check-lines:
	tools/lines.sh --check
clean:
	rm -rf $(B)

-include tests/guests/guests.mk
-include $(CORE_OBJ:.o=.d) $(EFI_OBJ:.o=.d)

.PHONY: all monitor-doc unit fuzz fuzz-replay fuzz-ci $(FUZZ_CI:%=fuzz-ci-%) run test soak bench coverage image check-layers lines check-lines check-virtio-coverage clean
