/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ACPI fixed hardware: PM1 event and control, the PM timer, GPE0, and the APM ports (ACPI 6.4,
 * 4.8; ICH9 datasheet 13.8.3). There is no SMM: ACPI mode is on from reset.
 */
#include "vmm/platform/isa.h"
#include "vmm/irq.h"
#include "vmm/platform_map.h"

#define PM_TMR_HZ     3579545u
#define PM_TMR_MASK   0xffffffu
#define PM_TMR_TOGGLE 23 /* TMR_STS is set whenever this bit changes */

#define TMR_STS	   BIT(0)
#define PWRBTN_STS BIT(8)
#define PM1_STS_BITS 0x8731u /* timer, bus master, global, power, sleep, RTC, wake */
#define PM1_EN_BITS  0x0721u
#define SCI_EN	   BIT(0)
#define CNT_KEPT   0x1c02u /* SLP_TYP, BM_RLD; GBL_RLS and SLP_EN read as 0 */
#define SLP_EN	   BIT(13)
#define GPE_BYTES  (PLAT_GPE0_LEN / 2)

struct acpi_pm {
	u64 toggles; /* changes of the timer's top bit already counted into TMR_STS */
	u16 pm1_sts, pm1_en, pm1_cnt;
	u8 gpe_sts[GPE_BYTES], gpe_en[GPE_BYTES];
	u8 apm[2];
};

static u64 ticks(struct vdev *d)
{
	return ns_to_ticks(vm_time_ns(d->vm), PM_TMR_HZ);
}

/* Bring TMR_STS up to date. */
static void sync_timer(struct vdev *d)
{
	struct acpi_pm *s = d->state;
	u64 toggles = ticks(d) >> PM_TMR_TOGGLE;

	if (toggles != s->toggles)
		s->pm1_sts |= TMR_STS;
	s->toggles = toggles;
}

/* The SCI, and the timer for the next overflow, which runs only while it would raise the SCI. */
static void update(struct vdev *d)
{
	struct acpi_pm *s = d->state;
	bool sci = s->pm1_sts & s->pm1_en;

	for (unsigned i = 0; i < GPE_BYTES; i++)
		sci |= !!(s->gpe_sts[i] & s->gpe_en[i]);
	vm_irq_set(d->vm, PLAT_GSI_SCI, sci && (s->pm1_cnt & SCI_EN));
	if ((s->pm1_en & TMR_STS) && !(s->pm1_sts & TMR_STS))
		vdev_timer_set(d, 0, ticks_to_ns((s->toggles + 1) << PM_TMR_TOGGLE, PM_TMR_HZ));
	else
		vdev_timer_stop(d, 0);
}

static void pm_timer(struct vdev *d, unsigned idx)
{
	(void)idx;
	sync_timer(d);
	update(d);
}

void acpi_power_button(struct vm *vm)
{
	struct vdev *d = vm_vdev(vm, &acpi_pm_vdev);

	if (!d)
		return;
	((struct acpi_pm *)d->state)->pm1_sts |= PWRBTN_STS;
	update(d);
}

bool acpi_gpe(struct vm *vm, unsigned n)
{
	struct vdev *d = vm_vdev(vm, &acpi_pm_vdev);
	struct acpi_pm *s = d ? d->state : NULL;

	if (!d)
		return false;
	s->gpe_sts[n / 8] |= (u8)(1u << n % 8);
	update(d);
	/* Not bit n alone: a driver clears it while it serves such an event. */
	for (unsigned i = 0; i < GPE_BYTES; i++)
		if (s->gpe_en[i])
			return true;
	return s->pm1_en;
}

/* ---- the register block, byte by byte: every access width works on every register ---- */

static u8 read_byte(const struct acpi_pm *s, u16 port, u32 timer)
{
	unsigned shift = 8 * (port & 1);

	if (port >= PLAT_PM_TMR && port < PLAT_PM_TMR + PLAT_PM_TMR_LEN)
		return (u8)(timer >> 8 * (port - PLAT_PM_TMR));
	if (port >= PLAT_GPE0 && port < PLAT_GPE0 + GPE_BYTES)
		return s->gpe_sts[port - PLAT_GPE0];
	if (port >= PLAT_GPE0 + GPE_BYTES && port < PLAT_GPE0 + PLAT_GPE0_LEN)
		return s->gpe_en[port - PLAT_GPE0 - GPE_BYTES];
	switch (port & ~1u) {
	case PLAT_PM1_EVT: return (u8)(s->pm1_sts >> shift);
	case PLAT_PM1_EVT + 2: return (u8)(s->pm1_en >> shift);
	case PLAT_PM1_CNT: return (u8)(s->pm1_cnt >> shift);
	}
	return 0;
}

static u32 pm_read(struct vdev *d, u16 port, unsigned size)
{
	u32 val = 0, timer = (u32)ticks(d) & PM_TMR_MASK;

	if (likely(port == PLAT_PM_TMR && size == 4))
		return timer;
	sync_timer(d);
	for (unsigned i = 0; i < size; i++)
		val |= (u32)read_byte(d->state, (u16)(port + i), timer) << 8 * i;
	return val;
}

static void write_cnt(struct vdev *d, u16 mask, u16 val)
{
	struct acpi_pm *s = d->state;

	s->pm1_cnt = (u16)((s->pm1_cnt & ~(mask & CNT_KEPT)) | (val & CNT_KEPT));
	if ((val & SLP_EN) && (s->pm1_cnt >> 10 & 7) == PLAT_SLP_TYP_S5)
		vm_request_end(d->vm, VM_END_POWEROFF, 0);
}

/* mask has the bits of the byte that is written. */
static void write_byte(struct vdev *d, u16 port, u8 byte)
{
	struct acpi_pm *s = d->state;
	unsigned shift = 8 * (port & 1);
	u16 mask = (u16)(0xff << shift), val = (u16)(byte << shift);

	if (port >= PLAT_GPE0 && port < PLAT_GPE0 + GPE_BYTES)
		s->gpe_sts[port - PLAT_GPE0] &= ~byte;
	else if (port >= PLAT_GPE0 + GPE_BYTES && port < PLAT_GPE0 + PLAT_GPE0_LEN)
		s->gpe_en[port - PLAT_GPE0 - GPE_BYTES] = byte;
	else if ((port & ~1u) == PLAT_PM1_EVT)
		s->pm1_sts &= ~(val & PM1_STS_BITS);
	else if ((port & ~1u) == PLAT_PM1_EVT + 2)
		s->pm1_en = (u16)((s->pm1_en & ~mask) | (val & PM1_EN_BITS));
	else if ((port & ~1u) == PLAT_PM1_CNT)
		write_cnt(d, mask, val);
}

static void pm_write(struct vdev *d, u16 port, unsigned size, u32 val)
{
	sync_timer(d);
	isa_write_bytes(d, port, size, val, write_byte);
	update(d);
}

static u8 apm_read(struct vdev *d, u16 port)
{
	return ((struct acpi_pm *)d->state)->apm[port & 1];
}

static void apm_write(struct vdev *d, u16 port, u8 val)
{
	struct acpi_pm *s = d->state;

	s->apm[port & 1] = val;
	if (port != PLAT_SMI_CMD)
		return;
	if (val == PLAT_ACPI_ENABLE)
		s->pm1_cnt |= SCI_EN;
	else if (val == PLAT_ACPI_DISABLE)
		s->pm1_cnt &= ~SCI_EN;
	update(d);
}

static u32 apm_in(struct vdev *d, u16 port, unsigned size)
{
	return isa_read_bytes(d, port, size, apm_read);
}

static void apm_out(struct vdev *d, u16 port, unsigned size, u32 val)
{
	isa_write_bytes(d, port, size, val, apm_write);
}

static void pm_reset(struct vdev *d)
{
	struct acpi_pm *s = d->state;

	*s = (struct acpi_pm){.pm1_cnt = SCI_EN, .toggles = ticks(d) >> PM_TMR_TOGGLE};
	update(d);
}

static const struct vdev_pio pm_pio[] = {
	{PLAT_PM_BASE, PLAT_PM_LEN, pm_read, pm_write},
	{PLAT_SMI_CMD, 2, apm_in, apm_out},
};

/* clang-format off */
const struct vdev_type acpi_pm_vdev = {
	.name = "acpi_pm", .version = 1, .nr_timers = 1, .state_size = sizeof(struct acpi_pm),
	.nr_pio = ARRAY_SIZE(pm_pio), .pio = pm_pio,
	.reset = pm_reset, .timer = pm_timer,
};
/* clang-format on */
VDEV_REGISTER(acpi_pm_vdev);
