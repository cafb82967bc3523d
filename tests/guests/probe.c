/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * /init of the kernel tests: a static 32-bit program without a C library, so that one file runs
 * under Debian's i386 and amd64 kernels alike. Prints the TSC at its first instruction, then the
 * kernel's log records of level warning and worse, and ends the machine by the debug exit port.
 */
typedef unsigned int u32;
typedef unsigned long long u64;

enum { SYS_READ = 3, SYS_WRITE = 4, SYS_OPEN = 5, SYS_IOCTL = 54, SYS_REBOOT = 88, SYS_SYSLOG = 103, SYS_IOPL = 110, SYS_UNAME = 122 };
enum { O_RDONLY = 0, O_NONBLOCK = 04000, LOG_WARNING = 4, DEBUG_EXIT_PORT = 0xf4, CONSOLE_OFF = 6, TCSBRK = 0x5409 };

static int call3(int nr, long a, long b, long c)
{
	int r;

	__asm__ volatile("int $0x80" : "=a"(r) : "a"(nr), "b"(a), "c"(b), "d"(c) : "memory");
	return r;
}

static char out[8192];
static int used;

static void flush(void)
{
	int done = 0;

	while (done < used) {
		int n = call3(SYS_WRITE, 1, (long)(out + done), used - done);

		if (n <= 0)
			break;
		done += n;
	}
	used = 0;
}

static void put(char c)
{
	if (used == sizeof(out))
		flush();
	out[used++] = c;
}

static void text(const char *s)
{
	while (*s)
		put(*s++);
}

static void hex(u64 v)
{
	for (int i = 60; i >= 0; i -= 4)
		put("0123456789abcdef"[v >> i & 15]);
}

/* One record: "PRIORITY,SEQUENCE,MICROSECONDS,FLAGS[,...];text", then lines of key=value. The
 * priority's low three bits are the level. */
static void record(const char *p, int n)
{
	int level = 0, i = 0;

	for (; i < n && p[i] >= '0' && p[i] <= '9'; i++)
		level = level * 10 + p[i] - '0';
	if ((level & 7) > LOG_WARNING)
		return;
	while (i < n && p[i] != ';')
		i++;
	text("KMSG ");
	put((char)('0' + (level & 7)));
	put(' ');
	for (i++; i < n && p[i] != '\n'; i++)
		put(p[i]);
	put('\n');
}

static void kernel_log(void)
{
	static char buf[8192];
	int fd = call3(SYS_OPEN, (long)"/dev/kmsg", O_RDONLY | O_NONBLOCK, 0), n;

	if (fd < 0)
		text("PROBE no /dev/kmsg\n");
	while (fd >= 0 && (n = call3(SYS_READ, fd, (long)buf, sizeof(buf))) > 0)
		record(buf, n);
}

static void version(void)
{
	static char uts[6][65]; /* sysname, nodename, release, version, machine, domain */

	call3(SYS_UNAME, (long)uts, 0, 0);
	text("PROBE ");
	text(uts[2]);
	put(' ');
	text(uts[4]);
	put('\n');
}

__attribute__((used)) static void probe(u64 tsc)
{
	call3(SYS_SYSLOG, CONSOLE_OFF, 0, 0); /* the kernel's lines must not come into ours */
	version();
	text("PROBE tsc=");
	hex(tsc);
	put('\n');
	kernel_log();
	text("PROBE end\n");
	flush();
	call3(SYS_IOCTL, 1, TCSBRK, 1); /* until the last byte has left */
	call3(SYS_IOPL, 3, 0, 0);
	__asm__ volatile("outb %0, %1" : : "a"((unsigned char)0), "Nd"((unsigned short)DEBUG_EXIT_PORT));
	for (;;)
		call3(SYS_REBOOT, (long)0xfee1deadu, 672274793, 0x4321fedc); /* power off */
}

__asm__(".globl _start\n"
	"_start:\n"
	"	rdtsc\n"
	"	and $-16, %esp\n"
	"	sub $8, %esp\n"
	"	push %edx\n"
	"	push %eax\n"
	"	call probe\n");
