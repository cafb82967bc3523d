/* SPDX-License-Identifier: BSD-2-Clause */
/* The bytes of a saved VM: written, read and checked. See state.h. */
#include "vmm/state.h"
#include "arch/x86_64/x86.h"
#include "lib/errno.h"
#include "lib/log.h"
#include "lib/string.h"
#include "vmm/platform/pci.h"

/* Versions of the payloads; devices have their own. */
static const u16 versions[STATE_END + 1] = {
	[STATE_VM] = 1,	  [STATE_VCPU] = 3, [STATE_XSAVE] = 1,
	[STATE_LAPIC] = 1, [STATE_MSRS] = 1, [STATE_PV] = 1,
	[STATE_END] = 1,
};
static const char *const names[STATE_END + 1] = {
	[STATE_VM] = "VM",	 [STATE_VCPU] = "vCPU",	 [STATE_XSAVE] = "FPU state",
	[STATE_LAPIC] = "APIC", [STATE_MSRS] = "MSRs",	 [STATE_PV] = "paravirtual MSRs",
	[STATE_DEVICE] = "device", [STATE_END] = "end",
};

u16 state_version(enum state_tag tag)
{
	return versions[tag];
}

/* Whole words only: every record is a multiple of 8 bytes long. */
static u64 sum(const void *buf, size_t n)
{
	const u64 *w = buf;
	u64 h = 0xcbf29ce484222325ull; /* FNV-1a's numbers, over words, with the high half folded in */

	for (size_t i = 0; i < n / 8; i++) {
		h = (h ^ w[i]) * 0x100000001b3ull;
		h ^= h >> 32;
	}
	return h;
}

/* --- writing --- */

void state_begin(struct state_writer *w, void *buf, size_t size)
{
	*w = (struct state_writer){.buf = buf, .size = size};
	if (size < sizeof(struct state_header)) {
		w->full = true;
		return;
	}
	*(struct state_header *)buf =
		(struct state_header){.magic = STATE_MAGIC, .version = STATE_VERSION};
	w->used = sizeof(struct state_header);
}

void *state_put(struct state_writer *w, enum state_tag tag, u16 version, u32 index, u32 n)
{
	size_t need = sizeof(struct state_record) + ALIGN_UP((size_t)n, 8);
	struct state_record *r = (void *)(w->buf + w->used);

	if (w->full || w->size - w->used < need) {
		w->full = true;
		return NULL;
	}
	memset(r, 0, need);
	*r = (struct state_record){.tag = (u16)tag, .version = version, .index = index, .size = n};
	w->used += need;
	return r + 1;
}

size_t state_finish(struct state_writer *w)
{
	u64 *end = state_put(w, STATE_END, versions[STATE_END], 0, sizeof(*end));

	if (!end)
		return 0;
	((struct state_header *)w->buf)->size = (u32)w->used;
	*end = sum(w->buf, (size_t)((u8 *)end - w->buf));
	return w->used;
}

/* --- reading --- */

struct reader {
	const struct state_shape *shape;
	struct state_view *view;
	char *why;
	size_t why_n;
};

#define BAD(rd, ...) (snprintf((rd)->why, (rd)->why_n, __VA_ARGS__), -EINVAL)

static int check_vm(const struct reader *rd, const struct state_vm *s)
{
	const struct state_shape *sh = rd->shape;

	if (s->ram_bytes != sh->ram_bytes)
		return BAD(rd, "saved state: of a VM with %lu MiB of memory, this one has %lu",
			   (unsigned long)(s->ram_bytes >> 20), (unsigned long)(sh->ram_bytes >> 20));
	if (s->nr_vcpus != sh->nr_vcpus || s->nr_devs != sh->nr_devs)
		return BAD(rd, "saved state: %u vCPUs and %u devices, this VM has %u and %u",
			   s->nr_vcpus, s->nr_devs, sh->nr_vcpus, sh->nr_devs);
	if (s->tsc_khz < TSC_KHZ_MIN || s->tsc_khz > TSC_KHZ_MAX ||
	    !tsc_ratio_for(s->tsc_khz, sh->tsc_khz, sh->tsc_scaling))
		return BAD(rd, "saved state: of a TSC of %lu kHz, this host's has %lu%s",
			   (unsigned long)s->tsc_khz, (unsigned long)sh->tsc_khz,
			   sh->tsc_scaling ? "" : " and its CPU cannot scale it");
	return 0;
}

/* SDM vol. 3, 6.3 and table 6-1: a vector that fits its type. */
static bool event_ok(const struct hv_event *e)
{
	if (!e->valid)
		return true;
	if (e->valid != 1 || e->has_error > 1 || e->insn_len > 15)
		return false;
	switch (e->type) {
	case HV_EV_EXTINT:
	case HV_EV_SWINT:
		return !e->has_error;
	case HV_EV_NMI:
		return e->vector == EXC_NMI;
	case HV_EV_EXC:
		return e->vector < 32 && e->vector != EXC_NMI;
	case HV_EV_PRIV_SWEXC:
		return e->vector == EXC_DB;
	case HV_EV_SWEXC:
		return e->vector == EXC_BP || e->vector == EXC_OF;
	default:
		return false;
	}
}

/* Modes that no CPU can be in (SDM vol. 3, 2.5, 4.1.1). What else the CPU minds it says at entry. */
static bool mode_ok(const struct state_vcpu *s, u64 cr4_allowed)
{
	u64 cr0 = s->reg[REG_CR0], cr4 = s->reg[REG_CR4], efer = s->reg[REG_EFER];
	bool lma = (efer & EFER_LME) && (cr0 & CR0_PG);

	if (cr0 >> 32 || (cr0 & CR0_PG && !(cr0 & CR0_PE)) || (cr0 & CR0_NW && !(cr0 & CR0_CD)))
		return false;
	if (cr4 & ~cr4_allowed || (lma && !(cr4 & CR4_PAE)) || (!lma && cr4 & CR4_PCIDE))
		return false;
	if (efer & ~(EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE | EFER_FFXSR) ||
	    !!(efer & EFER_LMA) != lma)
		return false;
	return !(s->reg[REG_CR3] >> 52) && !(lma && s->rflags & RFLAGS_VM);
}

#define RFLAGS_ALLOWED 0x3f7fd7ul

static int check_vcpu(const struct reader *rd, u32 i, const struct state_vcpu *s)
{
	if (!mode_ok(s, rd->shape->cr4_allowed))
		return BAD(rd, "saved state: vCPU %u: CR0 %#lx, CR4 %#lx and EFER %#lx do not fit", i,
			   (unsigned long)s->reg[REG_CR0], (unsigned long)s->reg[REG_CR4],
			   (unsigned long)s->reg[REG_EFER]);
	if (s->rflags & ~RFLAGS_ALLOWED || !(s->rflags & RFLAGS_FIXED))
		return BAD(rd, "saved state: vCPU %u: RFLAGS %#lx", i, (unsigned long)s->rflags);
	/* The host loads these itself, and would take the #GP. */
	if (!rd->shape->xcr0_valid(s->xcr0) || s->dr6 >> 32 ||
	    s->reg[REG_SPEC_CTRL] & ~rd->shape->spec_ctrl_allowed)
		return BAD(rd, "saved state: vCPU %u: XCR0 %#lx, DR6 %#lx, SPEC_CTRL %#lx", i,
			   (unsigned long)s->xcr0, (unsigned long)s->dr6,
			   (unsigned long)s->reg[REG_SPEC_CTRL]);
	if (!event_ok(&s->reinject) || !event_ok(&s->exception) ||
	    s->pending.blocking & ~HV_BLOCK_ALL || s->nmi_pending > 1 || s->nmi_wakes > 1 ||
	    s->pending_db & ~(DR6_B0_B3 | DR6_BS | DR6_BT))
		return BAD(rd, "saved state: vCPU %u: an event that cannot be", i);
	if (s->signals & ~REQ_SIGNALS)
		return BAD(rd, "saved state: vCPU %u: signals %#x", i, s->signals);
	if (s->absent > (i > 0) ||
	    (s->absent && s->state != VCPU_WAIT_SIPI && !(s->signals & REQ_RESET)))
		return BAD(rd, "saved state: vCPU %u: not plugged in, and yet it runs", i);
	if (s->tpr > 15 ||
	    (s->state != VCPU_RUNNING && s->state != VCPU_HALTED && s->state != VCPU_WAIT_SIPI))
		return BAD(rd, "saved state: vCPU %u: CR8 %u, activity %u", i, s->tpr, s->state);
	return 0;
}

static int check_device(const struct reader *rd, u32 i, const struct state_device *s, u16 version,
			u32 size)
{
	const struct vdev *d = &rd->shape->devs[i];
	const struct vdev_type *t = d->type;

	if (strncmp(s->name, t->name, sizeof(s->name)))
		return BAD(rd, "saved state: device %u is \"%.16s\", this VM has \"%s\" there", i,
			   s->name, t->name);
	if (version != t->version || size != sizeof(*s) + vdev_state_size(t))
		return BAD(rd, "saved state: device %s: version %u, %u bytes; here %u and %lu", t->name,
			   version, size, t->version,
			   (unsigned long)(sizeof(*s) + vdev_state_size(t)));
	for (unsigned k = 0; k < VDEV_MAX_TIMERS; k++)
		if (s->timers[k].armed > (k < t->nr_timers))
			return BAD(rd, "saved state: device %s: timer %u", t->name, k);
	if ((t->valid && !t->valid(s->state)) || (t->pci && !pci_state_valid(d, s->state)))
		return BAD(rd, "saved state: device %s: its state is out of range", t->name);
	return 0;
}

/* Where the view keeps a record of this tag and index; NULL: there is no such place. */
static const void **place(const struct reader *rd, const struct state_record *r)
{
	struct state_vcpu_view *c;

	if (r->tag == STATE_VM)
		return r->index ? NULL : (const void **)&rd->view->vm;
	if (r->tag == STATE_DEVICE)
		return r->index < rd->shape->nr_devs && rd->shape->devs[r->index].type
			       ? (const void **)&rd->view->devs[r->index]
			       : NULL;
	if (r->index >= rd->shape->nr_vcpus)
		return NULL;
	c = &rd->view->vcpus[r->index];
	switch (r->tag) {
	case STATE_VCPU:
		return (const void **)&c->regs;
	case STATE_XSAVE:
		return &c->xsave;
	case STATE_LAPIC:
		return (const void **)&c->lapic;
	case STATE_MSRS:
		return (const void **)&c->msrs;
	case STATE_PV:
		return (const void **)&c->pv;
	default:
		return NULL;
	}
}

static u32 size_of(const struct reader *rd, enum state_tag tag)
{
	switch (tag) {
	case STATE_VM:
		return sizeof(struct state_vm);
	case STATE_VCPU:
		return sizeof(struct state_vcpu);
	case STATE_XSAVE:
		return rd->shape->xsave_size;
	case STATE_LAPIC:
		return sizeof(struct lapic);
	case STATE_PV:
		return sizeof(struct vcpu_pv);
	default:
		return sizeof(struct vcpu_msrs);
	}
}

static int check_payload(const struct reader *rd, const struct state_record *r, const void *p)
{
	switch (r->tag) {
	case STATE_VM:
		return check_vm(rd, p);
	case STATE_VCPU:
		return check_vcpu(rd, r->index, p);
	case STATE_XSAVE:
		return rd->shape->xsave_valid(p) ? 0
						 : BAD(rd, "saved state: vCPU %u: XRSTOR would refuse it",
						       r->index);
	case STATE_LAPIC:
		return lapic_valid(p) ? 0 : BAD(rd, "saved state: APIC %u contradicts itself", r->index);
	case STATE_PV:
		return pv_valid(p) ? 0 : BAD(rd, "saved state: paravirtual MSRs %u: reserved bits", r->index);
	case STATE_DEVICE:
		return check_device(rd, r->index, p, r->version, r->size);
	default:
		return 0;
	}
}

static int take(const struct reader *rd, const struct state_record *r)
{
	const void **at = place(rd, r);
	u32 n;

	if (!at)
		return BAD(rd, "saved state: record %u, index %u, has no place in this VM", r->tag,
			   r->index);
	if (*at)
		return BAD(rd, "saved state: %s %u comes twice", names[r->tag], r->index);
	if (r->tag == STATE_DEVICE) {
		if (r->size < sizeof(struct state_device))
			return BAD(rd, "saved state: device %u: %u bytes", r->index, r->size);
	} else {
		n = size_of(rd, r->tag);
		if (r->version != versions[r->tag] || r->size != n)
			return BAD(rd, "saved state: %s: version %u, %u bytes; here %u and %u",
				   names[r->tag], r->version, r->size, versions[r->tag], n);
	}
	*at = r + 1;
	return check_payload(rd, r, r + 1);
}

static int check_whole(const struct reader *rd, const void *buf, size_t n)
{
	const struct state_header *h = buf;
	const u64 *end;

	if (n < sizeof(*h) + sizeof(struct state_record) + 8 || (uintptr_t)buf % 8)
		return BAD(rd, "saved state: %lu bytes are too few", (unsigned long)n);
	if (h->magic != STATE_MAGIC)
		return BAD(rd, "saved state: not one of Dalang's");
	if (h->version != STATE_VERSION)
		return BAD(rd, "saved state: version %u, this hypervisor reads %u", h->version,
			   STATE_VERSION);
	if (h->size != n || n % 8)
		return BAD(rd, "saved state: %u bytes, of which %lu are here", h->size,
			   (unsigned long)n);
	end = (const u64 *)((const u8 *)buf + n - 8);
	if (*end != sum(buf, n - 8))
		return BAD(rd, "saved state: damaged, its sum is wrong");
	return 0;
}

static int check_complete(const struct reader *rd)
{
	const struct state_view *v = rd->view;
	bool ok = v->vm;

	for (u32 i = 0; i < rd->shape->nr_vcpus; i++)
		ok = ok && v->vcpus[i].regs && v->vcpus[i].xsave && v->vcpus[i].lapic &&
		     v->vcpus[i].msrs && v->vcpus[i].pv;
	for (u32 i = 0; i < rd->shape->nr_devs; i++)
		ok = ok && (v->devs[i] || !rd->shape->devs[i].type);
	return ok ? 0 : BAD(rd, "saved state: records are missing");
}

int state_parse(const void *buf, size_t n, const struct state_shape *shape, struct state_view *out,
		char *why, size_t why_n)
{
	const struct reader rd = {shape, out, why, why_n};
	size_t at = sizeof(struct state_header), rest;
	int err = check_whole(&rd, buf, n);

	memset(out, 0, sizeof(*out));
	while (!err) {
		const struct state_record *r = (const void *)((const u8 *)buf + at);

		if (n - at < sizeof(*r))
			return BAD(&rd, "saved state: it has no end record");
		rest = n - at - sizeof(*r);
		if (r->zero || r->size > rest || ALIGN_UP((size_t)r->size, 8) > rest)
			return BAD(&rd, "saved state: record %u of %u bytes goes past the end", r->tag,
				   r->size);
		at += sizeof(*r) + ALIGN_UP((size_t)r->size, 8);
		if (r->tag == STATE_END) {
			if (at != n || r->size != 8 || r->version != versions[STATE_END] || r->index)
				return BAD(&rd, "saved state: something follows its end");
			return check_complete(&rd);
		}
		err = take(&rd, r);
	}
	return err;
}
