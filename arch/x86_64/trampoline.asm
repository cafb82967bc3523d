; SPDX-License-Identifier: BSD-2-Clause
;
; Where a started CPU begins: copied to a page below 1 MiB, its number is the SIPI's vector. From real
; mode straight to long mode (PE and PG together, SDM vol. 3, 10.8.5 and APM vol. 2, 14.6), then to
; the image's address. The fields at the end are filled in by smp.c for one CPU at a time.

global trampoline_start
global trampoline_end
global trampoline_fields

KERNEL_CS	equ 0x08
KERNEL_DS	equ 0x10
CR4_PAE		equ 1 << 5
MSR_EFER	equ 0xc0000080
EFER_LME_NXE	equ 1 << 8 | 1 << 11
CR0_ON		equ 0x80010033	; PG, WP, NE, ET, MP, PE; CD and NW, set by INIT, clear

section .rodata align=16
bits 16
trampoline_start:
	cli
	cld
	mov ax, cs
	mov ds, ax
	mov eax, CR4_PAE
	mov cr4, eax
	mov eax, [fields.cr3 - trampoline_start]
	mov cr3, eax
	mov ecx, MSR_EFER
	xor edx, edx
	mov eax, EFER_LME_NXE
	wrmsr
	o32 lgdt [fields.gdt_reg - trampoline_start]
	mov eax, CR0_ON
	mov cr0, eax
	jmp far dword [fields.far - trampoline_start]

bits 64
long_mode:
	mov eax, KERNEL_DS
	mov ds, eax
	mov es, eax
	mov ss, eax
	xor eax, eax
	mov fs, eax
	mov gs, eax
	mov rsp, [rel fields.stack]
	mov rdi, [rel fields.cpu]
	mov rax, [rel fields.entry]
	xor ebp, ebp
	push rbp		; no return address: the backtrace ends here
	jmp rax

align 8
trampoline_fields:
fields:
.cr3:		dq 0
.stack:		dq 0
.cpu:		dq 0
.entry:		dq 0
.far:		dd long_mode - trampoline_start	; smp.c adds the page's address
		dd KERNEL_CS
.gdt_reg:	dw 3 * 8 - 1
		dd .gdt - trampoline_start	; and here
		dw 0
.gdt:		dq 0
		dq 0x00af9b000000ffff
		dq 0x00cf93000000ffff
trampoline_end:

section .note.GNU-stack noalloc noexec nowrite progbits
