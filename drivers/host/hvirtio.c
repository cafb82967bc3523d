/* SPDX-License-Identifier: BSD-2-Clause */
/* Finding a virtio device of the machine and coming to terms with it (virtio 1.2, 3.1 and 4.1). */
#include "drivers/host/hvirtio.h"
#include "arch/x86_64/frame.h"
#include "arch/x86_64/machine.h"
#include "arch/x86_64/percpu.h"
#include "arch/x86_64/asm.h"
#include "lib/string.h"

#define CAP(field) (u8) offsetof(struct virtio_pci_cap, field)
#define REG(field) (u32) offsetof(struct virtio_pci_common, field)
/* What is read and written of it: the rest is for features that are not asked for. */
#define COMMON_SIZE REG(queue_notify_data)

#define MAX_CAPS 48u /* as many as fit into 192 bytes */
#define RESET_NS 1000000000ull /* it may have much to finish */

static u32 rd(const struct hvirtio *v, u32 reg, unsigned size)
{
	return pci_mmio_read(v->common + reg, size);
}

static void wr(const struct hvirtio *v, u32 reg, unsigned size, u32 val)
{
	pci_mmio_write(v->common + reg, size, val);
}

static void wr64(const struct hvirtio *v, u32 reg, u64 val)
{
	wr(v, reg, 4, (u32)val);
	wr(v, reg + 4, 4, (u32)(val >> 32));
}

static void add_status(const struct hvirtio *v, u32 bits)
{
	wr(v, REG(status), 1, rd(v, REG(status), 1) | bits);
}

const struct pci_dev *hvirtio_find(u32 kind, u32 i)
{
	const struct pci_dev *p;

	for (u32 n = 0; (p = pci_dev(n)); n++)
		if (p->vendor == VIRTIO_PCI_VENDOR && (p->device == VIRTIO_PCI_MODERN + kind || p->device == VIRTIO_PCI_TRANSITIONAL + kind - 1) && !i--)
			return p;
	return NULL;
}

/* The registers of that kind, mapped: the first that lies in a BAR that is there (4.1.4.1). */
static volatile u8 *registers(const struct pci_dev *p, u8 type, u32 least, u32 *len, u8 *cap)
{
	u32 left = MAX_CAPS; /* the list may be a ring */

	for (u8 at = 0; left-- && (at = pci_find_cap(p, PCI_CAP_VENDOR, at));) {
		volatile u8 *regs;

		if (pci_read(p, at + CAP(type), 1) != type || pci_read(p, at + CAP(len), 1) < CAP(length) + 4)
			continue;
		*len = pci_read(p, at + CAP(length), 4);
		*cap = at;
		if (*len < least || *len > MIB(1))
			continue;
		regs = pci_map_bar(p, pci_read(p, at + CAP(bar), 1), pci_read(p, at + CAP(offset), 4), *len);
		if (regs)
			return regs;
	}
	*len = 0;
	return NULL;
}

static const char *map_registers(struct hvirtio *v)
{
	u8 cap;
	u32 len;

	v->common = registers(&v->pci, VIRTIO_CAP_COMMON, COMMON_SIZE, &len, &cap);
	if (!v->common)
		return "it has no modern registers (it is a legacy device), or firmware gave them no address";
	v->notify = registers(&v->pci, VIRTIO_CAP_NOTIFY, 2, &v->notify_len, &cap);
	if (!v->notify)
		return "it has no notification registers";
	v->notify_multiplier = pci_read(&v->pci, cap + CAP(multiplier), 4);
	v->config = registers(&v->pci, VIRTIO_CAP_DEVICE, 1, &v->config_len, &cap);
	return NULL;
}

/* 4.1.4.3.2: it is done when the status reads 0. */
void hvirtio_stop(struct hvirtio *v)
{
	u64 end = rdtsc() + ns_to_tsc(RESET_NS);

	wr(v, REG(status), 1, 0);
	while (rd(v, REG(status), 1))
		if (rdtsc() > end) {
			pci_set_command(&v->pci, 0);
			return;
		}
}

static bool negotiate(struct hvirtio *v, u64 wanted)
{
	u64 offered;

	wr(v, REG(feature_select), 4, 0);
	offered = rd(v, REG(feature), 4);
	wr(v, REG(feature_select), 4, 1);
	offered |= (u64)rd(v, REG(feature), 4) << 32;
	v->features = offered & (wanted | VIRTIO_F_VERSION_1 | VIRTIO_F_ACCESS_PLATFORM | VIRTIO_F_EVENT_IDX);
	wr(v, REG(driver_feature_select), 4, 0);
	wr(v, REG(driver_feature), 4, (u32)v->features);
	wr(v, REG(driver_feature_select), 4, 1);
	wr(v, REG(driver_feature), 4, (u32)(v->features >> 32));
	add_status(v, VIRTIO_FEATURES_OK);
	return hvirtio_has(v, VIRTIO_F_VERSION_1) && rd(v, REG(status), 1) & VIRTIO_FEATURES_OK;
}

const char *hvirtio_start(struct hvirtio *v, const struct pci_dev *pci, u64 wanted)
{
	const char *why;

	*v = (struct hvirtio){.pci = *pci};
	why = map_registers(v);
	if (why)
		return why;
	/* Its registers before its way to memory: what firmware had it do may still be under way. */
	pci_set_command(&v->pci, PCI_COMMAND_MEMORY);
	hvirtio_stop(v);
	pci_set_command(&v->pci, PCI_COMMAND_MEMORY | PCI_COMMAND_BUS_MASTER);
	v->msix = pci_msix_enable(&v->pci, &v->nr_msix);
	if (!v->msix)
		return "it has no MSI-X";
	add_status(v, VIRTIO_ACKNOWLEDGE);
	add_status(v, VIRTIO_DRIVER);
	wr(v, REG(config_vector), 2, VIRTIO_NO_VECTOR);
	if (negotiate(v, wanted))
		return NULL;
	add_status(v, VIRTIO_FAILED);
	return "it does not agree to the features of virtio 1";
}

/* Two queues may share an entry of the MSI-X table, if there are too few. */
static bool give_vector(struct hvirtio *v, u16 index, u8 vector)
{
	u32 entry = index % v->nr_msix;

	if (pci_msix_set(v->msix, entry, pcpus[0]->apic_id, vector))
		return false;
	wr(v, REG(queue_vector), 2, entry);
	return rd(v, REG(queue_vector), 2) == entry; /* 4.1.5.1.2.2 */
}

const char *hvirtio_queue(struct hvirtio *v, struct hvq *q, u16 index, u16 max, u8 vector)
{
	u16 size, off;
	void *memory;

	wr(v, REG(queue_select), 2, index);
	size = (u16)rd(v, REG(queue_size), 2);
	if (index >= rd(v, REG(num_queues), 2) || !size || (size & (size - 1)) || rd(v, REG(queue_enable), 2))
		return "it lacks a queue";
	size = MIN(MIN(size, max), HVQ_MAX_SIZE);
	off = (u16)rd(v, REG(queue_notify_off), 2);
	if ((u64)off * v->notify_multiplier + 2 > v->notify_len)
		return "a queue's notification register lies outside";
	memory = kzalloc(MAX(hvq_bytes(size), PAGE_SIZE), FRAME_DEVICE, OWNER_HOST);
	if (!memory)
		return "there is no memory for a queue";
	*q = (struct hvq){.index = index, .notify = v->notify + (u64)off * v->notify_multiplier};
	hvq_init(q, size, memory, hvirtio_has(v, VIRTIO_F_EVENT_IDX));
	wr(v, REG(queue_size), 2, size);
	if (!give_vector(v, index, vector))
		return "it takes no interrupt for a queue";
	wr64(v, REG(desc), frame_pa(q->desc));
	wr64(v, REG(driver), hvq_avail_at(q));
	wr64(v, REG(device), hvq_used_at(q));
	wr(v, REG(queue_enable), 2, 1);
	return NULL;
}

void hvirtio_ready(struct hvirtio *v)
{
	add_status(v, VIRTIO_DRIVER_OK);
}

void hvq_kick(const struct hvq *q)
{
	pci_mmio_write(q->notify, 2, q->index);
}

u64 hvirtio_config(const struct hvirtio *v, u32 off, unsigned size)
{
	u64 val = 0;
	u32 before;

	if (!v->config || off + size > v->config_len)
		return 0;
	for (u32 n = 0; n < 8; n++) { /* 2.5.2 */
		before = rd(v, REG(generation), 1);
		val = pci_mmio_read(v->config + off, MIN(size, 4u));
		if (size == 8)
			val |= (u64)pci_mmio_read(v->config + off + 4, 4) << 32;
		if (rd(v, REG(generation), 1) == before)
			break;
	}
	return val;
}
