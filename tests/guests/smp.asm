; SPDX-License-Identifier: BSD-2-Clause
; smp.c's passages that C cannot say: where a CPU starts after INIT and SIPI, and accesses that may fault.
bits 16
section .text

REC equ 0x800			; struct start_record of smp.h, in the page that the SIPI names
PARAM equ 0x900			; struct start_param

; Copied to a page below 1 MiB: CS is the page, IP 0. First what INIT left is written down (when several
; CPUs start at once, nobody looks at it); then straight to 64-bit mode on the page tables of CPU 0.
global ap_code, ap_code_end
ap_code:
	mov [cs:REC], eax
	mov [cs:REC + 4], ebx
	mov [cs:REC + 8], ecx
	mov [cs:REC + 12], edx
	mov [cs:REC + 16], esi
	mov [cs:REC + 20], edi
	mov [cs:REC + 24], ebp
	mov [cs:REC + 28], esp
	mov [cs:REC + 72], cs
	mov [cs:REC + 74], ds
	mov [cs:REC + 76], es
	mov [cs:REC + 78], fs
	mov [cs:REC + 80], gs
	mov [cs:REC + 82], ss
	mov ax, cs
	mov ss, ax
	mov sp, 0x1000
	pushfd			; nothing above changes a flag
	pop dword [cs:REC + 68]
	mov ds, ax
	mov eax, cr0
	mov [REC + 32], eax
	mov eax, cr2
	mov [REC + 36], eax
	mov eax, cr3
	mov [REC + 40], eax
	mov eax, cr4
	mov [REC + 44], eax
	mov eax, dr0
	mov [REC + 48], eax
	mov eax, dr6
	mov [REC + 52], eax
	mov eax, dr7
	mov [REC + 56], eax
	mov ecx, 0xc0000080
	rdmsr
	mov [REC + 60], eax
	o32 sgdt [REC + 84]
	o32 sidt [REC + 90]
	inc dword [REC + 64]
	o32 lgdt [PARAM]
	mov eax, 0x220		; PAE, OSFXSR
	mov cr4, eax
	mov eax, [PARAM + 8]
	mov cr3, eax
	mov ecx, 0xc0000080	; EFER.LME
	xor edx, edx
	mov eax, 0x100
	wrmsr
	mov eax, 0x80010033	; PG, WP, NE, ET, MP, PE; caches on
	mov cr0, eax
	jmp dword 0x08:ap64
ap_code_end:

; Who am I? The APIC id by CPUID gives the place in the table; who finds none, or one that another CPU
; has, stays here.
bits 64
extern apic_ids, nr_cpus, claimed, lost_cpus, ap_stacks, ap_main
ap64:	mov eax, 0x10
	mov ds, eax
	mov es, eax
	mov ss, eax
	xor eax, eax
	mov fs, eax
	mov gs, eax
	cpuid
	cmp eax, 0xb
	jb .leaf1
	mov eax, 0xb
	xor ecx, ecx
	cpuid
	mov eax, edx
	test ebx, ebx
	jnz .look
.leaf1:	mov eax, 1
	cpuid
	shr ebx, 24
	mov eax, ebx
.look:	xor edi, edi
.next:	cmp edi, [nr_cpus]
	jae .lost
	cmp [apic_ids + rdi * 4], eax
	je .found
	inc edi
	jmp .next
.found:	lock bts [claimed], rdi
	jc .lost
	mov eax, edi
	shl eax, 14
	lea rsp, [rax + ap_stacks + 16384]
	call ap_main
.lost:	lock inc dword [lost_cpus]
.halt:	cli
	hlt
	jmp .halt

; void park(void): until this CPU has been started anew and calls resume()
global park, resume
park:	push rbx
	push rbp
	push r12
	push r13
	push r14
	push r15
	mov [parked_rsp], rsp
.spin:	pause
	jmp .spin
resume:	mov rsp, [parked_rsp]
	mov qword [parked_rsp], 0
	pop r15
	pop r14
	pop r13
	pop r12
	pop rbp
	pop rbx
	ret

; bool try_read(u64 addr, u64 *value), bool try_write(u64 addr, u64 value): false if it faults, which
; interrupt() sees to
global try_read, try_read_at, try_write, try_write_at, try_failed
try_read:
	xor eax, eax
try_read_at:
	mov rcx, [rdi]
	mov [rsi], rcx
	inc eax
	ret
try_write:
	xor eax, eax
try_write_at:
	mov [rdi], rsi
	inc eax
try_failed:
	ret

section .data
global parked_rsp
parked_rsp: dq 0
section .note.GNU-stack noalloc noexec nowrite progbits
