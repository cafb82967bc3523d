# SPDX-License-Identifier: BSD-2-Clause
# Guests of our own, included by the Makefile: build/tests/guests/*.
TG := $(B)/tests/guests
TG_CC ?= gcc
TG_CFLAGS := -std=gnu17 -O2 -m64 -ffreestanding -fno-pic -fno-pie -mcmodel=small -mno-red-zone \
	-mgeneral-regs-only -fno-stack-protector -fcf-protection=none -fno-asynchronous-unwind-tables \
	-fno-tree-loop-distribute-patterns -Wall -Wextra -Werror
all: $(TG)/tiny.elf $(TG)/share.elf $(TG)/cputest.elf $(TG)/cputest32.elf $(TG)/kvmprobe.bin $(TG)/probe

$(TG)/kvmprobe.bin: tests/guests/kvmprobe.asm
	@mkdir -p $(@D)
	nasm -f bin $< -o $@
$(TG)/start.o: tests/guests/start.asm
	@mkdir -p $(@D)
	nasm -f elf64 -w+error -w-reloc-rel-dword $< -o $@
$(TG)/tiny.o $(TG)/share.o: $(TG)/%.o: tests/guests/%.c tests/guests/pc.h tests/guests/guests.mk
	@mkdir -p $(@D)
	$(TG_CC) $(TG_CFLAGS) -c $< -o $@
# Linked as 64-bit code, wrapped as ELF32: multiboot1 knows no other.
$(TG)/tiny.elf $(TG)/share.elf: $(TG)/%.elf: $(TG)/start.o $(TG)/%.o tests/guests/guest.ld
	ld -n -nostdlib -z noexecstack --no-warn-rwx-segments -T tests/guests/guest.ld $(TG)/start.o $(TG)/$*.o -o $@.64
	objcopy -O elf32-i386 $@.64 $@

# A program for Linux on i386, which amd64 kernels run as well.
$(TG)/probe: tests/guests/probe.c tests/guests/guests.mk
	@mkdir -p $(@D)
	$(TG_CC) -std=gnu17 -O2 -m32 -march=i686 -ffreestanding -fno-pic -fno-pie -nostdlib -static -mgeneral-regs-only \
		-fno-stack-protector -fcf-protection=none -fno-asynchronous-unwind-tables -Wall -Wextra -Werror \
		-Wl,--build-id=none -Wl,-z,noexecstack $< -o $@

$(TG)/cputest64.o: tests/guests/cputest64.asm
	@mkdir -p $(@D)
	nasm -f elf64 -w+error -w-reloc-rel-dword $< -o $@
$(TG)/cputest.o: tests/guests/cputest.c tests/guests/cputest.h tests/guests/pc.h tests/guests/guests.mk
	@mkdir -p $(@D)
	$(TG_CC) $(TG_CFLAGS) -c $< -o $@
$(TG)/cputest.elf: $(TG)/start.o $(TG)/cputest64.o $(TG)/cputest.o tests/guests/guest.ld
	ld -n -nostdlib -z noexecstack --no-warn-rwx-segments -T tests/guests/guest.ld $(filter %.o,$^) -o $@.64
	objcopy -O elf32-i386 $@.64 $@
$(TG)/cputest32a.o: tests/guests/cputest32.asm
	@mkdir -p $(@D)
	nasm -f elf32 -w+error -w-reloc-rel-dword $< -o $@
$(TG)/cputest32.o: tests/guests/cputest32.c tests/guests/cputest.h tests/guests/pc.h tests/guests/guests.mk
	@mkdir -p $(@D)
	$(TG_CC) $(filter-out -m64 -mcmodel=small -mno-red-zone,$(TG_CFLAGS)) -m32 -c $< -o $@
$(TG)/cputest32.elf: $(TG)/cputest32a.o $(TG)/cputest32.o tests/guests/guest32.ld
	ld -m elf_i386 -n -nostdlib -z noexecstack --no-warn-rwx-segments -T tests/guests/guest32.ld $(filter %.o,$^) -o $@
