/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * kexec KERNEL INITRD CMDLINE: what kexec-tools' `kexec -s -l` and `kexec -e` do, for Linux on amd64, without a C library.
 * Returns only if that failed.
 */
enum { SYS_WRITE = 1, SYS_OPEN = 2, SYS_EXIT = 60, SYS_REBOOT = 169, SYS_KEXEC_FILE_LOAD = 320 };
#define REBOOT_MAGIC1 0xfee1dead
#define REBOOT_MAGIC2 672274793
#define REBOOT_KEXEC  0x45584543

static long call(long nr, long a, long b, long c, long d, long e)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	long r;

	__asm__ volatile("syscall" : "=a"(r) : "0"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8) : "rcx", "r11", "memory");
	return r;
}

static long length(const char *s)
{
	long n = 0;

	while (s[n])
		n++;
	return n;
}

static void __attribute__((noreturn)) fail(const char *what, long error)
{
	char number[] = " failed: -000\n";

	for (long i = 12, e = -error; i > 9; i--, e /= 10)
		number[i] = (char)('0' + e % 10);
	call(SYS_WRITE, 2, (long)what, length(what), 0, 0);
	call(SYS_WRITE, 2, (long)number, sizeof(number) - 1, 0, 0);
	for (;;)
		call(SYS_EXIT, 1, 0, 0, 0, 0);
}

static long must(const char *what, long result)
{
	if (result < 0)
		fail(what, result);
	return result;
}

void begin(const long *stack);
void begin(const long *stack)
{
	const char *const *argv = (const char *const *)(stack + 1);
	long kernel, initrd;

	if (stack[0] != 4)
		fail("kexec KERNEL INITRD CMDLINE", -22);
	kernel = must("open KERNEL", call(SYS_OPEN, (long)argv[1], 0, 0, 0, 0));
	initrd = must("open INITRD", call(SYS_OPEN, (long)argv[2], 0, 0, 0, 0));
	must("kexec_file_load", call(SYS_KEXEC_FILE_LOAD, kernel, initrd, length(argv[3]) + 1, (long)argv[3], 0));
	must("reboot", call(SYS_REBOOT, REBOOT_MAGIC1, REBOOT_MAGIC2, REBOOT_KEXEC, 0, 0));
	fail("kexec", 0);
}

__asm__(".globl _start\n_start:\n\tmov %rsp, %rdi\n\tand $-16, %rsp\n\tcall begin\n");
