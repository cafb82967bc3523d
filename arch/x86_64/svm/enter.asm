; SPDX-License-Identifier: BSD-2-Clause
; void svm_vmrun(u64 *gpr, hpa_t vmcb, hpa_t host_vmcb)
; From CLGI to STGI nothing can interrupt us (APM vol. 2, 15.17): the CPU holds the guest's general
; registers, FS, GS and TR meanwhile. IF is set in between, because with V_INTR_MASKING a physical
; interrupt leaves the guest only if the host's IF was set at VMRUN (15.21.1). IF is cleared before
; STGI: so STGI lets NMI, SMI and INIT in, with the host's TR and IST stacks back in place, and leaves
; a pending interrupt to the run loop's window. #VMEXIT restores RSP, RAX, RFLAGS, segments, CR0, CR3,
; CR4, EFER, GDT and IDT, and switches DR7 off; VMLOAD what VMRUN does not know of.
%include "arch/x86_64/spec.inc"
; struct hv_vcpu.gpr[] in encoding order; vcpu.c asserts these numbers.
RCX_ equ 1*8
RDX_ equ 2*8
RBX_ equ 3*8
RBP_ equ 5*8
RSI_ equ 6*8
RDI_ equ 7*8

%macro guest_gprs 1 ; 1: operand order of MOV. All but RAX and RSP (in the VMCB) and the base.
	%assign %%n 8
	%1 rcx, RCX_
	%1 rdx, RDX_
	%1 rbx, RBX_
	%1 rbp, RBP_
	%1 rsi, RSI_
	%rep 8
	%1 r%+%%n, %%n*8
	%assign %%n %%n+1
	%endrep
%endmacro
%macro load 2
	mov %1, [rdi + %2]
%endmacro
%macro store 2
	mov [rax + %2], %1
%endmacro

section .text
global svm_vmrun:function
svm_vmrun:
	push rbx
	push rbp
	push r12
	push r13
	push r14
	push r15
	push rdi
	push rdx
	mov rax, rsi
	clgi
	sti
	guest_gprs load
	mov rdi, [rdi + RDI_]
	vmload			; RAX is the operand of all four
	vmrun
	vmsave
	pop rax			; the host's VMCB: guest RAX is in the guest's
	vmload
	pop rax			; gpr
	guest_gprs store
	mov [rax + RDI_], rdi
	xor ecx, ecx		; leave the host none of the guest's values to speculate with
	xor edx, edx
	xor esi, esi
	xor edi, edi
	xor r8d, r8d
	xor r9d, r9d
	xor r10d, r10d
	xor r11d, r11d
	pop r15
	pop r14
	pop r13
	pop r12
	pop rbp
	pop rbx
	spec_after_exit rax	; GIF is still clear
	cli
	stgi
	ret
section .note.GNU-stack noalloc noexec nowrite progbits
