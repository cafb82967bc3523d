; SPDX-License-Identifier: BSD-2-Clause
;
; 256 stubs that make every vector look alike, one way into C, and the two MSR accesses that may
; fault. No SWAPGS anywhere: ring 3 is never entered, so GS is always ours.

extern trap_dispatch
global trap_stubs
global rdmsr_safe
global wrmsr_safe
global trap_fixups

; vectors that push an error code: x86.h, EXC_HAS_ERROR_MASK
%define ERROR_MASK 0x60227d00

section .text

%assign vec 0
%rep 256
stub_ %+ vec:
%if vec >= 32 || ((ERROR_MASK >> vec) & 1) == 0
	push 0
%endif
	push vec
	jmp trap_common
%assign vec vec + 1
%endrep

trap_common:		; the stack holds struct trap_regs from vector on
	push rax
	push rcx
	push rdx
	push rbx
	push rbp
	push rsi
	push rdi
	push r8
	push r9
	push r10
	push r11
	push r12
	push r13
	push r14
	push r15
	cld
	mov rdi, rsp	; 22 quadwords below a 16-byte boundary: aligned for the call
	call trap_dispatch
	pop r15
	pop r14
	pop r13
	pop r12
	pop r11
	pop r10
	pop r9
	pop r8
	pop rdi
	pop rsi
	pop rbp
	pop rbx
	pop rdx
	pop rcx
	pop rax
	add rsp, 16
	iretq

; bool rdmsr_safe(u32 msr, u64 *v)
rdmsr_safe:
	mov ecx, edi
.access:
	rdmsr
	shl rdx, 32
	or rax, rdx
	mov [rsi], rax
	mov eax, 1
	ret

; bool wrmsr_safe(u32 msr, u64 v)
wrmsr_safe:
	mov ecx, edi
	mov eax, esi
	mov rdx, rsi
	shr rdx, 32
.access:
	wrmsr
	mov eax, 1
	ret

msr_fault:
	xor eax, eax
	ret

section .rodata
align 8
trap_stubs:
%assign vec 0
%rep 256
	dq stub_ %+ vec
%assign vec vec + 1
%endrep

; (instruction that may raise #GP, where to go on), 0 ends
trap_fixups:
	dq rdmsr_safe.access, msr_fault
	dq wrmsr_safe.access, msr_fault
	dq 0, 0

section .note.GNU-stack noalloc noexec nowrite progbits
