# SPDX-License-Identifier: BSD-2-Clause
# Guests of our own, included by the Makefile: build/tests/guests/*.
TG := $(B)/tests/guests
TG_CC ?= gcc
TG_CFLAGS := -std=gnu17 -O2 -m64 -ffreestanding -fno-pic -fno-pie -mcmodel=small -mno-red-zone \
	-mgeneral-regs-only -fno-stack-protector -fcf-protection=none -fno-asynchronous-unwind-tables \
	-fno-tree-loop-distribute-patterns -Wall -Wextra -Werror
GUESTS := tiny.elf share.elf kvmprobe.bin probe kexec vtool lbench vsock
GUESTS += cputest.elf cputest32.elf
GUESTS += pctest.elf
GUESTS += debuggee.elf
GUESTS += pcitest.elf
GUESTS += pvtest.elf
GUESTS += smp.elf
GUESTS += hostile.elf victim.elf
GUESTS += vbench.elf vnet.elf plug.elf vhostile.elf
all: $(addprefix $(TG)/,$(GUESTS))

$(TG)/kvmprobe.bin: tests/guests/kvmprobe.asm
	@mkdir -p $(@D)
	nasm -f bin $< -o $@
$(TG)/start.o: tests/guests/start.asm
	@mkdir -p $(@D)
	nasm -f elf64 -w+error -w-reloc-rel-dword $< -o $@
$(TG)/%.o: tests/guests/%.c $(wildcard tests/guests/*.h) tests/guests/guests.mk
	@mkdir -p $(@D)
	$(TG_CC) $(TG_CFLAGS) -c $< -o $@
# Linked as 64-bit code, wrapped as ELF32: multiboot1 knows no other.
$(TG)/tiny.elf $(TG)/pctest.elf $(TG)/share.elf: $(TG)/%.elf: $(TG)/start.o $(TG)/%.o tests/guests/guest.ld
	ld -n -nostdlib -z noexecstack --no-warn-rwx-segments -T tests/guests/guest.ld $(TG)/start.o $(TG)/$*.o -o $@.64
	objcopy -O elf32-i386 $@.64 $@

# A program for Linux on i386, which amd64 kernels run as well.
$(TG)/probe: tests/guests/probe.c tests/guests/guests.mk
	@mkdir -p $(@D)
	$(TG_CC) -std=gnu17 -O2 -m32 -march=i686 -ffreestanding -fno-pic -fno-pie -nostdlib -static -mgeneral-regs-only \
		-fno-stack-protector -fcf-protection=none -fno-asynchronous-unwind-tables -Wall -Wextra -Werror \
		-Wl,--build-id=none -Wl,-z,noexecstack $< -o $@

# And some for amd64.
$(TG)/kexec $(TG)/vtool $(TG)/vsock $(TG)/lbench: $(TG)/%: tests/guests/%.c tests/guests/nolibc.h tests/guests/guests.mk
	@mkdir -p $(@D)
	$(TG_CC) $(TG_CFLAGS) -nostdlib -static -Wl,--build-id=none -Wl,-z,noexecstack $< -o $@

$(TG)/cputest64.o: tests/guests/cputest64.asm
	@mkdir -p $(@D)
	nasm -f elf64 -w+error -w-reloc-rel-dword $< -o $@
$(TG)/cputest.elf: $(patsubst %,$(TG)/%.o,start cputest64 cputest cputest_lib cputest_debug cputest_irq cputest_regs) \
		tests/guests/guest.ld
	ld -n -nostdlib -z noexecstack --no-warn-rwx-segments -T tests/guests/guest.ld $(filter %.o,$^) -o $@.64
	objcopy -O elf32-i386 $@.64 $@
$(TG)/pvtest.elf: $(patsubst %,$(TG)/%.o,start cputest64 pvtest cputest_lib) tests/guests/guest.ld
	ld -n -nostdlib -z noexecstack --no-warn-rwx-segments -T tests/guests/guest.ld $(filter %.o,$^) -o $@.64
	objcopy -O elf32-i386 $@.64 $@
$(TG)/pcitest.elf: $(patsubst %,$(TG)/%.o,start pcitest cputest_lib) tests/guests/guest.ld
	ld -n -nostdlib -z noexecstack --no-warn-rwx-segments -T tests/guests/guest.ld $(filter %.o,$^) -o $@.64
	objcopy -O elf32-i386 $@.64 $@
$(TG)/vbench.elf $(TG)/vnet.elf $(TG)/plug.elf: $(TG)/%.elf: $(TG)/%.o $(patsubst %,$(TG)/%.o,start vdrv cputest_lib) tests/guests/guest.ld
	ld -n -nostdlib -z noexecstack --no-warn-rwx-segments -T tests/guests/guest.ld $(filter %.o,$^) -o $@.64
	objcopy -O elf32-i386 $@.64 $@
# Away from where garbage would make a device write (vhostile.h).
$(TG)/vhostile.elf: $(patsubst %,$(TG)/%.o,start apstart64 vhostile vhostile_ring vhostile_regs vhostile_honest vio vdrv cputest_lib) \
		tests/guests/guest.ld
	ld -n -nostdlib -z noexecstack --no-warn-rwx-segments --defsym image_base=0x400000 -T tests/guests/guest.ld $(filter %.o,$^) -o $@.64
	objcopy -O elf32-i386 $@.64 $@
$(TG)/cputest32a.o: tests/guests/cputest32.asm
	@mkdir -p $(@D)
	nasm -f elf32 -w+error -w-reloc-rel-dword $< -o $@
$(TG)/32/%.o: tests/guests/%.c $(wildcard tests/guests/*.h) tests/guests/guests.mk
	@mkdir -p $(@D)
	$(TG_CC) $(filter-out -m64 -mcmodel=small -mno-red-zone,$(TG_CFLAGS)) -m32 -c $< -o $@
$(TG)/cputest32.elf: $(TG)/cputest32a.o $(patsubst %,$(TG)/32/%.o,cputest32 cputest32_task cputest_lib) tests/guests/guest32.ld
	ld -m elf_i386 -n -nostdlib -z noexecstack --no-warn-rwx-segments -T tests/guests/guest32.ld $(filter %.o,$^) -o $@

$(TG)/debuggee64.o: tests/guests/debuggee.asm
	@mkdir -p $(@D)
	nasm -f elf64 -w+error -w-reloc-rel-dword -w-reloc-abs-dword $< -o $@
$(TG)/debuggee.elf: $(patsubst %,$(TG)/%.o,start debuggee64 debuggee) tests/guests/guest.ld
	ld -n -nostdlib -z noexecstack --no-warn-rwx-segments -T tests/guests/guest.ld $(filter %.o,$^) -o $@.64
	objcopy -O elf32-i386 $@.64 $@

SMP_O := $(patsubst tests/guests/%.c,$(TG)/%.o,$(sort $(wildcard tests/guests/smp*.c)))
$(TG)/smp64.o: tests/guests/smp.asm
	@mkdir -p $(@D)
	nasm -f elf64 -w+error -w-reloc-rel-dword -w-reloc-abs-dword $< -o $@
$(TG)/smp.elf: $(TG)/start.o $(TG)/smp64.o $(SMP_O) tests/guests/guest.ld
	ld -n -nostdlib -z noexecstack --no-warn-rwx-segments -T tests/guests/guest.ld $(filter %.o,$^) -o $@.64
	objcopy -O elf32-i386 $@.64 $@

HOSTILE_O := $(patsubst tests/guests/%.c,$(TG)/%.o,$(sort $(wildcard tests/guests/hostile*.c)))
$(TG)/apstart64.o: tests/guests/apstart.asm
	@mkdir -p $(@D)
	nasm -f elf64 -w+error -w-reloc-rel-dword -w-reloc-abs-dword $< -o $@
$(TG)/hostile64.o: tests/guests/hostile.asm
	@mkdir -p $(@D)
	nasm -f elf64 -w+error -w-reloc-rel-dword -w-reloc-abs-dword $< -o $@
$(TG)/hostile.elf: $(TG)/start.o $(TG)/apstart64.o $(TG)/hostile64.o $(HOSTILE_O) tests/guests/guest.ld
	ld -n -nostdlib -z noexecstack --no-warn-rwx-segments -T tests/guests/guest.ld $(filter %.o,$^) -o $@.64
	objcopy -O elf32-i386 $@.64 $@
$(TG)/victim64.o: tests/guests/victim.asm
	@mkdir -p $(@D)
	nasm -f elf64 -w+error -w-reloc-rel-dword -w-reloc-abs-dword $< -o $@
$(TG)/victim.elf: $(patsubst %,$(TG)/%.o,start victim64 victim vio vdrv) tests/guests/guest.ld
	ld -n -nostdlib -z noexecstack --no-warn-rwx-segments -T tests/guests/guest.ld $(filter %.o,$^) -o $@.64
	objcopy -O elf32-i386 $@.64 $@
