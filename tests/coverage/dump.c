/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Of coverage builds only (make COVERAGE=1): before the machine is switched off, all counters go out on port 0xe9,
 * which both emulators write to a file. The linker leads the three ways off through here (--wrap), so the core knows
 * nothing of it. Stream: MAGIC; for each source file "F", u16 length, the name of its .gcda; "D", u16 length, a piece
 * of its content, as often as need be; at the end "E". libgcov.a (GCC 12 and later) makes the content.
 */
#include "arch/x86_64/asm.h"
#include "lib/log.h"
#include "lib/string.h"

struct gcov_info;
void __gcov_info_to_gcda(const struct gcov_info *info, void (*filename)(const char *, void *),
			 void (*dump)(const void *, unsigned, void *), void *(*allocate)(unsigned, void *), void *arg);
extern const struct gcov_info *const __start_gcov_info[], *const __stop_gcov_info[];

void __real_power_off(void) __noreturn;
void __real_machine_give_up(void) __noreturn;
void __real_power_off_emulator(void);
void __wrap_power_off(void) __noreturn;
void __wrap_machine_give_up(void) __noreturn;
void __wrap_power_off_emulator(void);
/* The counters' records name these; they are for merging files and for histograms, of which there are none. */
void __gcov_merge_add(void);
void abort(void) __noreturn;
void *mmap(void);

void __gcov_merge_add(void)
{
}

void abort(void)
{
	panic("coverage: libgcov gave up");
}

void *mmap(void)
{
	abort();
}

static void out(const void *p, size_t n)
{
	for (const u8 *b = p; n; n--)
		outb(0xe9, *b++);
}

static void piece(const void *p, unsigned n, char kind)
{
	u16 len = n;

	out(&kind, 1);
	out(&len, sizeof(len));
	out(p, n);
}

static void filename(const char *name, void *arg)
{
	(void)arg;
	piece(name, strlen(name), 'F');
}

static void content(const void *p, unsigned n, void *arg)
{
	(void)arg;
	for (const u8 *b = p; n;) {
		unsigned part = MIN(n, 32768u);

		piece(b, part, 'D');
		b += part;
		n -= part;
	}
}

static void *allocate(unsigned n, void *arg)
{
	(void)n;
	(void)arg;
	abort();
}

static void dump(void)
{
	static bool done;

	if (__atomic_exchange_n(&done, true, __ATOMIC_SEQ_CST))
		return;
	out("DALANG-GCOV\n", 12);
	for (const struct gcov_info *const *i = __start_gcov_info; i < __stop_gcov_info; i++)
		__gcov_info_to_gcda(*i, filename, content, allocate, NULL);
	out("E", 1);
}

void __wrap_power_off(void)
{
	dump();
	__real_power_off();
}

void __wrap_machine_give_up(void)
{
	dump();
	__real_machine_give_up();
}

void __wrap_power_off_emulator(void)
{
	dump();
	__real_power_off_emulator();
}
