/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The entropy device (virtio 1.2, 5.4), from the CPU's own generator (SDM vol. 1, 7.3.17; RDRAND's output is that of a
 * DRBG seeded by hardware). A VM that asks for one where there is none is refused, for nothing here could stand in.
 */
#include "arch/x86_64/asm.h"
#include "drivers/virtio/virtio_pci.h"
#include "lib/errno.h"

struct rng {
	struct virtio virtio;
};

#define TURN 8u
#define STEP 512u /* bytes a request gets at most; a driver asks again */

static bool have_rdrand(void)
{
	return cpuid(1, 0).ecx & BIT(30);
}

/* It may come up empty, rarely; ten times in a row it does not (SDM vol. 1, 7.3.17.1). */
static bool random64(u64 *val)
{
	for (unsigned i = 0; i < 10; i++) {
		bool ok;

		__asm__ volatile("rdrand %0" : "=r"(*val), "=@ccc"(ok));
		if (ok)
			return true;
	}
	return false;
}

static u32 fill(struct vdev *d, const struct virtq_chain *c)
{
	u64 n = MIN(c->in_len, STEP), done = 0, val;

	while (done < n && random64(&val)) {
		u64 part = MIN(n - done, sizeof(val));

		virtq_write(d->vm, c, done, &val, part);
		done += part;
	}
	return (u32)done;
}

/* A few requests; a driver that goes on adding waits for the next turn. */
static void rng_kick(struct vdev *d, unsigned queue)
{
	struct virtq_chain c;
	unsigned n;

	for (n = 0; n < TURN && virtio_pop(d, queue, &c); n++) {
		if (!c.in_len) {
			virtio_broken(d, "a request has no room for random bytes");
			return;
		}
		virtio_push(d, queue, &c, fill(d, &c));
	}
	if (n)
		virtio_signal(d, queue);
	if (n == TURN)
		virtio_turn(d, 0);
}

static void rng_timer(struct vdev *d, unsigned idx)
{
	virtio_kick(d, idx);
}

static int rng_init(struct vdev *d)
{
	if (have_rdrand())
		return 0;
	vdev_refuse(d, "rng = 1, but this CPU has no RDRAND; take the line out");
	return -ENODEV;
}

static unsigned rng_units(const struct vm *vm)
{
	return vm_rng_wanted(vm);
}

static const struct virtio_type rng = {
	.queue_size = 64, .max_queues = 1, .init = rng_init, .kick = rng_kick, .timer = rng_timer,
};
#define rng_ID 4
VIRTIO_DEVICE(rng, "virtio-rng", 1, struct rng, 0x00ff00, 2, rng_units);
