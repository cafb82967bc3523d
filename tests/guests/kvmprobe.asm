; SPDX-License-Identifier: BSD-2-Clause
; A boot sector that tells whether VMX or SVM really reaches a guest: it looks at CPUID and then
; sets the bit that only a CPU with the extension lets one set. Answer on the debug exit port:
; 0x11 VMX, 0x12 SVM with nested paging, 0x10 neither.
bits 16
org 0x7c00

	jmp 0:start
start:
	cli
	xor ax, ax
	mov ss, ax
	mov ds, ax
	mov sp, 0x7c00
	; A wrong guess is a #GP: vector 13 of the real-mode table leads to "neither".
	mov word [13 * 4], none
	mov [13 * 4 + 2], ax

	mov eax, 1
	cpuid
	test ecx, 1 << 5			; CPUID.1:ECX.VMX
	jz svm
	mov eax, cr4
	or eax, 1 << 13				; CR4.VMXE; SDM vol. 3, 24.7
	mov cr4, eax
	mov al, 0x11
	jmp answer
svm:
	mov eax, 0x80000000
	cpuid
	cmp eax, 0x8000000a
	jb none
	mov eax, 0x80000001
	cpuid
	test ecx, 1 << 2			; Fn8000_0001:ECX.SVM
	jz none
	mov eax, 0x8000000a
	cpuid
	test edx, 1				; nested paging
	jz none
	mov ecx, 0xc0000080			; EFER
	rdmsr
	or eax, 1 << 12				; SVME; APM vol. 2, 15.4
	wrmsr
	mov al, 0x12
	jmp answer
none:
	mov al, 0x10
answer:
	out 0xf4, al
halt:
	hlt
	jmp halt

	times 510 - ($ - $$) db 0
	dw 0xaa55
