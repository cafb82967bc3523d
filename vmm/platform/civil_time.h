/* SPDX-License-Identifier: BSD-2-Clause */
/* Seconds since 1970 and the Gregorian calendar. */
#pragma once
#include "lib/types.h"

struct civil_time {
	unsigned year, month, day;    /* month 1..12, day 1..31 */
	unsigned hour, min, sec;
	unsigned weekday;	      /* 0 Sunday; not read by civil_to_seconds() */
};

/*
 * Days are counted in years that begin in March, so that the leap day is the last one: month m of
 * such a year begins at day (153 m + 2) / 5, and 400 years have 146097 days. 1970-01-01 is day
 * 719468 of that count.
 */
static inline u64 civil_to_seconds(const struct civil_time *t)
{
	u64 y = t->month <= 2 ? t->year - 1 : t->year;
	unsigned m = t->month <= 2 ? t->month + 9 : t->month - 3;
	u64 days = y * 365 + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + t->day - 1 - 719468;

	return days * 86400 + t->hour * 3600 + t->min * 60 + t->sec;
}

static inline void civil_from_seconds(u64 seconds, struct civil_time *t)
{
	u64 days = seconds / 86400 + 719468, era = days / 146097;
	unsigned rest = (unsigned)(seconds % 86400), doe = (unsigned)(days % 146097);
	unsigned yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	unsigned doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
	unsigned m = (5 * doy + 2) / 153;

	t->hour = rest / 3600;
	t->min = rest / 60 % 60;
	t->sec = rest % 60;
	t->weekday = (unsigned)((days + 3) % 7);
	t->day = doy - (153 * m + 2) / 5 + 1;
	t->month = m < 10 ? m + 3 : m - 9;
	t->year = (unsigned)(era * 400 + yoe) + (t->month <= 2);
}
