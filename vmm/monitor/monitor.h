/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The monitor: lines of xl's verbs. A front end (the serial port's channel 1, serial.c; the screen) has a line
 * and somewhere to write; what is between is here: one table of verbs, and one way to say an answer, which
 * comes out as aligned text or, with -j, as one line of JSON. The boot CPU, in a work, interrupts off.
 */
#pragma once
#include "lib/types.h"

struct vm;

/* --- answers: out.c --- */

/* A column of a table. JSON has the key, text the title (NULL in the first one: no line of titles). */
struct mon_col {
	const char *key, *title;
	int width; /* below 0: flush left */
};

/* The front end fills write and room (and console), the rest is out.c's. */
struct mon_out {
	void (*write)(struct mon_out *o, const char *buf, size_t n);
	size_t (*room)(struct mon_out *o); /* bytes that write() takes now without losing any; NULL: all */
	/* The verb `console`: give the user the console of that channel. NULL, or what is wrong. vm_list_lock is held. NULL:
	 * this front end has none to give. */
	const char *(*console)(struct mon_out *o, u32 channel);

	bool json;
	bool opened; /* something was said */
	bool in_table, in_row, lines;
	u32 rows, col, nr_cols;
	const struct mon_col *cols;
	const char *field;
	u32 used;
	char buf[512];
};

enum mon_style { MON_COLUMNS, MON_LINES /* a row is a block of "key : value" lines */ };

void mon_table(struct mon_out *o, const char *key, const struct mon_col *cols, u32 n, enum mon_style style);
void mon_row(struct mon_out *o);
void mon_field(struct mon_out *o, const char *key); /* instead of a row; the next value is its */
/* Values: of the row's next column, or of the field. */
void mon_str(struct mon_out *o, const char *s); /* any bytes */
void mon_strf(struct mon_out *o, const char *fmt, ...) __format(2, 3); /* up to 255 */
void mon_u64(struct mon_out *o, u64 v);
void mon_fixed(struct mon_out *o, u64 v, unsigned decimals); /* v / 10^decimals */
void mon_hex(struct mon_out *o, u64 v);
void mon_seconds(struct mon_out *o, u64 ns, unsigned decimals); /* of a time in ns */
void mon_since(struct mon_out *o, u64 seconds); /* "1 day, 2:03:04"; JSON: seconds */
void mon_bool(struct mon_out *o, bool b);
void mon_none(struct mon_out *o); /* "-", null */
/* Several lines of text, '\n' between them. */
void mon_text(struct mon_out *o, const char *key, const char *text);
/* A line that is no answer's part: a prompt, a verdict. Text even with -j. */
void mon_line(struct mon_out *o, const char *fmt, ...) __format(2, 3);
void mon_begin(struct mon_out *o, bool json);
void mon_end(struct mon_out *o, const char *error); /* NULL: all went well */
void mon_flush(struct mon_out *o);

/* --- verbs --- */

#define MON_LINE_MAX 256 /* with its terminator */
#define MON_WORDS    16
/* A step of a verb writes less, JSON's escapes included. */
#define MON_STEP_BYTES 16384

enum verb_takes {
	VERB_HOST, /* no VM */
	VERB_VM,   /* a VM's name or id is the first word */
	VERB_EACH, /* that, or nothing: each VM in turn */
	VERB_FILE, /* the name of a VM file's VM that is not there now */
	VERB_VERB, /* a verb, or nothing */
};

enum mon_status {
	MON_DONE,
	MON_MORE,   /* call it again, after others had their turn */
	MON_WAIT,   /* the same, a few ms later: there is no room for MON_STEP_BYTES, or the verb waits */
	MON_FAILED, /* call.why says why */
};

/* A verb at work. The front end owns it; zeroed before its first use. */
struct mon_call {
	struct mon_out *out;
	const char *word;	 /* the first one; NULL: the line was empty */
	const struct verb *verb; /* NULL: there is no such verb */
	struct vm *vm;		 /* VERB_VM, VERB_EACH: vm_list_lock is held while the verb has it */
	const char *name;	 /* VERB_VM, VERB_EACH, VERB_FILE, VERB_VERB: the word; NULL: none */
	const char *opt[26];	 /* option letters: the word behind it, "" if it takes none; NULL: not given */
	u32 argc;		 /* what else was said */
	const char *argv[MON_WORDS];
	u64 pos, sum[3]; /* the verb's own between two steps; 0 at first, and again with each VM of VERB_EACH */
	u64 until;	 /* begin() may set it: the host TSC before which run() is not called */
	u32 each, cur;	 /* VERB_EACH: VMs up to this id are done; this one's turn it is */
	bool begun;
	char line[MON_LINE_MAX], why[256];
};

struct verb {
	const char *name;
	const char *args; /* synopsis of what follows, in xl's manner; "" for nothing */
	const char *help; /* a line */
	const char *more; /* the rest of its description, lines of up to 78 characters; NULL: nothing */
	const char *opts; /* letters; ':' behind one that takes a word; -j is every verb's; NULL: no other */
	enum verb_takes takes;
	u8 min, max; /* words behind the VM's name */
	void (*begin)(struct mon_call *c); /* once before the first run(), no lock held; may be NULL */
	/* A step, of about 20,000 instructions and less than MON_STEP_BYTES. Not MON_WAIT. */
	enum mon_status (*run)(struct mon_call *c);
};

extern const struct verb monitor_verbs[];
extern const u32 monitor_nr_verbs;

/* Begin with a line (no line end in it), and go on until it is MON_DONE or MON_FAILED. Then the answer is out;
 * the verdict in words is the front end's to say, c->why is a failure's. An empty line is done at once. */
enum mon_status monitor_start(struct mon_call *c, const char *line, struct mon_out *o);
enum mon_status monitor_step(struct mon_call *c);
/* Both, for who never has to wait for room. */
enum mon_status monitor_line(struct mon_call *c, const char *line, struct mon_out *o);

/* For completion: the i-th name that may stand there; false: there are no more. Takes vm_list_lock. */
bool monitor_name(enum verb_takes takes, u32 i, char *name, size_t n);

/* --- serial.c: channel 1 of docs/console.md. Each answer ends with a line "ok" or "error: ..." --- */
void monitor_init(void);
void monitor_input(u8 byte); /* from the serial interrupt, boot CPU */
