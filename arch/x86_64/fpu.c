/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Guests' x87, SSE, AVX and AVX-512 state, where the CPU has it. MPX and PKRU are not offered: CR4.PKE
 * and the MPX bits stay off in guests, so their state cannot change and need not be saved; AMX and
 * the rest come when something asks for them. XSAVE with all bits of the mask, in the standard
 * format: what a guest set in one component while XCR0 allowed it survives its turning XCR0 down.
 */
#include "arch/x86_64/fpu.h"
#include "arch/x86_64/asm.h"
#include "arch/x86_64/hv.h"
#include "arch/x86_64/x86.h"
#include "lib/errno.h"
#include "lib/string.h"

#define XCR0_WANTED (XCR0_X87 | XCR0_SSE | XCR0_AVX | XCR0_AVX512)
#define FXSAVE_SIZE 512u
#define AREA_FCW 0   /* in the legacy region, SDM vol. 1, table 10-2 */
#define AREA_MXCSR 24
#define AREA_MXCSR_MASK 28
#define XSAVE_HEADER 512 /* XSTATE_BV, XCOMP_BV, zeros: SDM vol. 1, 13.4.2 */
#define XSAVE_HEADER_WORDS 8
#define MXCSR_MASK_DEFAULT 0xffbfu /* SDM vol. 1, 11.6.6 */

static u64 mask; /* 0: no XSAVE, FXSAVE is used */
static u32 area_size;
static bool known;
static u32 mxcsr_mask;
static u8 __aligned(16) probe_area[FXSAVE_SIZE];

/* AVX-512's three components come together or not at all. */
static u64 supported(void)
{
	u64 m;

	if (!(cpuid(1, 0).ecx & BIT(26)))
		return 0;
	m = (cpuid(0xd, 0).eax | (u64)cpuid(0xd, 0).edx << 32) & XCR0_WANTED;
	if ((m & XCR0_AVX512) != XCR0_AVX512)
		m &= ~XCR0_AVX512;
	return m;
}

int fpu_cpu_init(void)
{
	u64 m = supported(), cr4 = read_cr4() | CR4_OSFXSR | CR4_OSXMMEXCPT;

	if (known && (m & mask) != mask)
		return -ENOSYS;
	if (!known) {
		mask = m;
		known = true;
	}
	write_cr0((read_cr0() & ~(CR0_EM | CR0_TS)) | CR0_MP | CR0_NE);
	write_cr4(mask ? cr4 | CR4_OSXSAVE : cr4);
	if (!mxcsr_mask) {
		__asm__ volatile("fxsave64 (%0)" ::"r"(probe_area) : "memory");
		memcpy(&mxcsr_mask, probe_area + AREA_MXCSR_MASK, sizeof(mxcsr_mask));
		mxcsr_mask = mxcsr_mask ? mxcsr_mask : MXCSR_MASK_DEFAULT;
	}
	if (!mask) {
		area_size = FXSAVE_SIZE;
		return 0;
	}
	xsetbv(0, mask);
	/* EBX: the size for what XCR0 enables now. */
	area_size = cpuid(0xd, 0).ebx;
	xsetbv(0, XCR0_X87);
	return 0;
}

u64 fpu_xcr0_mask(void)
{
	return mask;
}

u32 fpu_area_size(void)
{
	return area_size;
}

/* XSTATE_BV is 0: every component comes up in its initial state; MXCSR is always taken from here. */
void fpu_area_init(void *area)
{
	u16 fcw = 0x37f;
	u32 mxcsr = 0x1f80;

	memset(area, 0, area_size);
	memcpy((char *)area + AREA_FCW, &fcw, sizeof(fcw));
	memcpy((char *)area + AREA_MXCSR, &mxcsr, sizeof(mxcsr));
}

bool fpu_area_valid(const void *area)
{
	u64 header[XSAVE_HEADER_WORDS];
	u32 mxcsr;

	memcpy(&mxcsr, (const char *)area + AREA_MXCSR, sizeof(mxcsr));
	if (mxcsr & ~mxcsr_mask)
		return false;
	if (!mask)
		return true;
	memcpy(header, (const char *)area + XSAVE_HEADER, sizeof(header));
	for (unsigned i = 1; i < XSAVE_HEADER_WORDS; i++)
		if (header[i])
			return false;
	return !(header[0] & ~mask);
}

void fpu_area_changed(void *area)
{
	if (mask)
		*(u64 *)((char *)area + XSAVE_HEADER) |= XCR0_X87 | XCR0_SSE;
}

void fpu_load(struct hv_vcpu *v)
{
	const u64 *dr = v->debug.flags & HV_DEBUG_DR ? v->debug.dr : v->dr;

	if (mask) {
		xsetbv(0, mask);
		__asm__ volatile("xrstor64 (%0)" ::"r"(v->xsave), "a"((u32)mask), "d"((u32)(mask >> 32)) : "memory");
		xsetbv(0, v->xcr0);
	} else {
		__asm__ volatile("fxrstor64 (%0)" ::"r"(v->xsave) : "memory");
	}
	write_dr0(dr[0]);
	write_dr1(dr[1]);
	write_dr2(dr[2]);
	write_dr3(dr[3]);
	write_dr6(v->dr6);
}

void fpu_save(struct hv_vcpu *v)
{
	if (mask) {
		/* XSETBV need not have exited (TCG never does): what is in the register holds. */
		v->xcr0 = xgetbv(0);
		xsetbv(0, mask);
		__asm__ volatile("xsave64 (%0)" ::"r"(v->xsave), "a"((u32)mask), "d"((u32)(mask >> 32)) : "memory");
	} else {
		__asm__ volatile("fxsave64 (%0)" ::"r"(v->xsave) : "memory");
	}
	v->dr6 = read_dr6();
	if (v->debug.flags & HV_DEBUG_DR)
		return;
	v->dr[0] = read_dr0();
	v->dr[1] = read_dr1();
	v->dr[2] = read_dr2();
	v->dr[3] = read_dr3();
}

bool fpu_xcr0_valid(u64 val)
{
	if ((val & ~mask) || !(val & XCR0_X87))
		return false;
	if ((val & XCR0_AVX) && !(val & XCR0_SSE))
		return false;
	return !(val & XCR0_AVX512) || ((val & XCR0_AVX512) == XCR0_AVX512 && (val & XCR0_AVX));
}
