/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: drivers/virtio/virtq.c */
/*
 * Rings of a driver that does anything: the bytes are the guest's memory, changed by what follows while the device
 * works. Whatever comes out of a queue lies in RAM, adds up and has an end.
 */
#define FAKE_RAM      0x10000ull /* zeroed each time */
#define FAKE_HOLE     0xc000ull
#define FAKE_HOLE_END 0xd000ull
#include "drivers/virtio/virtq.h"
#include "tests/unit/fake_gmem.h"

#define FIRST 0x1000 /* the bytes come to lie here */

static void check(const struct virtq *q, const struct virtq_chain *c)
{
	u64 sum = 0;

	for (unsigned i = 0; i < c->nr_out + c->nr_in; i++) {
		if (!c->range[i].len || !gmem_is_ram(NULL, c->range[i].gpa, c->range[i].len))
			abort();
		sum += c->range[i].len;
	}
	if (sum != c->out_len + c->in_len || !sum || q->in_flight > q->size || c->nr_ring > q->size)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct virtq_chain held[4];
	struct virtq q;
	unsigned nr_held = 0;
	u8 buf[64] = {0};

	if (size < 16)
		return 0;
	memset(fake_ram, 0, sizeof(fake_ram));
	virtq_reset(&q, data[0] + 1);
	q.packed = data[1] & 1;
	q.event_idx = data[1] >> 1 & 1;
	q.indirect = data[1] >> 2 & 1;
	q.desc = FIRST;
	q.driver = FIRST + 16ull * q.size;
	q.device = q.driver + ALIGN_UP(6ull + 2 * q.size, 4);
	q.next_used = q.next_avail = q.packed ? 0 : (u16)(data[2] | data[3] << 8);
	memcpy(fake_ram + FIRST, data + 4, size - 4 < FAKE_HOLE - FIRST ? size - 4 : FAKE_HOLE - FIRST);
	if (virtq_enable(NULL, &q))
		return 0;
	for (size_t i = 4; i + 4 <= size && i < 400; i += 4) {
		const char *why = NULL;
		u16 at = (u16)(data[i + 1] | data[i + 2] << 8);

		switch (data[i] & 7) {
		case 0: case 1: case 2:
			if (nr_held == 4)
				break;
			switch (virtq_pop(NULL, &q, &held[nr_held], &why)) {
			case 0: break;
			case 1: check(&q, &held[nr_held++]); break;
			default:
				if (!why)
					abort();
				return 0;
			}
			break;
		case 3: case 4:
			if (nr_held && virtq_push(NULL, &q, &held[--nr_held], at))
				abort();
			break;
		case 5:
			virtq_wants_irq(NULL, &q);
			virtq_set_kicks(NULL, &q, at & 1);
			break;
		case 6:
			if (nr_held && !virtq_reread(NULL, &q, &held[nr_held - 1], &why))
				check(&q, &held[nr_held - 1]);
			else if (nr_held)
				return 0;
			if (nr_held) {
				virtq_read(NULL, &held[nr_held - 1], at, buf, sizeof(buf));
				virtq_write(NULL, &held[nr_held - 1], at, buf, sizeof(buf));
			}
			break;
		case 7: /* the driver writes */
			fake_ram[FIRST + at % 0x4000] = data[i + 3];
			break;
		}
		if (!virtq_valid(&q) || fake_mapped)
			abort();
	}
	return 0;
}
