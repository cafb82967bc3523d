; SPDX-License-Identifier: BSD-2-Clause
; hostile.c's passages that C cannot say: into a step and out of it, CPUs' first instructions, other modes.
bits 64
section .text

; void run_code(const struct run *r): returns when a handler goes to recover
global run_code, recover, saved_rsp
run_code:
	push rbx
	push rbp
	push r12
	push r13
	push r14
	push r15
	mov [saved_rsp], rsp
	mov byte [running], 1
	push qword [rdi + 152]		; SS
	push qword [rdi + 32]		; RSP
	push qword [rdi + 144]		; RFLAGS
	push qword [rdi + 136]		; CS
	push qword [rdi + 128]		; RIP
	mov rax, [rdi]
	mov rcx, [rdi + 8]
	mov rdx, [rdi + 16]
	mov rbx, [rdi + 24]
	mov rbp, [rdi + 40]
	mov rsi, [rdi + 48]
	mov r8, [rdi + 64]
	mov r9, [rdi + 72]
	mov r10, [rdi + 80]
	mov r11, [rdi + 88]
	mov r12, [rdi + 96]
	mov r13, [rdi + 104]
	mov r14, [rdi + 112]
	mov r15, [rdi + 120]
	mov rdi, [rdi + 56]
	iretq
recover:
	mov rsp, [saved_rsp]
	mov byte [running], 0
	cld
	pop r15
	pop r14
	pop r13
	pop r12
	pop rbp
	pop rbx
	ret

global warm_entry, watchdog_entry
extern warm_main, watchdog_main, ap_stack
warm_entry:
	mov eax, 1
	cpuid
	shr ebx, 24
	jnz .other			; a stray SIPI brought CPU 1 here: one CPU makes steps
	mov byte [running], 0
	call warm_main
.other:	mov rsp, ap_stack + 4096 - 8
watchdog_entry:
	call watchdog_main

; --- the older modes: void run_mode(u32 mode, const u32 gpr[8]) ---
; mode: 0 real, 1 protected, 2 32-bit paging, 3 PAE, 4 V86; the code is at 0x8000. Whatever ends it goes to mode_back
; (32-bit) or real_back (16-bit), and from there here again.
CR3_32 equ 0xf000		; page tables that hostile_modes.c makes
CR3_PAE equ 0xe000
global run_mode, mode_back, real_back, mode_rsp
run_mode:
	push rbx
	push rbp
	push r12
	push r13
	push r14
	push r15
	mov [mode_rsp], rsp
	mov [mode_nr], edi
	mov rdx, cr3
	mov [mode_cr3], edx
	lea rcx, [rsi]
	mov [mode_gpr], ecx
	lgdt [mode_gdtr]
	lidt [mode_idtr]
	push 0x50
	lea rax, [rel to32]
	push rax
	retfq
bits 32
to32:
	mov eax, 0x10
	mov ds, eax
	mov es, eax
	mov ss, eax
	mov fs, eax
	mov gs, eax
	mov esp, 0xc000
	mov eax, 0x33			; no paging: out of long mode
	mov cr0, eax
	mov ecx, 0xc0000080
	xor edx, edx
	xor eax, eax
	wrmsr
	mov eax, [mode_nr]
	cmp eax, 0
	je to_real
	cmp eax, 2
	je .p32
	cmp eax, 3
	je .pae
	cmp eax, 4
	je .p32
	mov eax, 0x600
	mov cr4, eax
	jmp .tss
.p32:	mov eax, 0x610			; PSE
	mov cr4, eax
	mov eax, CR3_32
	mov cr3, eax
	mov eax, 0x80010033
	mov cr0, eax
	jmp .tss
.pae:	mov eax, 0x620
	mov cr4, eax
	mov eax, CR3_PAE
	mov cr3, eax
	mov eax, 0x80010033
	mov cr0, eax
.tss:	mov eax, [mode_tss]
	ltr ax
	cmp dword [mode_nr], 4
	je .v86
	push dword [mode_flags]
	push dword 0x50
	push dword 0x8000
	call load_gprs
	iretd
.v86:	xor eax, eax
	push eax			; GS FS DS ES
	push eax
	push eax
	push eax
	push dword 0x0			; SS
	push dword 0xbff0
	push dword [mode_flags]
	or dword [esp], 0x20000
	push dword 0x800
	push dword 0
	call load_gprs
	iretd
; all but ESP
load_gprs:
	mov edi, [mode_gpr]
	mov eax, [edi]
	mov ecx, [edi + 4]
	mov edx, [edi + 8]
	mov ebx, [edi + 12]
	mov ebp, [edi + 20]
	mov esi, [edi + 24]
	mov edi, [edi + 28]
	ret
to_real:
	mov edi, [mode_gpr]
	mov eax, [edi]
	mov ecx, [edi + 4]
	mov edx, [edi + 8]
	mov ebx, [edi + 12]
	mov ebp, [edi + 20]
	mov esi, [edi + 24]
	mov edi, [edi + 28]
	mov [0x9000], eax
	lidt [real_idtr]
	jmp 0x58:(0x9010)		; mode_code, copied there
; 16-bit, at 0x9010
bits 16
global mode_code, mode_code_end
mode_code:
	mov ax, 0x60
	mov ds, ax
	mov es, ax
	mov ss, ax
	mov eax, cr0
	and al, 0xfe
	mov cr0, eax
	jmp 0:(0x9010 + .real - mode_code)
.real:	xor ax, ax
	mov ss, ax
	mov sp, 0xc000
	mov es, ax
	mov ds, ax
	mov eax, [0x9000]
	jmp 0x800:0
; real_back, at the 16-byte boundary behind; every vector of the real-mode IVT leads here
	align 16
real_back:
	cli
	xor ax, ax
	mov ds, ax
	o32 lgdt [0x9004]
	mov eax, 0x33
	mov cr0, eax
	jmp dword 0x50:mode_back
mode_code_end:
bits 32
; every gate of the 32-bit IDT leads here
mode_back:
	cli
	mov eax, 0x10
	mov ds, eax
	mov es, eax
	mov ss, eax
	mov esp, 0xc000
	lgdt [mode_gdtr]
	mov eax, 0x33
	mov cr0, eax
	mov eax, 0x620
	mov cr4, eax
	mov eax, [mode_cr3]
	mov cr3, eax
	mov ecx, 0xc0000080
	xor edx, edx
	mov eax, 0x100
	wrmsr
	mov eax, 0x80010033
	mov cr0, eax
	jmp 0x08:.long
bits 64
.long:	mov eax, 0x10
	mov ds, eax
	mov es, eax
	mov ss, eax
	xor eax, eax
	mov fs, eax
	mov gs, eax
	mov rsp, [mode_rsp]
	cld
	pop r15
	pop r14
	pop r13
	pop r12
	pop rbp
	pop rbx
	ret

section .data
align 8
global running, mode_gdtr, mode_idtr, mode_flags, mode_tss
saved_rsp: dq 0
running: dq 0
mode_rsp: dq 0
mode_nr: dd 0
mode_cr3: dd 0
mode_gpr: dd 0
mode_flags: dd 2
mode_tss: dd 0x68
mode_gdtr: times 10 db 0
mode_idtr: times 10 db 0
real_idtr: dw 0x3ff
	dd 0
section .note.GNU-stack noalloc noexec nowrite progbits
