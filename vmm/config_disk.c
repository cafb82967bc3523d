/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One disk of a VM file, in the syntax of xl-disk-configuration(5): parameters separated by commas,
 * by position (target, format, vdev, access) or as KEY=VALUE; target= takes the rest of the string.
 */
#include "vmm/config_parse.h"
#include "lib/string.h"

enum { DISK_TARGET, DISK_FORMAT, DISK_VDEV, DISK_ACCESS, DISK_DEVTYPE, DISK_SERIAL, DISK_SECTOR, DISK_IOPS, DISK_BPS,
       DISK_NR };
static const char *const disk_params[] = {"target", "format", "vdev", "access", "devtype", "serial", "sector", "iops",
					  "bps", NULL};

struct disk_spec {
	struct config_ctx *c;
	const struct cfg_item *it;
	char val[DISK_NR][VM_PATH_MAX];
	bool given[DISK_NR];
	bool cdrom;
};

#define disk_fail(d, ...) fail((d)->c, (d)->it->line, (d)->it->col, __VA_ARGS__)

static bool disk_store(struct disk_spec *d, int what, const char *s, size_t len)
{
	if (d->given[what])
		return disk_fail(d, "disk: %s is given twice; write it once", disk_params[what]);
	if (len >= VM_PATH_MAX)
		return disk_fail(d, "disk: %s of %zu bytes; at most %d", disk_params[what], len,
				 VM_PATH_MAX - 1);
	d->given[what] = true;
	memcpy(d->val[what], s, len);
	d->val[what][len] = '\0';
	return true;
}

static bool span_is(const char *s, size_t len, const char *word)
{
	return strlen(word) == len && !memcmp(s, word, len);
}

/* One parameter of a disk, blanks around it already gone. */
static bool disk_param(struct disk_spec *d, const char *s, size_t len, int *position)
{
	static const char *const unused[] = {
		"backendtype", "backend", "script",    "direct-io-safe", "discard",
		"no-discard",  "trusted", "untrusted", "specification",  NULL};
	size_t k = 0;

	while (k < len && s[k] != '=')
		k++;
	for (int i = 0; unused[i]; i++) {
		if (span_is(s, k, unused[i])) {
			warn(d->c, d->it->line, d->it->col,
			     "disk parameter '%s' is known to xl, not used by Dalang", unused[i]);
			return true;
		}
	}
	if (k < len) {
		for (int i = 0; i < DISK_NR; i++)
			if (span_is(s, k, disk_params[i]))
				return disk_store(d, i, s + k + 1, len - k - 1);
		return disk_fail(d,
				 "disk: unknown parameter '%.*s'; known are target=, format=, "
				 "vdev=, access=, devtype=, serial=, sector=, iops=, bps=",
				 (int)MIN(k, 40), s);
	}
	if (span_is(s, len, "cdrom")) {
		d->cdrom = true;
		return true;
	}
	if (*position > DISK_ACCESS)
		return disk_fail(d,
				 "disk: '%.*s' is one too many; write "
				 "'FILE,raw,VDEV,ACCESS'",
				 (int)MIN(len, 40), s);
	/* An empty place keeps its default. */
	if (!len) {
		(*position)++;
		return true;
	}
	return disk_store(d, (*position)++, s, len);
}

static bool disk_split(struct disk_spec *d)
{
	const char *s = d->it->str, *end = s + d->it->len;
	int position = 0;

	while (s < end) {
		const char *e = s, *next;

		while (s < end && (*s == ' ' || *s == '\t'))
			s++;
		if (end - s >= 7 && !memcmp(s, "target=", 7))
			e = end;
		else
			for (e = s; e < end && *e != ',';)
				e++;
		next = e + (e < end);
		while (e > s && (e[-1] == ' ' || e[-1] == '\t'))
			e--;
		if (!disk_param(d, s, (size_t)(e - s), &position))
			return false;
		s = next;
	}
	return true;
}

static bool disk_format(struct disk_spec *d)
{
	static const char *const others[] = {"qcow", "qcow2", "vhd", "qed", NULL};
	const char *f = d->val[DISK_FORMAT], *t = d->val[DISK_TARGET];

	if (!d->given[DISK_FORMAT] || !strcmp(f, "raw"))
		return true;
	if (config_word(f, others) >= 0)
		return disk_fail(d,
				 "disk: format %s; Dalang reads raw images: qemu-img convert "
				 "-O raw %s NEW",
				 f, t);
	return disk_fail(d, "disk: unknown format '%.40s'; write raw", f);
}

static bool disk_target(struct disk_spec *d, struct vm_disk *disk)
{
	static const char *const prefixes[] = {
		"file:", "phy:", "tap:", "tap2:", "aio:", "raw:", "qcow:", "qcow2:", "vhd:", NULL};
	const char *t = d->val[DISK_TARGET];

	for (int i = 0; prefixes[i]; i++)
		if (!strncmp(t, prefixes[i], strlen(prefixes[i])))
			return disk_fail(d,
					 "disk: old prefix '%s'; write the file's name alone: "
					 "'FILE,raw,xvda,rw'",
					 prefixes[i]);
	memcpy(disk->target, t, strlen(t) + 1);
	return true;
}

static bool disk_vdev(struct disk_spec *d, struct vm_disk *disk)
{
	static const char *const kinds[] = {"xvd", "vd", "hd", "sd", NULL};
	char *v = d->val[DISK_VDEV];
	size_t len = strlen(v);

	if (!len)
		return disk_fail(d, "disk without a device name; write vdev=xvda, say");
	if (len > 6 && !strcmp(v + len - 6, ":cdrom")) {
		d->cdrom = true;
		v[len - 6] = '\0';
	}
	for (int i = 0; kinds[i]; i++) {
		size_t n = strlen(kinds[i]);

		if (!strncmp(v, kinds[i], n) && v[n] >= 'a' && v[n] <= 'z' && !v[n + 1]) {
			memcpy(disk->vdev, v, n + 2);
			return true;
		}
	}
	return disk_fail(d,
			 "disk: device name '%.40s'; write xvda to xvdz, vda, hda or sda (a "
			 "whole disk)",
			 v);
}

static bool disk_access(struct disk_spec *d, struct vm_disk *disk)
{
	const char *a = d->val[DISK_ACCESS], *t = d->val[DISK_DEVTYPE];
	bool ro = !strcmp(a, "r") || !strcmp(a, "ro"), rw = !strcmp(a, "w") || !strcmp(a, "rw");

	if (*a && !ro && !rw)
		return disk_fail(d, "disk: access '%.40s'; write rw or ro", a);
	if (*t && strcmp(t, "disk") && strcmp(t, "cdrom"))
		return disk_fail(d, "disk: devtype '%.40s'; write disk or cdrom", t);
	disk->cdrom = d->cdrom || !strcmp(t, "cdrom");
	disk->readonly = ro || disk->cdrom;
	if (!disk->target[0] && !disk->cdrom)
		return disk_fail(d, "disk without a file; write 'FILE,raw,xvda,rw'");
	return true;
}

static bool disk_number(struct disk_spec *d, int what, u64 *out)
{
	const char *s = d->val[what];
	u64 n = 0;

	if (!d->given[what])
		return true;
	for (; *s >= '0' && *s <= '9' && n < 1000000000000ull; s++)
		n = n * 10 + (u64)(*s - '0');
	if (*s || !n)
		return disk_fail(d, "disk: %s = '%.40s'; write a whole number from 1 up", disk_params[what], d->val[what]);
	*out = n;
	return true;
}

/* What xl has not: limits, as libvirt and QEMU have them, and what the disk looks like. */
static bool disk_shape(struct disk_spec *d, struct vm_disk *disk)
{
	u64 sector = disk->cdrom ? 2048 : 512;

	if (disk->cdrom && (d->given[DISK_IOPS] || d->given[DISK_BPS] || d->given[DISK_SECTOR]))
		return disk_fail(d, "disk: a CD-ROM has neither iops, bps nor sector; leave them out");
	if (!disk_number(d, DISK_IOPS, &disk->iops) || !disk_number(d, DISK_BPS, &disk->bps) ||
	    !disk_number(d, DISK_SECTOR, &sector))
		return false;
	if (sector != 512 && sector != 4096 && !disk->cdrom)
		return disk_fail(d, "disk: sector = %s; write 512 or 4096", d->val[DISK_SECTOR]);
	disk->sector = (u32)sector;
	if (strlen(d->val[DISK_SERIAL]) >= sizeof(disk->serial))
		return disk_fail(d, "disk: serial = '%.40s'; at most %zu bytes", d->val[DISK_SERIAL],
				 sizeof(disk->serial) - 1);
	memcpy(disk->serial, d->val[DISK_SERIAL], strlen(d->val[DISK_SERIAL]) + 1);
	return true;
}

bool config_add_disk(struct config_ctx *c, const struct cfg_item *it)
{
	static struct disk_spec spec; /* not for a kernel stack; see config.c */
	struct vm_config *vm = c->out;
	struct vm_disk disk = {0}, *place = NULL;

	memset(&spec, 0, sizeof(spec));
	spec.c = c;
	spec.it = it;
	if (!disk_split(&spec) || !disk_format(&spec) || !disk_target(&spec, &disk) ||
	    !disk_vdev(&spec, &disk) || !disk_access(&spec, &disk) || !disk_shape(&spec, &disk))
		return false;
	for (u32 i = VM_MAX_DISKS; i--;) {
		if (!vm->disks[i].vdev[0])
			place = &vm->disks[i];
		else if (!strcmp(vm->disks[i].vdev, disk.vdev))
			return fail(c, it->line, it->col,
				    "disk: device name %s is taken by \"%s\"; write another",
				    disk.vdev, vm->disks[i].target);
	}
	if (!place)
		return fail(c, it->line, it->col, "disk: it has %d disks, and may have no more", VM_MAX_DISKS);
	*place = disk;
	vm->nr_disks = MAX(vm->nr_disks, (u32)(place - vm->disks) + 1);
	return true;
}
