/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>
#include "arch/x86_64/timeconv.h"

/* Against division in 128 bits: exact to 1 in 2^28, from 100 MHz to 10 GHz, up to centuries. */
static void test_scale(void **st)
{
	static const u64 khz[] = {100000, 999999, 1000000, 2400013, 2611200, 5000000, 10000000};

	(void)st;
	for (unsigned i = 0; i < ARRAY_SIZE(khz); i++) {
		struct time_scale s = time_scale_of(khz[i]);

		for (u64 t = 1; t && t < 1ull << 62; t = t * 5 / 3 + 1) {
			unsigned __int128 ns = (unsigned __int128)t * 1000000 / khz[i];
			unsigned __int128 ticks = (unsigned __int128)t * khz[i] / 1000000;
			u64 got_ns = scale32(t, s.to_ns), got_t = scale32(t, s.to_tick);

			if (ns >> 64)
				assert_true(got_ns >= ~0ull - (~0ull >> 28));
			else
				assert_true(got_ns <= ns && ns - got_ns <= (ns >> 28) + 1);
			if (ticks >> 64)
				assert_true(got_t >= ~0ull - (~0ull >> 28));
			else
				assert_true(got_t <= ticks && ticks - got_t <= (ticks >> 28) + 1);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_scale)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
