/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The commands of a CD-ROM drive with one track of data: MMC-6, of which it does what a drive that only reads must, and SPC-4
 * behind that. A medium that is too large for a CD is a DVD-ROM. Pure: no guest, no backend. What is not known is
 * INVALID COMMAND OPERATION CODE; lengths are bounded by struct cd_call.
 */
#include "drivers/virtio/scsi.h"
#include "lib/string.h"

#define NO_SUCH_COMMAND	 CD_SENSE(5, 0x20, 0x00)
#define LBA_OUT_OF_RANGE CD_SENSE(5, 0x21, 0x00)
#define INVALID_FIELD	 CD_SENSE(5, 0x24, 0x00)
#define NO_SUCH_LUN	 CD_SENSE(5, 0x25, 0x00)
#define NOT_SAVED	 CD_SENSE(5, 0x39, 0x00)
#define WRONG_FORMAT	 CD_SENSE(5, 0x30, 0x02)
#define LOCKED		 CD_SENSE(5, 0x53, 0x02)
#define NO_MEDIUM	 CD_SENSE(2, 0x3a, 0x01)
#define NO_MEDIUM_OPEN	 CD_SENSE(2, 0x3a, 0x02)
#define CHANGED		 CD_SENSE(6, 0x28, 0x00)
#define RESET		 CD_SENSE(6, 0x29, 0x00)

#define CD_MAX_BLOCKS 400000u /* of a CD-ROM of 90 minutes; above it is a DVD */
enum { PROFILE_NONE = 0, PROFILE_CD_ROM = 8, PROFILE_DVD_ROM = 0x10 };

static const char vendor[] = "DALANG  ", product[] = "CD-ROM          ", revision[] = "1.0 ";

static u32 get16(const u8 *p)
{
	return (u32)p[0] << 8 | p[1];
}

static u32 get32(const u8 *p)
{
	return get16(p) << 16 | get16(p + 2);
}

static void put16(u8 *p, u32 v)
{
	p[0] = (u8)(v >> 8);
	p[1] = (u8)v;
}

static void put32(u8 *p, u32 v)
{
	put16(p, v >> 16);
	put16(p + 2, v);
}

/* So much of data[] as the driver has room for. */
static void answer(struct cd_call *c, u32 len, u32 room)
{
	c->len = MIN(len, room);
}

static bool present(const struct cd_call *c)
{
	return c->blocks && !c->drive->open;
}

static u32 not_ready(const struct cd_call *c)
{
	return c->drive->open ? NO_MEDIUM_OPEN : NO_MEDIUM;
}

static u32 profile(const struct cd_call *c)
{
	return !present(c) ? PROFILE_NONE : c->blocks > CD_MAX_BLOCKS ? PROFILE_DVD_ROM : PROFILE_CD_ROM;
}

/* The condition that comes first is told, and is over. */
static u32 take_attention(struct cd_drive *d)
{
	if (d->attention & CD_WAS_RESET) {
		d->attention &= ~CD_WAS_RESET;
		return RESET;
	}
	if (d->attention & CD_MEDIUM_CHANGED) {
		d->attention &= ~CD_MEDIUM_CHANGED;
		return CHANGED;
	}
	return 0;
}

void cd_sense(u32 sense, u8 out[CD_SENSE_SIZE])
{
	memset(out, 0, CD_SENSE_SIZE);
	out[0] = 0x70; /* SPC-4, 4.5.3 */
	out[2] = (u8)(sense >> 16);
	out[7] = CD_SENSE_SIZE - 8;
	out[12] = (u8)(sense >> 8);
	out[13] = (u8)sense;
}

/* ---- SPC-4 ---- */

static void done(struct cd_call *c)
{
	(void)c;
}

static void request_sense(struct cd_call *c)
{
	u32 sense;

	if (c->cdb[1] & 1) { /* the descriptor format */
		c->sense = INVALID_FIELD;
		return;
	}
	sense = take_attention(c->drive);
	if (!sense && !present(c))
		sense = not_ready(c);
	cd_sense(sense, c->data);
	answer(c, CD_SENSE_SIZE, c->cdb[4]);
}

static u32 serial_number(struct cd_call *c, u8 *at)
{
	u32 n = (u32)MIN(strlen(c->serial), 20);

	memcpy(at, c->serial, n);
	return n;
}

static void vital_product_data(struct cd_call *c)
{
	u8 *p = c->data;
	u32 n;

	p[0] = 5;
	p[1] = c->cdb[2];
	switch (c->cdb[2]) {
	case 0x00: /* which pages there are */
		memcpy(p + 4, "\x00\x80\x83", n = 3);
		break;
	case 0x80:
		n = serial_number(c, p + 4);
		break;
	case 0x83: /* a T10 vendor ID designator, in ASCII */
		p[4] = 2;
		p[5] = 1;
		memcpy(p + 8, vendor, 8);
		p[7] = (u8)(8 + serial_number(c, p + 16));
		n = 4u + p[7];
		break;
	default:
		c->sense = INVALID_FIELD;
		return;
	}
	p[3] = (u8)n;
	answer(c, 4 + n, get16(c->cdb + 3));
}

static void inquiry(struct cd_call *c)
{
	u8 *p = c->data;

	if (c->cdb[1] & 1) {
		vital_product_data(c);
		return;
	}
	if (c->cdb[2]) {
		c->sense = INVALID_FIELD;
		return;
	}
	p[0] = 5; /* CD/DVD, */
	p[1] = 0x80; /* removable, */
	p[2] = 5; /* SPC-3 */
	p[3] = 2;
	p[4] = 36 - 5;
	memcpy(p + 8, vendor, 8);
	memcpy(p + 16, product, 16);
	memcpy(p + 32, revision, 4);
	answer(c, 36, get16(c->cdb + 3));
}

/* There is unit 0. */
static void report_luns(struct cd_call *c)
{
	if (get32(c->cdb + 6) < 16 || c->cdb[2] > 2) {
		c->sense = INVALID_FIELD;
		return;
	}
	c->data[3] = c->cdb[2] == 1 ? 0 : 8; /* 1: the well-known ones only */
	answer(c, 8 + c->data[3], get32(c->cdb + 6));
}

/* MMC-6, 7.3 and MMC-3, 5.5.10; what could be changed (control 1): nothing. */
static u32 mode_page(const struct cd_call *c, unsigned page, unsigned control, u8 *p)
{
	u32 len = page == 0x01 ? 10 : 20;

	p[0] = (u8)page;
	p[1] = (u8)len;
	if (page == 0x01 || control == 1)
		return 2 + len;
	p[2] = 0x0b; /* CD-R, CD-RW, DVD-ROM */
	p[4] = 0x70; /* mode 2 forms 1 and 2, several sessions */
	p[6] = (u8)(0x29 | c->drive->locked << 1); /* a tray that can be locked and comes out */
	put16(p + 8, 7056); /* kB/s: 40 times */
	put16(p + 12, 64); /* KiB of buffer */
	put16(p + 14, 7056);
	return 2 + len;
}

static void mode_sense(struct cd_call *c)
{
	static const u8 pages[] = {0x01, 0x2a};
	bool ten = c->cdb[0] == 0x5a;
	unsigned page = c->cdb[2] & 0x3f, control = c->cdb[2] >> 6;
	u32 header = ten ? 8 : 4, len = header;

	if (control == 3) {
		c->sense = NOT_SAVED;
		return;
	}
	for (unsigned i = 0; i < ARRAY_SIZE(pages); i++)
		if (page == pages[i] || page == 0x3f)
			len += mode_page(c, pages[i], control, c->data + len);
	if (len == header || (c->cdb[3] && c->cdb[3] != 0xff)) {
		c->sense = INVALID_FIELD;
		return;
	}
	if (ten)
		put16(c->data, len - 2);
	else
		c->data[0] = (u8)(len - 1);
	answer(c, len, ten ? get16(c->cdb + 7) : c->cdb[4]);
}

/* ---- the medium ---- */

static void blocks(struct cd_call *c, u64 lba, u32 count)
{
	if (c->cdb[0] != 0x08 && c->cdb[1] >> 5) { /* no protection information here */
		c->sense = INVALID_FIELD;
	} else if (lba > c->blocks || count > c->blocks - lba) {
		c->sense = LBA_OUT_OF_RANGE;
	} else if (count > CD_READ_MAX) {
		c->sense = INVALID_FIELD;
	} else {
		c->lba = (u32)lba;
		c->count = count;
	}
}

static void read6(struct cd_call *c)
{
	blocks(c, get32(c->cdb) & 0x1fffff, c->cdb[4] ?: 256);
}

static void read10(struct cd_call *c)
{
	blocks(c, get32(c->cdb + 2), get16(c->cdb + 7));
}

static void read12(struct cd_call *c)
{
	blocks(c, get32(c->cdb + 2), get32(c->cdb + 6));
}

static void read16(struct cd_call *c)
{
	blocks(c, (u64)get32(c->cdb + 2) << 32 | get32(c->cdb + 6), get32(c->cdb + 10));
}

/* SEEK, VERIFY: is it there? Data that the driver would send to be compared: no. */
static void verify10(struct cd_call *c)
{
	if (c->cdb[0] == 0x2f && c->cdb[1] & 6)
		c->sense = INVALID_FIELD;
	else if (get32(c->cdb + 2) > c->blocks || (c->cdb[0] == 0x2f && get16(c->cdb + 7) > c->blocks - get32(c->cdb + 2)))
		c->sense = LBA_OUT_OF_RANGE;
}

static void read_capacity10(struct cd_call *c)
{
	put32(c->data, (u32)c->blocks - 1);
	put32(c->data + 4, CD_BLOCK);
	answer(c, 8, 8);
}

static void service_action_in16(struct cd_call *c)
{
	if ((c->cdb[1] & 0x1f) != 0x10) { /* READ CAPACITY(16) */
		c->sense = INVALID_FIELD;
		return;
	}
	put32(c->data + 4, (u32)c->blocks - 1);
	put32(c->data + 8, CD_BLOCK);
	answer(c, 32, get32(c->cdb + 10));
}

/* ---- MMC-6 ---- */

/* Minutes, seconds and frames of a CD begin two seconds before block 0. */
static void put_address(u8 *p, u32 lba, bool msf)
{
	u32 at = lba + 150;

	if (!msf) {
		put32(p, lba);
		return;
	}
	p[0] = 0;
	p[1] = (u8)MIN(at / 75 / 60, 255u);
	p[2] = (u8)(at / 75 % 60);
	p[3] = (u8)(at % 75);
}

static u8 *track(u8 *p, unsigned number, u32 lba, bool msf)
{
	p[1] = 0x14; /* of data */
	p[2] = (u8)number;
	put_address(p + 4, lba, msf);
	return p + 8;
}

/* Format 0: the tracks from cdb[6] on; 1: the sessions. */
static void read_toc(struct cd_call *c)
{
	bool msf = c->cdb[1] & 2;
	unsigned format = c->cdb[2] & 15, first = c->cdb[6];
	u8 *p = c->data + 4;

	if (format > 1 || (!format && first > 1 && first != 0xaa)) {
		c->sense = INVALID_FIELD;
		return;
	}
	c->data[2] = c->data[3] = 1;
	if (format || first <= 1)
		p = track(p, 1, 0, msf);
	if (!format)
		p = track(p, 0xaa, (u32)c->blocks, msf); /* what is behind them */
	put16(c->data, (u32)(p - c->data) - 2);
	answer(c, (u32)(p - c->data), get16(c->cdb + 7));
}

static void read_subchannel(struct cd_call *c)
{
	bool position = c->cdb[2] & 0x40 && c->cdb[3] == 1;

	if (c->cdb[2] & 0x40 && !position) {
		c->sense = INVALID_FIELD;
		return;
	}
	c->data[1] = 0x15; /* nothing is played */
	if (position) {
		put16(c->data + 2, 12);
		c->data[4] = 1;
		c->data[5] = 0x14;
		c->data[6] = c->data[7] = 1;
		put_address(c->data + 8, 0, c->cdb[1] & 2);
		put_address(c->data + 12, 0, c->cdb[1] & 2);
	}
	answer(c, position ? 16 : 4, get16(c->cdb + 7));
}

static void read_disc_information(struct cd_call *c)
{
	if (c->cdb[1] & 7) {
		c->sense = INVALID_FIELD;
		return;
	}
	put16(c->data, 32);
	c->data[2] = 0x0e; /* the last session and the disc are complete */
	c->data[3] = c->data[4] = c->data[5] = c->data[6] = 1; /* one of each */
	c->data[7] = 0x20; /* for unrestricted use */
	memset(c->data + 16, 0xff, 8); /* nothing can be added */
	answer(c, 34, get16(c->cdb + 7));
}

static void read_dvd_structure(struct cd_call *c)
{
	c->sense = WRONG_FORMAT; /* none is on it */
}

static void mechanism_status(struct cd_call *c)
{
	c->data[1] = (u8)(c->drive->open << 4);
	answer(c, 8, get16(c->cdb + 8));
}

/* A feature (MMC-6, 5.3): number, flags with its version, and what else it says; as the driver wants them. */
static u8 *feature(const struct cd_call *c, u8 *p, u32 number, u8 flags, const char *more, u8 n)
{
	unsigned want = c->cdb[1] & 3;
	u32 from = get16(c->cdb + 2);

	if (want == 2 ? number != from : number < from || (want == 1 && !(flags & 1)))
		return p;
	put16(p, number);
	p[2] = flags;
	p[3] = n;
	memcpy(p + 4, more, n);
	return p + 4 + n;
}

static void get_configuration(struct cd_call *c)
{
	u32 now = profile(c);
	bool cd = now == PROFILE_CD_ROM, dvd = now == PROFILE_DVD_ROM;
	const char profiles[] = {0, PROFILE_DVD_ROM, dvd, 0, 0, PROFILE_CD_ROM, cd, 0};
	u8 *p = c->data + 8;

	if ((c->cdb[1] & 3) == 3) {
		c->sense = INVALID_FIELD;
		return;
	}
	p = feature(c, p, 0x00, 0x03, profiles, 8);
	p = feature(c, p, 0x01, 0x0b, "\0\0\0\1\1\0\0", 8); /* core: SCSI; DBE */
	p = feature(c, p, 0x02, 0x07, "\2\0\0", 4);	    /* morphing: media events */
	p = feature(c, p, 0x03, 0x0b, "\x39\0\0", 4);	    /* removable medium: a tray, eject, lock */
	p = feature(c, p, 0x10, (u8)(cd || dvd), "\0\0\x8\0\0\1\0", 8); /* random reads of 2048 bytes */
	p = feature(c, p, 0x1e, (u8)(0x08 | cd), "\0\0\0", 4);
	p = feature(c, p, 0x1f, dvd, "", 0);
	put32(c->data, (u32)(p - c->data) - 4);
	put16(c->data + 6, now);
	answer(c, (u32)(p - c->data), get16(c->cdb + 7));
}

/* 6.6: the class of media events, polled. */
static void get_event_status(struct cd_call *c)
{
	bool media = c->cdb[4] & 0x10;

	if (!(c->cdb[1] & 1)) {
		c->sense = INVALID_FIELD;
		return;
	}
	put16(c->data, media ? 6 : 2);
	c->data[2] = media ? 4 : 0x80;
	c->data[3] = 0x10;
	c->data[4] = c->drive->event;
	c->data[5] = c->drive->open ? 1 : c->blocks ? 2 : 0;
	answer(c, media ? 8 : 4, get16(c->cdb + 7));
	if (media && c->len > 4)
		c->drive->event = CD_NO_EVENT;
}

static void start_stop(struct cd_call *c)
{
	bool load = c->cdb[4] & 1;

	if (c->cdb[4] >> 4 || !(c->cdb[4] & 2)) /* a power condition; or spin up, or down */
		return;
	if (!load && c->drive->locked) {
		c->sense = present(c) ? LOCKED : CD_SENSE(2, 0x53, 0x02);
		return;
	}
	if (c->drive->open == !load)
		return;
	c->drive->open = !load;
	if (c->blocks) /* who did it himself need not be told of it by the next command: Linux takes that for a failed read */
		c->drive->event = load ? CD_NEW_MEDIA : CD_MEDIA_REMOVAL;
}

static void prevent_removal(struct cd_call *c)
{
	c->drive->locked = c->cdb[4] & 1;
}

/* ---- all of them ---- */

enum { MEDIUM = 1, /* needs one */
       QUIET = 2 /* is carried out with a condition to be told, and leaves that alone */ };

static const struct {
	u8 code, flags;
	void (*run)(struct cd_call *c);
} commands[] = {
	{0x00, MEDIUM, done}, /* TEST UNIT READY */
	{0x03, QUIET, request_sense},
	{0x08, MEDIUM, read6},
	{0x12, QUIET, inquiry},
	{0x1a, 0, mode_sense},
	{0x1b, 0, start_stop},
	{0x1e, 0, prevent_removal},
	{0x25, MEDIUM, read_capacity10},
	{0x28, MEDIUM, read10},
	{0x2b, MEDIUM, verify10}, /* SEEK */
	{0x2f, MEDIUM, verify10},
	{0x35, MEDIUM, done}, /* SYNCHRONIZE CACHE */
	{0x42, MEDIUM, read_subchannel},
	{0x43, MEDIUM, read_toc},
	{0x46, QUIET, get_configuration},
	{0x4a, QUIET, get_event_status},
	{0x51, MEDIUM, read_disc_information},
	{0x5a, 0, mode_sense},
	{0x88, MEDIUM, read16},
	{0x9e, MEDIUM, service_action_in16},
	{0xa0, QUIET, report_luns},
	{0xa8, MEDIUM, read12},
	{0xad, MEDIUM, read_dvd_structure},
	{0xbb, 0, done}, /* SET CD SPEED */
	{0xbd, 0, mechanism_status},
};

void cd_command(struct cd_call *c)
{
	unsigned i = 0;

	while (i < ARRAY_SIZE(commands) && commands[i].code != c->cdb[0])
		i++;
	memset(c->data, 0, sizeof(c->data));
	c->len = c->lba = c->count = c->sense = 0;
	if (i == ARRAY_SIZE(commands) || !(commands[i].flags & QUIET))
		c->sense = take_attention(c->drive);
	if (c->sense)
		return;
	if (i == ARRAY_SIZE(commands))
		c->sense = NO_SUCH_COMMAND;
	else if (commands[i].flags & MEDIUM && !present(c))
		c->sense = not_ready(c);
	else
		commands[i].run(c);
}

/* SPC-4, 5.11 and 6.4.2 */
void cd_command_no_unit(struct cd_call *c)
{
	memset(c->data, 0, sizeof(c->data));
	c->len = c->lba = c->count = c->sense = 0;
	switch (c->cdb[0]) {
	case 0x12:
		if (c->cdb[1] & 1) {
			c->sense = INVALID_FIELD;
			break;
		}
		c->data[0] = 0x7f; /* nor can there be one */
		c->data[2] = 5;
		c->data[3] = 2;
		c->data[4] = 36 - 5;
		answer(c, 36, get16(c->cdb + 3));
		break;
	case 0xa0:
		report_luns(c);
		break;
	case 0x03:
		cd_sense(NO_SUCH_LUN, c->data);
		answer(c, CD_SENSE_SIZE, c->cdb[4]);
		break;
	default:
		c->sense = NO_SUCH_LUN;
	}
}
