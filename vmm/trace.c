/* SPDX-License-Identifier: BSD-2-Clause */
/* Rings of records, one a pCPU, and all of them read in the order of time while they are written. */
#include "arch/x86_64/asm.h"
#include "arch/x86_64/frame.h"
#include "lib/errno.h"
#include "lib/string.h"
#include "vmm/sched.h"
#include "vmm/watch.h"

#define RING 1024

struct trace_ring {
	volatile u64 head; /* of all records ever, the number of the next */
	u64 from;	   /* the first that counts */
	u64 last;	   /* TSC of the newest */
	struct trace_rec rec[RING];
};

int trace_make(u32 pcpu)
{
	struct sched_cpu *sc = pcpus[pcpu]->sched;

	if (!sc)
		return 0;
	if (!sc->trace)
		WRITE_ONCE(sc->trace, kzalloc(sizeof(*sc->trace), FRAME_PCPU, OWNER_HOST));
	if (!sc->trace)
		return -ENOMEM;
	sc->trace->from = sc->trace->head;
	return 0;
}

void trace_put(u32 pcpu, struct trace_rec *r)
{
	struct sched_cpu *sc = pcpus[pcpu]->sched;
	struct trace_ring *t = READ_ONCE(sc->trace);

	if (!t)
		return;
	r->tsc = t->last = MAX(r->tsc, t->last + 1); /* no two are alike, so each is one's place */
	t->rec[t->head % RING] = *r;
	barrier();
	t->head++;
}

/* Record i, or false: it has been overwritten, or is being so. */
static bool get(const struct trace_ring *t, u64 i, struct trace_rec *out)
{
	*out = t->rec[i % RING];
	barrier();
	return t->head - i < RING;
}

/* The first record at or behind tsc: its number, which may be head. */
static u64 search(const struct trace_ring *t, u64 tsc)
{
	u64 head = t->head, low = MAX(t->from, head >= RING ? head - RING + 1 : 0), high = head;

	while (low < high) {
		u64 mid = low + (high - low) / 2;
		struct trace_rec r;

		if (!get(t, mid, &r) || r.tsc < tsc) /* what was overwritten is old */
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/* Of one ring, as trace_next(). */
static bool next_in(const struct trace_ring *t, u32 pcpu, const struct trace_pos *at, bool newer, struct trace_rec *out)
{
	/* Of pCPUs with a record at the same time the one with the smaller number comes first. */
	u64 tsc = at->tsc + (newer ? pcpu <= at->pcpu : pcpu < at->pcpu), i = search(t, tsc);

	if (newer)
		return i < t->head && get(t, i, out);
	return i > t->from && get(t, i - 1, out);
}

bool trace_next(struct trace_pos *at, bool newer, struct trace_rec *out)
{
	struct trace_pos from = *at;
	bool found = false;

	for (u32 i = 0; i < nr_pcpus; i++) {
		const struct sched_cpu *sc = pcpus[i]->sched;
		struct trace_rec r;

		if (!sc || !sc->trace || !next_in(sc->trace, i, &from, newer, &r))
			continue;
		/* Of equals, the first pCPU's is the older one. */
		if (found && (newer ? r.tsc >= out->tsc : r.tsc < out->tsc))
			continue;
		*out = r;
		at->tsc = r.tsc;
		at->pcpu = i;
		found = true;
	}
	return found;
}
