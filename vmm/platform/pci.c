/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The PCI bus through configuration mechanism 1 (PCI Local Bus 3.0, 3.2.2.3.2) and through memory
 * (ECAM: PCI Express Base 3.0, 7.2.2), with the two functions that every q35 has, and the reset
 * control register at 0xcf9, which lies inside the address register's dword (ICH9 datasheet 13.7.5).
 */
#include "vmm/platform/isa.h"
#include "vmm/platform/pci.h"
#include "vmm/platform_map.h"
#include "lib/errno.h"
#include "lib/string.h"

#define PCI_MAX_FUNCTIONS 16
#define PCI_CFG_SIZE	  256u
#define ADDR_ENABLE	  (1u << 31)
#define ADDR_BITS	  0x80fffffcu
#define PCI_HEADER_END	  0x40u

/* Bit 2's rising edge resets; bits 1 and 3 say how much, which is all the same here. */
#define RESET_SYS  BIT(1)
#define RESET_CPU  BIT(2)
#define RESET_FULL BIT(3)

/* Offsets of a type 0 header. */
enum { CFG_VENDOR = 0x00, CFG_DEVICE = 0x02, CFG_COMMAND = 0x04, CFG_CLASS_REV = 0x08,
       CFG_CACHE_LINE = 0x0c, CFG_LATENCY = 0x0d, CFG_HEADER_TYPE = 0x0e, CFG_SUBSYS_VENDOR = 0x2c,
       CFG_SUBSYS = 0x2e, CFG_INT_LINE = 0x3c, CFG_INT_PIN = 0x3d };
#define COMMAND_WRITABLE 0x0547u /* I/O, memory, bus master, parity, SERR, INTx disable */

struct pci_func {
	u8 present, devfn, pad[2];
	u8 config[PCI_CFG_SIZE];
	u8 initial[PCI_CFG_SIZE];  /* what reset brings back */
	u8 writable[PCI_CFG_SIZE];
};
struct pci {
	u32 addr;
	u8 reset_ctl, pad[3];
	struct pci_func func[PCI_MAX_FUNCTIONS];
};

static struct pci_func *find(struct pci *s, u8 devfn)
{
	for (unsigned i = 0; i < PCI_MAX_FUNCTIONS; i++)
		if (s->func[i].present && s->func[i].devfn == devfn)
			return &s->func[i];
	return NULL;
}

static void define(struct pci_func *f, unsigned off, unsigned size, u32 val, u32 writable)
{
	for (unsigned i = 0; i < size && off + i < PCI_CFG_SIZE; i++) {
		f->initial[off + i] = f->config[off + i] = (u8)(val >> 8 * i);
		f->writable[off + i] = (u8)(writable >> 8 * i);
	}
}

static void define_header(struct pci_func *f, const struct pci_ident *id)
{
	define(f, CFG_VENDOR, 2, id->vendor, 0);
	define(f, CFG_DEVICE, 2, id->device, 0);
	define(f, CFG_COMMAND, 2, 0, COMMAND_WRITABLE);
	define(f, CFG_CLASS_REV, 4, id->class_rev, 0);
	define(f, CFG_CACHE_LINE, 1, 0, 0xff);
	define(f, CFG_LATENCY, 1, 0, 0xf8);
	define(f, CFG_HEADER_TYPE, 1, id->header_type, 0);
	define(f, CFG_SUBSYS_VENDOR, 2, id->subsys_vendor, 0);
	define(f, CFG_SUBSYS, 2, id->subsys, 0);
	define(f, CFG_INT_LINE, 1, 0, 0xff);
	define(f, CFG_INT_PIN, 1, id->int_pin, 0);
}

static int add(struct pci *s, u8 devfn, const struct pci_ident *id)
{
	if (find(s, devfn))
		return -EEXIST;
	for (unsigned i = 0; i < PCI_MAX_FUNCTIONS; i++) {
		struct pci_func *f = &s->func[i];
		if (f->present)
			continue;
		f->present = 1;
		f->devfn = devfn;
		define_header(f, id);
		return 0;
	}
	return -ENOSPC;
}

int pci_add_function(struct vm *vm, u8 devfn, const struct pci_ident *id)
{
	struct vdev *d = vm_vdev(vm, &pci_vdev);

	return d ? add(d->state, devfn, id) : -ENODEV;
}

void pci_define(struct vm *vm, u8 devfn, unsigned off, unsigned size, u32 val, u32 writable)
{
	struct vdev *d = vm_vdev(vm, &pci_vdev);
	struct pci_func *f = d ? find(d->state, devfn) : NULL;

	if (f)
		define(f, off, size, val, writable);
}

/* ---- configuration space ---- */

/* Bus 0 is all there is. Where no function or no register answers, all bits read as 1. */
static u64 config_read(const struct pci_func *f, unsigned off, unsigned size)
{
	u64 val = 0;

	if (!f || off >= PCI_CFG_SIZE)
		return ~0ull;
	for (unsigned i = 0; i < size && off + i < PCI_CFG_SIZE; i++)
		val |= (u64)f->config[off + i] << 8 * i;
	return val;
}

static void config_write(struct pci_func *f, unsigned off, unsigned size, u64 val)
{
	if (!f)
		return;
	for (unsigned i = 0; i < size && off + i < PCI_CFG_SIZE; i++) {
		u8 w = f->writable[off + i];
		f->config[off + i] = (f->config[off + i] & ~w) | ((u8)(val >> 8 * i) & w);
	}
}

/* Bus 27:20, device and function 19:12, register 11:0. */
static struct pci_func *ecam_func(struct vdev *d, u64 off)
{
	return off >> 20 ? NULL : find(d->state, (u8)(off >> 12));
}

static u64 ecam_read(struct vdev *d, u64 off, unsigned size)
{
	return config_read(ecam_func(d, off), off & 0xfff, size);
}

static void ecam_write(struct vdev *d, u64 off, unsigned size, u64 val)
{
	config_write(ecam_func(d, off), off & 0xfff, size, val);
}

/* ---- the ports ---- */

/* The function that the address register names. */
static struct pci_func *addressed(struct pci *s)
{
	if (!(s->addr & ADDR_ENABLE) || (s->addr >> 16 & 0xff))
		return NULL;
	return find(s, (u8)(s->addr >> 8));
}

static void reset_control(struct vdev *d, u8 val)
{
	struct pci *s = d->state;
	bool rises = (val & RESET_CPU) && !(s->reset_ctl & RESET_CPU);

	s->reset_ctl = val & (RESET_SYS | RESET_CPU | RESET_FULL);
	if (rises)
		vm_request_end(d->vm, VM_END_REBOOT, RESET_BY_CF9);
}

/* The address register answers to dwords alone; other widths are for what lies beneath it. */
static u32 pci_in(struct vdev *d, u16 port, unsigned size)
{
	struct pci *s = d->state;

	if (port >= PLAT_PCI_DATA)
		return (u32)config_read(addressed(s), (s->addr & 0xfc) + port - PLAT_PCI_DATA, size);
	if (port == PLAT_PCI_ADDR && size == 4)
		return s->addr;
	if (port == PLAT_RESET_PORT && size == 1)
		return s->reset_ctl;
	return ~0u;
}

static void pci_out(struct vdev *d, u16 port, unsigned size, u32 val)
{
	struct pci *s = d->state;

	if (port >= PLAT_PCI_DATA)
		config_write(addressed(s), (s->addr & 0xfc) + port - PLAT_PCI_DATA, size, val);
	else if (port == PLAT_PCI_ADDR && size == 4)
		s->addr = val & ADDR_BITS;
	else if (port == PLAT_RESET_PORT && size == 1)
		reset_control(d, (u8)val);
}

/* ---- the board's own functions ---- */

static const struct pci_ident host_bridge = {
	.vendor = 0x8086, .device = 0x29c0, .class_rev = 0x06000000,
	.subsys_vendor = 0x1af4, .subsys = 0x1100,
};
static const struct pci_ident lpc_bridge = {
	.vendor = 0x8086, .device = 0x2918, .class_rev = 0x06010002, .header_type = 0x80,
	.subsys_vendor = 0x1af4, .subsys = 0x1100,
};

static int pci_init(struct vdev *d)
{
	struct pci *s = d->state;
	struct pci_func *lpc;
	int err = add(s, PLAT_DEVFN_HOST, &host_bridge);

	if (!err)
		err = add(s, PLAT_DEVFN_LPC, &lpc_bridge);
	if (err)
		return err;
	/* PCIEXBAR (3 Series Express datasheet 5.1.14): the ECAM, enabled, of 256 MiB, fixed. */
	define(find(s, PLAT_DEVFN_HOST), 0x60, 4, PLAT_ECAM_BASE | 1, 0);
	/* ICH9 13.1: PMBASE with its I/O bit, ACPI_CNTL enabled with the SCI on IRQ 9, and the PIRQ
	 * routes, off: INTx goes to the I/O APIC. */
	lpc = find(s, PLAT_DEVFN_LPC);
	define(lpc, PCI_HEADER_END, 4, PLAT_PM_BASE | 1, 0);
	define(lpc, 0x44, 1, 0x80, 0);
	define(lpc, 0x60, 4, 0x80808080, 0x8f8f8f8f);
	define(lpc, 0x68, 4, 0x80808080, 0x8f8f8f8f);
	return 0;
}

static void pci_reset(struct vdev *d)
{
	struct pci *s = d->state;

	s->addr = 0;
	s->reset_ctl = 0;
	for (unsigned i = 0; i < PCI_MAX_FUNCTIONS; i++)
		memcpy(s->func[i].config, s->func[i].initial, PCI_CFG_SIZE);
}

static const struct vdev_pio pci_pio[] = {{PLAT_PCI_ADDR, 8, pci_in, pci_out}};

static const struct vdev_mmio pci_mmio[] = {
	{PLAT_ECAM_BASE, PLAT_ECAM_SIZE, ecam_read, ecam_write}};

/* clang-format off */
const struct vdev_type pci_vdev = {
	.name = "pci", .version = 1, .state_size = sizeof(struct pci),
	.nr_pio = ARRAY_SIZE(pci_pio), .pio = pci_pio,
	.nr_mmio = ARRAY_SIZE(pci_mmio), .mmio = pci_mmio,
	.init = pci_init, .reset = pci_reset,
};
/* clang-format on */
VDEV_REGISTER(pci_vdev);
