/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where arch/ hands over. On the boot CPU: switch the backend on, read dalang.cfg and the VM files,
 * create the VMs, schedule. On the others: switch the backend on, schedule.
 */
#include "arch/x86_64/asm.h"
#include "arch/x86_64/frame.h"
#include "arch/x86_64/machine.h"
#include "arch/x86_64/percpu.h"
#include "arch/x86_64/window.h"
#include "lib/errno.h"
#include "lib/log.h"
#include "lib/string.h"
#include "vmm/config.h"
#include "vmm/console.h"
#include "vmm/host.h"
#include "vmm/monitor/monitor.h"
#include "vmm/monitor/term.h"
#include "vmm/sched.h"
#include "vmm/vm.h"

#define CONFIG_MAX KIB(256) /* a VM file is text of a few lines */

extern const host_driver_t __host_drivers_start[], __host_drivers_end[];

static const struct boot_info *boot_info;
static struct host_config host_cfg;
static struct vm_config vm_cfgs[HOST_MAX_VMS];
static u32 nr_vm_cfgs;
static bool entry_noted;
/* VMs that have not ended; and one for the boot CPU while it creates some, lest the first end before
 * the second begins. */
static u32 nr_live = 1;

/* How long other CPUs may take to switch their extension on, generously. */
#define CPU_WAIT_NS 2000000000ull

const struct boot_info *host_boot_info(void)
{
	return boot_info;
}

void host_note_first_entry(void)
{
	if (__atomic_exchange_n(&entry_noted, true, __ATOMIC_RELAXED))
		return;
	log_info("boot: %lu ticks from entry to the first guest instruction",
		 (unsigned long)(rdtsc() - boot_info->entry_tsc));
}

void host_refuse(const char *line)
{
	log_err("refused: %s", line);
	console_event("refused %s", line);
}

static void host_end(void) __noreturn;
static void host_end(void)
{
	for (u32 i = 0; i < nr_pcpus; i++)
		if (pcpus[i]->nmi_count)
			log_info("CPU %u took %lu NMIs", i, pcpus[i]->nmi_count);
	paging_check(); /* what running VMs opened is closed again */
	log_info("every VM has ended: power-off");
	console_event("host-end");
	machine_stop_others();
	hv->cpu_disable();
	serial_drain();
	power_off();
}

void host_vm_started(void)
{
	__atomic_add_fetch(&nr_live, 1, __ATOMIC_SEQ_CST);
}

/* Only one pCPU sees it become 0, so only one ends the host. */
void host_vm_ended(void)
{
	if (!__atomic_sub_fetch(&nr_live, 1, __ATOMIC_SEQ_CST) && host_cfg.exit_when_empty)
		host_end();
}

/* --- configuration --- */

const struct host_config *host_config(void)
{
	return &host_cfg;
}

const struct vm_vif *host_uplink(u32 i)
{
	return i < host_cfg.nr_uplinks ? &host_cfg.uplinks[i] : NULL;
}

static void report(void *arg, enum cfg_level level, const char *line)
{
	(void)arg;
	if (level == CFG_ERROR)
		host_refuse(line);
	else
		log_warn("%s", line);
}
static const struct cfg_diag diag = {.report = report};

/* Text of a loaded file in our own memory; NULL and a refusal when there is none. */
static char *read_text(const char *name, const char *what, size_t *len)
{
	const struct boot_file *f = boot_file_find(boot_info, name);
	char line[256], *text = NULL;

	if (!f)
		snprintf(line, sizeof(line),
			 "%s: not found beside dalang.cfg; copy %s there or "
			 "take its name out",
			 name, what);
	else if (f->size > CONFIG_MAX)
		snprintf(line, sizeof(line), "%s: %lu bytes is too long for %s; at most %lu", name,
			 (unsigned long)f->size, what, (unsigned long)CONFIG_MAX);
	else if (!(text = kzalloc(f->size + 1, FRAME_HEAP, OWNER_HOST)))
		snprintf(line, sizeof(line), "%s: no memory to read it", name);
	if (!text) {
		host_refuse(line);
		return NULL;
	}
	phys_read(text, f->addr, f->size);
	*len = f->size;
	return text;
}

static bool have_file(const struct vm_config *cfg, const char *name, const char *key)
{
	const struct boot_file *f = boot_file_find(boot_info, name);
	char line[400];

	if (f && f->size)
		return true;
	if (f)
		snprintf(line, sizeof(line),
			 "%s: %s = %s: the file is empty; name one with content", cfg->file, key,
			 name);
	else
		snprintf(line, sizeof(line),
			 "%s: %s = %s: no such file was loaded; copy it beside "
			 "dalang.cfg",
			 cfg->file, key, name);
	host_refuse(line);
	return false;
}

/* Which loaded file a disk's target stands for; NULL: none, it is a disk of the machine's (drivers/block.h). */
static const char *disk_file(const char *target)
{
	while (!strncmp(target, "cow:", 4))
		target += 4;
	if (!strncmp(target, "host:", 5))
		return NULL;
	return strncmp(target, "ram:", 4) ? target : target + 4;
}

static bool check_vm(const struct vm_config *cfg)
{
	char line[256];
	bool ok = have_file(cfg, cfg->kernel, "kernel");

	if (cfg->ramdisk[0])
		ok &= have_file(cfg, cfg->ramdisk, "ramdisk");
	for (u32 i = 0; i < cfg->nr_disks; i++)
		if (cfg->disks[i].target[0] && disk_file(cfg->disks[i].target))
			ok &= have_file(cfg, disk_file(cfg->disks[i].target), "disk");
	for (u32 i = 0; i < nr_vm_cfgs; i++) {
		if (strcmp(vm_cfgs[i].name, cfg->name))
			continue;
		snprintf(line, sizeof(line),
			 "%s: name = \"%s\" is already the name of the VM in %s; "
			 "give it another",
			 cfg->file, cfg->name, vm_cfgs[i].file);
		host_refuse(line);
		ok = false;
	}
	return ok;
}

static void read_vm_file(const char *name)
{
	struct vm_config *cfg = &vm_cfgs[nr_vm_cfgs];
	size_t len;
	char *text = read_text(name, "a VM file", &len);

	if (!text)
		return;
	if (!config_parse_vm(name, text, len, cfg, &diag) && check_vm(cfg))
		nr_vm_cfgs++;
	kfree(text);
}

static void read_config(void)
{
	size_t len;
	char *text = read_text("dalang.cfg", "the host's configuration", &len);

	if (!text)
		return;
	if (!config_parse_host("dalang.cfg", text, len, &host_cfg, &diag)) {
		log_set_level(host_cfg.loglevel);
		for (u32 i = 0; i < host_cfg.nr_vms; i++)
			read_vm_file(host_cfg.vms[i]);
	}
	kfree(text);
}

static int create_vm(const struct vm_config *cfg, char *why, size_t n)
{
	struct vm *vm;
	int r = vm_create(cfg, 0, &vm, why, n);

	if (!r)
		vm_start(vm);
	return r;
}

int host_create_vm(const char *name, char *why, size_t n)
{
	for (u32 i = 0; i < nr_vm_cfgs; i++)
		if (!strcmp(vm_cfgs[i].name, name))
			return create_vm(&vm_cfgs[i], why, n);
	snprintf(why, n, "no VM file read at start has that name");
	return -ENOENT;
}

const char *host_vm_file_name(u32 i)
{
	return i < nr_vm_cfgs ? vm_cfgs[i].name : NULL;
}

static void create_vms(void)
{
	char why[256];

	for (u32 i = 0; i < nr_vm_cfgs; i++) {
		if (vm_cfgs[i].torture)
			torture_creation(&vm_cfgs[i], READ_ONCE(nr_live) == 1);
		if (create_vm(&vm_cfgs[i], why, sizeof(why)))
			host_refuse(why);
	}
}

/* VMs are spread, and CPUs counted, when each of them can or cannot. */
static void wait_for_cpus(void)
{
	u64 end = rdtsc() + ns_to_tsc(CPU_WAIT_NS);

	for (u32 i = 0; i < nr_pcpus; i++)
		while (pcpus[i]->state == PCPU_ONLINE && !READ_ONCE(pcpus[i]->hv_ready) && rdtsc() < end)
			cpu_relax();
}

static u32 cpus_ready(void)
{
	u32 n = 0;

	for (u32 i = 0; i < nr_pcpus; i++)
		n += pcpus[i]->state == PCPU_ONLINE && pcpus[i]->hv_ready;
	return n;
}

/* Switch this CPU's extension on; a CPU that cannot stays out. */
static bool backend_on(char *why, size_t n)
{
	struct pcpu *cpu = this_cpu();

	if (hv->cpu_enable(cpu, why, n))
		return false;
	sched_init_cpu();
	cpu->hv_ready = 1;
	return true;
}

void vmm_ap_start(void)
{
	char why[256];

	if (!backend_on(why, sizeof(why))) {
		log_warn("CPU %u stays out: %s", this_cpu()->index, why);
		this_cpu()->state = PCPU_OUT;
		for (;;)
			irq_enable_halt();
	}
	sched_loop();
}

void vmm_start(const struct boot_info *bi)
{
	char why[256];

	boot_info = bi;
	console_init();
	monitor_init();
	terms_init();
	if (hv_select(why, sizeof(why)) || !backend_on(why, sizeof(why))) {
		host_refuse(why);
		machine_give_up();
	}
	machine_on_stop(hv->cpu_disable);
	console_start();
	smp_start(vmm_ap_start);
	wait_for_cpus();
	log_info("Dalang " DALANG_VERSION ": %s, %u of %u CPUs", hv->desc, cpus_ready(), nr_pcpus);
	console_event("hello " DALANG_VERSION " %s %u", hv->name, cpus_ready());
	read_config();
	for (const host_driver_t *d = __host_drivers_start; d < __host_drivers_end; d++)
		(*d)(); /* they may ask host_config() */
	create_vms();
	host_vm_ended(); /* ours: see nr_live */
	sched_loop();
}
