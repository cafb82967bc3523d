; SPDX-License-Identifier: BSD-2-Clause
; Tiny guests' entry: multiboot1 (ELF32) and PVH, to 64-bit mode with the first 4 GiB mapped one to
; one, then main(magic, info). Interrupts reach isr_table's stubs, which call interrupt(vector, rip, frame).
bits 32

MB_MAGIC equ 0x1badb002
MB_FLAGS equ 3				; modules page-aligned, memory map wanted

section .head progbits alloc exec write align=4
	align 4
	dd MB_MAGIC, MB_FLAGS, -(MB_MAGIC + MB_FLAGS)

; PVH: EBX is the start info; no magic in EAX (Xen's public/arch-x86/hvm/start_info.h)
global pvh_start
pvh_start:
	mov eax, [ebx]
	jmp start

; multiboot1, 3.2: EAX is the magic 0x2badb002, EBX the information structure
global start
start:
	cli
	cld
	mov esp, stack_end
	mov esi, eax
	mov edi, pd			; 4 GiB of 2 MiB pages
	mov eax, 0x83
	mov ecx, 2048
.pd:	mov [edi], eax
	mov dword [edi + 4], 0
	add eax, 0x200000
	add edi, 8
	loop .pd
	mov eax, pd + 3
	mov edi, pdpt
	mov ecx, 4
.pdpt:	mov [edi], eax
	add eax, 4096
	add edi, 8
	loop .pdpt
	mov dword [pml4], pdpt + 3
	mov eax, cr4
	or eax, 0x620			; PAE, OSFXSR, OSXMMEXCPT
	mov cr4, eax
	mov eax, pml4
	mov cr3, eax
	mov ecx, 0xc0000080		; EFER.LME
	rdmsr
	or eax, 0x100
	wrmsr
	mov eax, cr0
	and eax, 0xfffffff3		; EM, TS off
	or eax, 0x80010003		; PG, WP, MP, PE
	mov cr0, eax
	lgdt [gdtr]
	jmp 0x08:long64

bits 64
long64:
	mov eax, 0x10
	mov ds, eax
	mov es, eax
	mov ss, eax
	xor eax, eax
	mov fs, eax
	mov gs, eax
	mov edi, esi			; magic
	mov esi, ebx			; information
	extern main
	call main
.halt:	cli
	hlt
	jmp .halt

; One stub a vector, 16 bytes apart; the vectors that push an error code (SDM vol. 3, 6.13) do so,
; the others push a zero.
%macro STUB 1
	align 16
%if %1 = 8 || (%1 >= 10 && %1 <= 14) || %1 = 17 || %1 = 21
	nop
%else
	push 0
%endif
	push %1
	jmp to_interrupt
%endmacro

section .text
global isr_table
	align 16
isr_table:
%assign v 0
%rep 256
	STUB v
%assign v v + 1
%endrep

to_interrupt:
	push rax
	push rcx
	push rdx
	push rsi
	push rdi
	push r8
	push r9
	push r10
	push r11
	mov rdi, [rsp + 72]
	mov rsi, [rsp + 88]
	mov rdx, rsp			; struct frame of pc.h
	extern interrupt
	cld
	call interrupt
	pop r11
	pop r10
	pop r9
	pop r8
	pop rdi
	pop rsi
	pop rdx
	pop rcx
	pop rax
	add rsp, 16
	iretq

section .data
global gdtr
	align 8
gdt:	dq 0
	dq 0x00af9b000000ffff		; 64-bit code
	dq 0x00cf93000000ffff		; data
gdtr:	dw 23
	dd gdt

; XEN_ELFNOTE_PHYS32_ENTRY (18): the PVH entry point
section .note.pvh note align=4
	dd 4, 4, 18
	db "Xen", 0
	dd pvh_start

section .bss nobits alloc write align=4096
pml4:	resb 4096
pdpt:	resb 4096
pd:	resb 4 * 4096
stack:	resb 16384
stack_end:
