; SPDX-License-Identifier: BSD-2-Clause
; cputest.c's passages that C cannot say: to CPL 3 and back, and the programs that run there.
bits 64
section .text

; void enter_user(u64 rip, u64 rsp, u64 rflags): returns when a handler goes to leave_user
global enter_user, leave_user, kernel_rsp
enter_user:
	push rbx
	push rbp
	push r12
	push r13
	push r14
	push r15
	mov [kernel_rsp], rsp
	push 0x1b			; SS, RSP, RFLAGS, CS, RIP
	push rsi
	push rdx
	push 0x23
	push rdi
	iretq
leave_user:
	pop r15
	pop r14
	pop r13
	pop r12
	pop rbp
	pop rbx
	ret

; Programs, copied to a page that CPL 3 may run. Each ends by INT 0x38.
%macro PROGRAM 1
global user_%1, user_%1_end
user_%1:
%endmacro
%macro ENDPROGRAM 1
	int 0x38
user_%1_end:
%endmacro

PROGRAM ac
	pushfq
	or dword [rsp], 0x40000
	popfq
	mov eax, [rsp - 31]
ENDPROGRAM ac
PROGRAM cli
	cli
ENDPROGRAM cli
PROGRAM hlt
	hlt
ENDPROGRAM hlt
PROGRAM in
	in al, 0x80
ENDPROGRAM in
PROGRAM rdmsr
	mov ecx, 0x1b
	rdmsr
ENDPROGRAM rdmsr
PROGRAM cr
	mov rax, cr0
ENDPROGRAM cr
PROGRAM read
	mov eax, [0x200000]
ENDPROGRAM read
PROGRAM cpuid
	xor eax, eax
	cpuid
ENDPROGRAM cpuid
PROGRAM vmcall
	db 0x0f, 0x01, 0xd9		; VMMCALL
ENDPROGRAM vmcall
PROGRAM vmrun
	db 0x0f, 0x01, 0xd8		; VMRUN
ENDPROGRAM vmrun
PROGRAM xsetbv
	xor ecx, ecx
	xgetbv
	xsetbv
ENDPROGRAM xsetbv

section .data
kernel_rsp: dq 0
section .note.GNU-stack noalloc noexec nowrite progbits
