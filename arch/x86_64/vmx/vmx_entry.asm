; SPDX-License-Identifier: BSD-2-Clause
;
; int vmx_run(u64 *gpr, u64 launched, u64 *host_rsp)
; Load the guest's general registers, enter, and come back through vmx_exit_point. Returns 0 after
; an exit, 1 for VMfailInvalid, 2 for VMfailValid (SDM 31.2). gpr[] is in encoding order, the first
; member of struct hv_vcpu (asserted in vmx.c); gpr[RSP] lives in the VMCS.

bits 64
default rel
%include "arch/x86_64/spec.inc"

VMCS_HOST_RSP equ 0x6c14	; asserted in vmx.c

section .text
global vmx_run
global vmx_exit_point

vmx_run:
	push	rbp
	push	rbx
	push	r12
	push	r13
	push	r14
	push	r15
	push	rdi			; found again at [rsp] after the exit
	cmp	[rdx], rsp		; the stack is seldom elsewhere than last time
	je	.host_rsp_set
	mov	[rdx], rsp
	mov	eax, VMCS_HOST_RSP
	vmwrite	rax, rsp
.host_rsp_set:
	test	rsi, rsi		; MOV keeps the flags up to the JZ below
	mov	rax, [rdi + 0*8]
	mov	rcx, [rdi + 1*8]
	mov	rdx, [rdi + 2*8]
	mov	rbx, [rdi + 3*8]
	mov	rbp, [rdi + 5*8]
	mov	rsi, [rdi + 6*8]
%assign i 8
%rep 8
	mov	r%+i, [rdi + i*8]
%assign i i+1
%endrep
	mov	rdi, [rdi + 7*8]
	jz	.launch
	vmresume
	jmp	.failed
.launch:
	vmlaunch
.failed:				; nothing was entered: registers and flags are still ours
	mov	eax, 1
	mov	ecx, 2
	cmovz	eax, ecx
	pop	rdi
	jmp	vmx_leave

vmx_exit_point:				; HOST_RIP, with RSP as above and the guest's registers
	push	rdi
	mov	rdi, [rsp + 8]
	mov	[rdi + 0*8], rax
	mov	[rdi + 1*8], rcx
	mov	[rdi + 2*8], rdx
	mov	[rdi + 3*8], rbx
	mov	[rdi + 5*8], rbp
	mov	[rdi + 6*8], rsi
	pop	qword [rdi + 7*8]
	add	rsp, 8
%assign i 8
%rep 8
	mov	[rdi + i*8], r%+i
%assign i i+1
%endrep
	xor	eax, eax
vmx_leave:
	xor	ecx, ecx		; nothing of the guest's for speculation to use
	xor	edx, edx
	xor	esi, esi
%assign i 8
%rep 4
	xor	r%+i, r%+i
%assign i i+1
%endrep
	spec_after_exit rdi
	pop	r15
	pop	r14
	pop	r13
	pop	r12
	pop	rbx
	pop	rbp
	ret

section .note.GNU-stack noalloc noexec nowrite progbits
