/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * For Linux on amd64, without a C library: what busybox has no word for and virtio's tests need.
 *   vtool zero DEVICE FROM BYTES        BLKZEROOUT
 *   vtool ring CARD RX TX               rings of that size: each queue is reset and set up anew; what they are then
 */
#include "nolibc.h"

enum { SYS_OPEN = 2, SYS_IOCTL = 16, SYS_SOCKET = 41 };
enum { O_WRONLY = 1, AF_INET = 2, SOCK_DGRAM = 2, BLKZEROOUT = 0x127f, SIOCETHTOOL = 0x8946, GRINGPARAM = 0x10, SRINGPARAM = 0x11 };

struct ring {
	unsigned cmd, rx_max, mini_max, jumbo_max, tx_max, rx, mini, jumbo, tx;
};
struct ifreq {
	char name[16];
	struct ring *data;
	char pad[16];
};

static void ring(const char *card, unsigned rx, unsigned tx)
{
	struct ring r = {.cmd = GRINGPARAM};
	struct ifreq q = {.data = &r};
	long fd = must("socket", call(SYS_SOCKET, AF_INET, SOCK_DGRAM, 0));

	for (int i = 0; i < 15 && card[i]; i++)
		q.name[i] = card[i];
	must("get rings", call(SYS_IOCTL, fd, SIOCETHTOOL, (long)&q));
	r.cmd = SRINGPARAM;
	r.rx = rx;
	r.tx = tx;
	must("set rings", call(SYS_IOCTL, fd, SIOCETHTOOL, (long)&q));
	r.cmd = GRINGPARAM;
	must("get rings", call(SYS_IOCTL, fd, SIOCETHTOOL, (long)&q));
	say_number(r.rx);
	say(" ");
	say_number(r.tx);
	say("\n");
}

void begin(const long *stack)
{
	const char *const *argv = (const char *const *)(stack + 1);
	unsigned long range[2];

	if (stack[0] != 5)
		end(2);
	range[0] = number(argv[3]);
	range[1] = number(argv[4]);
	if (argv[1][0] == 'r')
		ring(argv[2], (unsigned)range[0], (unsigned)range[1]);
	else
		must("zero", call(SYS_IOCTL, must("open", call(SYS_OPEN, (long)argv[2], O_WRONLY, 0)), BLKZEROOUT, (long)range));
	end(0);
}
