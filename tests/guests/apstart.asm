; SPDX-License-Identifier: BSD-2-Clause
; Where a second CPU starts: copied to a page below 1 MiB, CS is the page, IP 0. To 64-bit mode, and on.
section .text

PARAM equ 0xf00			; struct start_param
bits 16
global start_code, start_code_end
start_code:
	cli
	cld
	mov ax, cs
	mov ds, ax
	o32 lgdt [PARAM]
	mov eax, 0x620
	mov cr4, eax
	mov eax, [PARAM + 8]
	mov cr3, eax
	mov ecx, 0xc0000080
	xor edx, edx
	mov eax, 0x100
	wrmsr
	mov eax, 0x80010033
	xor ebx, ebx
	mov bx, ds
	shl ebx, 4
	mov cr0, eax
	jmp dword 0x08:start64
start_code_end:
bits 64
start64:
	mov eax, 0x10
	mov ds, eax
	mov es, eax
	mov ss, eax
	xor eax, eax
	mov fs, eax
	mov gs, eax
	mov rsp, [rbx + PARAM + 12]
	jmp [rbx + PARAM + 20]
section .note.GNU-stack noalloc noexec nowrite progbits
