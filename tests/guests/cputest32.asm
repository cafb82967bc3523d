; SPDX-License-Identifier: BSD-2-Clause
; cputest32.c's passages that C cannot say: entry by multiboot1, exception stubs, real mode, V86 mode,
; and the second task.
bits 32
MB_MAGIC equ 0x1badb002
MB_FLAGS equ 3

section .head progbits alloc exec write align=4
	align 4
	dd MB_MAGIC, MB_FLAGS, -(MB_MAGIC + MB_FLAGS)

global start
start:
	cli
	cld
	mov esp, stack_end
	push ebx
	push eax
	extern main
	call main
.halt:	cli
	hlt
	jmp .halt

%macro STUB 1
	align 16
%if %1 = 8 || (%1 >= 10 && %1 <= 14) || %1 = 17 || %1 = 21
	nop
%else
	push byte 0
%endif
	push byte %1
	jmp to_interrupt
%endmacro

section .text
global isr_table
	align 16
isr_table:
%assign v 0
%rep 64
	STUB v
%assign v v + 1
%endrep

; Data segments may be anybody's (V86, a task's): after the handler they are ours, or IRET's.
to_interrupt:
	pushad
	mov eax, 0x10
	mov ds, eax
	mov es, eax
	cld
	push esp			; struct frame32
	extern interrupt
	call interrupt
	add esp, 4
	popad
	add esp, 8
	iretd

; --- real mode -----------------------------------------------------------------------------
; u32 real_mode(void): runs the copied passage below at LOW and returns its EAX. A stack at 0x7000.
LOW equ 0x8000
%define low(label) (label - rm_start + LOW)

global real_mode, rm_start, rm_end
real_mode:
	pushad
	mov [saved_esp], esp
	sidt [saved_idt]
	jmp 0x18:low(rm_enter)
rm_back:
	mov eax, 0x10
	mov ds, eax
	mov es, eax
	mov fs, eax
	mov gs, eax
	mov ss, eax
	mov esp, [saved_esp]
	lidt [saved_idt]
	popad
	mov eax, [LOW + rm_result - rm_start]
	ret

bits 16
rm_start:
rm_enter:				; 16-bit protected mode, CS 0x18
	mov ax, 0x20			; 16-bit data for all but FS, which keeps its 4 GiB
	mov ds, ax
	mov es, ax
	mov ss, ax
	mov ax, 0x10
	mov fs, ax
	lidt [low(ivt)]
	mov eax, cr0
	and al, 0xfe
	mov cr0, eax
	jmp 0:low(rm_real)
rm_real:
	xor ax, ax
	mov ds, ax
	mov es, ax
	mov ss, ax
	mov sp, 0x7000
	mov dword [low(rm_result)], 0
	int 0x60			; bit 0: INT n through the IVT
	cmp word [low(rm_vector)], 0x60
	jne .no0
	or dword [low(rm_result)], 1
.no0:	mov word [low(rm_skip)], 2	; bit 1: #DE, returns to the instruction; the handler skips it
	xor cx, cx
	div cx
	cmp word [low(rm_vector)], 0
	jne .no1
	or dword [low(rm_result)], 2
.no1:	ud2				; bit 2: #UD
	cmp word [low(rm_vector)], 6
	jne .no2
	or dword [low(rm_result)], 4
.no2:	mov word [low(rm_skip)], 3	; bit 3: #GP beyond 64 KiB, and no error code
	mov bx, 0xffff
	mov ax, [es:bx]
	cmp word [low(rm_vector)], 13
	jne .no3
	or dword [low(rm_result)], 8
.no3:	mov word [low(rm_skip)], 0
	xor eax, eax			; bit 4: an instruction that exits
	cpuid
	cmp eax, 1
	jb .no4
	or dword [low(rm_result)], 0x10
.no4:	mov edi, 0x200000		; bit 5: FS has 4 GiB still
	mov dword [fs:edi], 0x12345678
	cmp dword [fs:edi], 0x12345678
	jne .no5
	or dword [low(rm_result)], 0x20
.no5:	mov edi, 0xfee00030		; bit 6: a device, by the emulator
	mov eax, [fs:edi]
	cmp al, 0x10
	jb .no6
	or dword [low(rm_result)], 0x40
.no6:	mov word [low(rm_vector)], 0	; bit 7: the interrupt that waits, behind STI's shadow
	sti
	mov bx, [low(rm_vector)]
	nop
	cli
	test bx, bx
	jnz .no7
	cmp word [low(rm_vector)], 0x50
	jne .no7
	or dword [low(rm_result)], 0x80
.no7:	pushf				; bit 8: single step over an instruction that exits
	mov word [low(rm_vector)], 0
	mov bp, sp
	or word [bp], 0x100
	popf
	in al, 0x61
	pushf
	mov bp, sp
	and word [bp], 0xfeff
	popf
	cmp word [low(rm_vector)], 1
	jne .no8
	cmp word [low(rm_steps)], 5
	jne .no8
	or dword [low(rm_result)], 0x100
.no8:	mov eax, cr0			; bit 9: CR0 is what protected mode left, but for PE
	test al, 1
	jnz .no9
	or dword [low(rm_result)], 0x200
.no9:	smsw bx
	mov eax, cr0
	or al, 1
	mov cr0, eax
	jmp dword 8:rm_back

%macro RM_STUB 1
low_%1:
	mov word [cs:low(rm_vector)], %1
	jmp low_common
%endmacro
	RM_STUB 0
	RM_STUB 6
	RM_STUB 13
	RM_STUB 0x50
	RM_STUB 0x60
low_1:	mov word [cs:low(rm_vector)], 1
	inc word [cs:low(rm_steps)]
	iret
low_common:
	push bp
	push ax
	mov bp, sp
	mov ax, [cs:low(rm_skip)]
	cmp word [cs:low(rm_vector)], 6
	jne .skip
	mov ax, 2
.skip:	cmp word [cs:low(rm_vector)], 0x50
	jae .out
	add [bp + 4], ax
.out:	pop ax
	pop bp
	iret
	align 4
rm_result: dd 0
rm_vector: dw 0
rm_skip: dw 0
rm_steps: dw 0
ivt:	dw 0x3ff
	dd 0
global rm_vectors
rm_vectors:				; vector, where it goes
	dw 0, low(low_0), 1, low(low_1), 6, low(low_6), 13, low(low_13)
	dw 0x50, low(low_0x50), 0x60, low(low_0x60), 0x61, low(low_hlt), 0xffff, 0

; --- V86 mode: at LOW as well, CS 0x800, under the monitor in cputest32.c ----------------------
global v86_code
v86_code equ $ - rm_start
v86:	mov ax, 0x900
	mov ds, ax
	mov word [0], 0x1111
	cli				; #GP: IOPL is 0
	int 0x21			; #GP
	pushf				; #GP
	xor eax, eax
	cpuid				; exits
	mov [2], ax
	in al, 0x61			; allowed by the TSS's bitmap: exits
	mov word [4], 0x2222
	in al, 0x60			; not allowed: #GP
	mov bx, 0xffff
	mov ax, [bx]			; #GP: limit
	hlt				; #GP: the monitor ends here

; INT n that CR4.VME redirects to the IVT, with a stack where there is no memory: either the writes
; are lost and low_hlt is where it goes, or it is a fault. It must not be the machine's end.
global v86_stack_code
v86_stack_code equ $ - rm_start
	mov ax, 0xa000
	mov ss, ax
	mov sp, 0x100
	int 0x61
low_hlt:
	hlt

; --- tasks at LOW: one of a 16-bit TSS, in 16-bit protected mode, and one in V86 mode --------------
; CS 0x18 and data 0x20 have base 0. Notes what it finds, puts something else into BX, and goes back.
global task16_entry, task16_entry_error, task16_again, task16_seen
task16_entry equ low(task16)
task16_entry_error equ low(task16_error)
task16_again equ low(task16_end)
task16_seen equ low(task16_tr)
task16_error:				; a word of error code is on the stack
	pop word [low(task16_code)]
	mov ax, 0x10			; the first task is to go on elsewhere: its TSS is beyond 64 KiB
	mov fs, ax
	mov edi, [low(task16_from)]
	mov eax, [fs:edi]
	mov edi, [low(task16_to)]
	mov [fs:edi], eax
task16:	str [low(task16_tr)]
	pushf
	pop word [low(task16_flags)]
	mov [low(task16_regs)], bx
	mov [low(task16_regs) + 2], sp
	mov bx, 0x4444
	iret
task16_end:
	jmp task16
task16_tr: dw 0
task16_flags: dw 0
task16_regs: dw 0, 0
task16_code: dw 0, 0
task16_from: dd 0
task16_to: dd 0

global task_v86_entry
task_v86_entry equ $ - rm_start		; CS 0x800
	mov bx, ss
	mov [0], bx
	hlt				; #GP: the handler switches back
rm_end:

bits 32
; void enter_v86(u32 eip, u32 esp, u32 eflags): until a handler goes to leave_v86
global enter_v86, leave_v86, kernel_esp
enter_v86:
	pushad
	mov [kernel_esp], esp
	mov eax, [esp + 36]
	mov ecx, [esp + 40]
	mov edx, [esp + 44]
	push dword 0			; GS FS DS ES
	push dword 0
	push dword 0
	push dword 0
	push dword 0x700		; SS
	push ecx
	push edx
	push dword LOW >> 4		; CS
	push eax
	iretd
leave_v86:
	popad
	ret

; --- the second task -------------------------------------------------------------------------
; It calls task_hook() each time it is switched to, then goes back: by IRET, or by JMP to the first
; task when jump_back is set. task_error: there is an error code on its stack.
global task_entry, task_entry_error, jump_back
task_entry:
	extern task_hook
	push dword 0
	call task_hook
	add esp, 4
	cmp dword [jump_back], 0
	jne .jump
	iretd
	jmp task_entry
.jump:	jmp 0x38:0			; SEL_TASK1
	jmp task_entry
task_entry_error:
	call task_hook			; its argument is the error code
	add esp, 4
	iretd
	jmp task_entry_error

section .data
align 4
jump_back: dd 0
saved_esp: dd 0
kernel_esp: dd 0
saved_idt: dd 0, 0
section .bss nobits alloc write align=4096
stack:	resb 16384
stack_end:
section .note.GNU-stack noalloc noexec nowrite progbits
