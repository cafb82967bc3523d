; SPDX-License-Identifier: BSD-2-Clause
;
; The first instructions. Three doors - PVH and multiboot2 (32-bit, no paging) and the UEFI
; application (64-bit, its page tables) - lead to one path: 32-bit without paging, our own early page
; tables, long mode, boot_main() at the link address.
;
; The 64-bit door goes down to 32 bits first because LA57 cannot be changed while paging is on
; (SDM vol. 3, 4.1.1 and 4.1.2): firmware that runs with five levels is handled by the path that all
; firmware takes, and so it cannot rot.
;
; Throughout, EBP holds the physical address of the image's first byte: nothing here assumes
; where the image was loaded.

KIND_PVH	equ 1
KIND_MB2	equ 2
KIND_UEFI	equ 3
KIND_NOT_MB2	equ 4

CODE64		equ 0x08
DATA		equ 0x10
CODE32		equ 0x18

CR0_ON		equ 0x80010033	; PG, WP, NE, ET, MP, PE; CD and NW clear
CR0_PG		equ 1 << 31
CR4_PAE		equ 1 << 5
CR4_LA57	equ 1 << 12
MSR_EFER	equ 0xc0000080
EFER_LME	equ 1 << 8

PTE_TABLE	equ 0x3		; present, writable
PTE_2M		equ 0x83	; present, writable, large

STACK_SIZE	equ 16384

extern boot_main
extern __off_boot_tables
extern __off_boot_stack_top
extern __image_size
extern __pvh_entry_phys
extern __mb2_entry_phys

global entry_64
global pvh_entry
global mb2_entry
global __boot_stack_guard
global __boot_stack
global __boot_stack_top
global __boot_tables

; ---------------------------------------------------------------------------------------------
; Multiboot2 header (Multiboot2 specification, 3.1). An entry address tag, because e_entry is the
; 64-bit door; relocatable, because 4 MiB need not be free.

section .boot progbits alloc exec nowrite align=8
image_base:
mb2_header:
	dd 0xe85250d6, 0, mb2_header_end - mb2_header
	dd 0x100000000 - 0xe85250d6 - (mb2_header_end - mb2_header)

	align 8			; information request: memory map; the rest is taken if given
	dw 1, 0
	dd 12, 6
	align 8			; information request, optional: ACPI old and new RSDP
	dw 1, 1
	dd 16, 14, 15
	align 8			; entry address
	dw 3, 0
	dd 12, __mb2_entry_phys
	align 8			; framebuffer, optional: what any display can do
	dw 5, 1
	dd 20, 1024, 768, 32
	align 8			; modules on page boundaries
	dw 6, 0
	dd 8
	align 8			; relocatable: 2 MiB..4 GiB, 2 MiB aligned, lowest possible
	dw 10, 0
	dd 24, 0x200000, 0xffffffff, 0x200000, 1
	align 8
	dw 0, 0
	dd 8
mb2_header_end:

; ---------------------------------------------------------------------------------------------
; The 32-bit doors: protected mode, flat segments, no paging, EBX = the loader's information.

bits 32
mb2_entry:
	cli
	cld
	mov ecx, eax
	rdtsc
	mov esi, KIND_MB2
	cmp ecx, 0x36d76289	; the loader's magic
	je enter_32
	mov esi, KIND_NOT_MB2
	jmp enter_32

pvh_entry:
	cli
	cld
	rdtsc
	mov esi, KIND_PVH

enter_32:
	; Neither door promises a stack, and a call is the only way to learn EIP: borrow the first four
	; bytes of the information structure for the return address and put them back.
	mov edi, [ebx]
	lea esp, [ebx + 4]
	call .here
.here:
	pop ebp
	mov [ebx], edi
	sub ebp, .here - image_base
	lea esp, [ebp + __off_boot_stack_top]
	push edx
	push eax

	mov edi, ebx
	mov eax, 0x80000000
	cpuid			; overwrites EBX
	cmp eax, 0x80000001
	jb no_long_mode
	mov eax, 0x80000001
	cpuid
	mov ebx, edi
	bt edx, 29		; CPUID.80000001H:EDX.LM
	jnc no_long_mode

; ---------------------------------------------------------------------------------------------
; The common path. EBP = image, EBX = information, ESI = kind, [ESP] = TSC at entry (8 bytes);
; paging off.

build_tables:
	; Eight pages in .boot_bss, zeroed by whoever loaded us: PML4, PDPT and four PDs for the low
	; 4 GiB one to one, PDPT and PD for the image.
	lea edi, [ebp + __off_boot_tables]
	lea eax, [edi + 0x1000 + PTE_TABLE]
	mov [edi], eax
	lea eax, [edi + 0x6000 + PTE_TABLE]
	mov [edi + 511 * 8], eax

	xor ecx, ecx
	lea eax, [edi + 0x2000 + PTE_TABLE]
.pdpt:
	mov [edi + 0x1000 + ecx * 8], eax
	add eax, 0x1000
	inc ecx
	cmp ecx, 4
	jb .pdpt

	lea eax, [edi + 0x7000 + PTE_TABLE]
	mov [edi + 0x6000 + 510 * 8], eax

	xor ecx, ecx
	mov eax, PTE_2M
.identity:
	mov [edi + 0x2000 + ecx * 8], eax
	add eax, 0x200000
	inc ecx
	cmp ecx, 4 * 512
	jb .identity

	xor ecx, ecx
	lea eax, [ebp + PTE_2M]
	mov edx, __image_size
.image:
	mov [edi + 0x7000 + ecx * 8], eax
	add eax, 0x200000
	inc ecx
	sub edx, 0x200000
	ja .image

	mov eax, CR4_PAE
	mov cr4, eax
	mov cr3, edi
	mov ecx, MSR_EFER
	xor edx, edx
	mov eax, EFER_LME
	wrmsr
	mov eax, CR0_ON
	mov cr0, eax

	lea eax, [ebp + gdt - image_base]
	push eax
	push (gdt_end - gdt - 1) << 16
	lgdt [esp + 2]
	add esp, 8
	push CODE64
	lea eax, [ebp + in_long_mode - image_base]
	push eax
	retf

no_long_mode:
	; Nothing is set up and nothing can be: say so on COM1 as it is, and stop.
	lea esi, [ebp + .text - image_base]
	mov dx, 0x3fd
.wait:
	mov ecx, 1000000	; no UART answers 0xff or 0: bounded
.poll:
	in al, dx
	test al, 0x20
	loopz .poll
	lodsb
	test al, al
	jz .halt
	mov dx, 0x3f8
	out dx, al
	mov dx, 0x3fd
	jmp .wait
.halt:
	hlt
	jmp .halt
.text:
	db "dalang: this CPU has no 64-bit mode (CPUID 80000001h, EDX bit 29); "
	db "Dalang needs an x86-64 processor", 13, 10, 0

; ---------------------------------------------------------------------------------------------
; The 64-bit door. RDI = physical address of a struct boot_info below 4 GiB; identity-mapped by
; whatever tables. UEFI runs us on its own GDT and IDT with interrupts on.

bits 64
entry_64:
	cli
	cld
	rdtsc
	mov ebx, edi
	mov esi, KIND_UEFI
	lea rbp, [rel image_base]
	lea rsp, [rbp + __off_boot_stack_top]
	shl rdx, 32
	or rax, rdx
	push rax

	; Everything off that would object to paging going away or to the tables to come: PCIDE (clearing
	; PG would be #GP), CET, SMEP, SMAP, protection keys. LA57 stays until paging is off.
	mov rax, cr4
	and eax, CR4_LA57
	or eax, CR4_PAE
	mov cr4, rax

	lea rax, [rel gdt]
	sub rsp, 16
	mov word [rsp + 6], gdt_end - gdt - 1
	mov [rsp + 8], rax
	lgdt [rsp + 6]
	add rsp, 16
	lea rax, [rel leave_long_mode]
	push CODE32
	push rax
	retfq

bits 32
leave_long_mode:
	mov eax, DATA
	mov ds, eax
	mov es, eax
	mov ss, eax
	mov eax, cr0
	and eax, ~CR0_PG
	mov cr0, eax		; compatibility mode to protected mode: the code is identity-mapped
	mov ecx, MSR_EFER
	xor eax, eax
	xor edx, edx
	wrmsr
	mov cr4, eax		; now LA57 may go
	jmp build_tables

; ---------------------------------------------------------------------------------------------

bits 64
in_long_mode:
	mov eax, DATA
	mov ds, eax
	mov es, eax
	mov ss, eax
	xor eax, eax
	mov fs, eax
	mov gs, eax
	pop rdx			; TSC at entry
	mov edi, esi
	mov esi, ebx
	mov ecx, ebp
	mov rax, at_link_address
	jmp rax
at_link_address:
	lgdt [rel gdt_pointer]
	xor eax, eax
	lldt ax
	lea rsp, [rel __boot_stack_top]
	xor ebp, ebp		; the last frame of every backtrace
	call boot_main		; (kind, information, TSC, image); does not return
	ud2

align 8
gdt:	; accessed bits set, so that the CPU never has to write here
	dq 0
	dq 0x00af9b000000ffff	; CODE64
	dq 0x00cf93000000ffff	; DATA
	dq 0x00cf9b000000ffff	; CODE32
gdt_end:
align 8
	dw 0, 0, 0
gdt_pointer:
	dw gdt_end - gdt - 1
	dq gdt

; ---------------------------------------------------------------------------------------------
; PVH: the physical address of the 32-bit entry (Xen's public header elfnote.h, PHYS32_ENTRY).

section .note.pvh note alloc noexec nowrite align=4
	dd 4, 8, 18
	db "Xen", 0
	dq __pvh_entry_phys

section .boot_bss nobits alloc noexec write align=4096
__boot_tables:
	resb 8 * 4096
__boot_stack_guard:		; arch leaves this page unmapped
	resb 4096
__boot_stack:
	resb STACK_SIZE
__boot_stack_top:

section .note.GNU-stack noalloc noexec nowrite progbits
