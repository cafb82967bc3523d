/* SPDX-License-Identifier: BSD-2-Clause */
/* Error returns: functions return 0 or one of these, negated. Numbers as in POSIX. */
#pragma once
#if __STDC_HOSTED__
#include <errno.h>
#else
#define EPERM 1
#define ENOENT 2
#define EIO 5
#define E2BIG 7
#define ENOEXEC 8
#define EAGAIN 11
#define ENOMEM 12
#define EFAULT 14
#define EBUSY 16
#define EEXIST 17
#define ENODEV 19
#define EINVAL 22
#define ENOSPC 28
#define EROFS 30
#define ENOSYS 38
#define EINPROGRESS 115
#endif
