; SPDX-License-Identifier: BSD-2-Clause
; debuggee.c's instructions to step over, each with a name, and where its second CPU begins.
bits 64
section .text
extern gdtr, ap_count, seen_tf

global walk
walk:	push rbx
w_nop:	nop
w_zero:	xor eax, eax
w_cpuid:
	cpuid
w_in:	in al, 0x80
w_out:	out 0x80, al
w_addr:	mov ebx, 0xfee00020
w_mmio:	mov eax, [rbx]
w_ecx:	mov ecx, 0x1b
w_rdmsr:
	rdmsr
w_cr:	mov rax, cr0
w_pushf:
	pushfq
w_or:	mov rax, [rsp]
w_and:	and eax, 0x100
w_note:	or [seen_tf], rax
w_popf:	popfq
w_int3:	int3			; the guest's own
w_int:	int 0x40
w_call:	syscall
w_back:	and r11d, 0x100
w_tf:	or [seen_tf], r11
w_sti:	sti
w_hlt:	hlt
w_cli:	cli
w_rep:	mov ecx, 3
w_edi:	mov edi, scratch
w_stos:	rep stosb
w_pop:	pop rbx
w_ret:	ret

; CS and SS are CPL 0's, so there is no SYSRET
global system_call
system_call:
	nop
	push r11
	popfq
	jmp rcx

global give_back
give_back:
	mov rax, rdi
	movq xmm0, rdi
g_set:	nop
	movq rdx, xmm0
	add rax, rdx
	ret

bits 16
global ap_code, ap_code_end, ap_cr3
ap_code:
	cli
	mov ax, cs
	mov ds, ax
	mov eax, 0x220
	mov cr4, eax
	mov eax, [ap_cr3 - ap_code]
	mov cr3, eax
	mov ecx, 0xc0000080
	xor edx, edx
	mov eax, 0x100
	wrmsr
	o32 lgdt [ap_gdtr - ap_code]
	mov eax, 0x80010033
	mov cr0, eax
	jmp dword 0x08:ap64
ap_cr3:	dd 0
ap_gdtr:
	dw 23
	dd gdt_copy
ap_code_end:

bits 64
global ap_loop
ap64:	mov eax, 0x10
	mov ds, eax
	mov ss, eax
	mov rsp, ap_stack_end
	sti			; nobody interrupts it; but with IF clear in host and guest Bochs 2.7 lets none out, either
ap_loop:
	inc qword [ap_count]
ap_in:
	in al, 0x80		; not PAUSE: TCG 7.2 forgets the single step trap behind it
ap_jump:
	jmp ap_loop

section .data
	align 8
gdt_copy:
	dq 0, 0x00af9b000000ffff, 0x00cf93000000ffff
section .bss
scratch: resb 16
	resb 1024
ap_stack_end:
section .note.GNU-stack noalloc noexec nowrite progbits
