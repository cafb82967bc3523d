/* SPDX-License-Identifier: BSD-2-Clause */
/* A VM's socket device, in the manner of vif: cid=N,peers=NAME NAME,monitor=1, each at most once. docs/vsock.md */
#include "lib/string.h"
#include "vmm/config_parse.h"

#define CID_MIN 3u
#define CID_MAX 0xfffffffeull

struct spec {
	struct config_ctx *c;
	const struct cfg_item *it;
	struct vm_vsock *out;
};
#define vsock_fail(s, ...) fail((s)->c, (s)->it->line, (s)->it->col, __VA_ARGS__)

static bool number(const char *p, size_t n, u64 max, u64 *out)
{
	*out = 0;
	for (size_t i = 0; i < n; i++) {
		if (p[i] < '0' || p[i] > '9')
			return false;
		*out = *out * 10 + (u64)(p[i] - '0');
		if (*out > max)
			return false;
	}
	return n;
}

static bool set_cid(struct spec *s, const char *p, size_t n)
{
	u64 v;

	if (!number(p, n, CID_MAX, &v) || v < CID_MIN)
		return vsock_fail(s, "vsock: cid=%.*s; write %u to %llu", (int)MIN(n, 40), p, CID_MIN, CID_MAX);
	s->out->cid = (u32)v;
	return true;
}

static bool set_monitor(struct spec *s, const char *p, size_t n)
{
	u64 v;

	if (!number(p, n, 1, &v))
		return vsock_fail(s, "vsock: monitor=%.*s; write 0 or 1", (int)MIN(n, 40), p);
	s->out->monitor = v;
	return true;
}

static bool set_peers(struct spec *s, const char *p, size_t n)
{
	const char *end = p + n;

	if (n >= sizeof(s->out->peers))
		return vsock_fail(s, "vsock: peers= of %zu bytes; at most %zu, or write peers=* for all", n,
				  sizeof(s->out->peers) - 1);
	memcpy(s->out->peers, p, n);
	while (p < end) {
		char name[VM_NAME_MAX] = "";
		size_t k = 0;

		while (p + k < end && p[k] != ' ')
			k++;
		memcpy(name, p, MIN(k, sizeof(name) - 1));
		if (k && (k >= sizeof(name) || (strcmp(name, "*") && !config_name_ok(name))))
			return vsock_fail(s, "vsock: peers: \"%.*s\" is no VM's name; write names with blanks between, or *",
					  (int)MIN(k, 40), p);
		p += k + (p + k < end);
	}
	return true;
}

static const struct {
	const char *key;
	bool (*set)(struct spec *s, const char *p, size_t n);
} keys[] = {{"cid", set_cid}, {"peers", set_peers}, {"monitor", set_monitor}};

static bool parameter(struct spec *s, const char *p, size_t n, u32 *seen)
{
	size_t k = 0;

	while (k < n && p[k] != '=')
		k++;
	for (u32 i = 0; i < ARRAY_SIZE(keys); i++) {
		if (strlen(keys[i].key) != k || memcmp(keys[i].key, p, k))
			continue;
		if (*seen & 1u << i)
			return vsock_fail(s, "vsock: %s is given twice; write it once", keys[i].key);
		*seen |= 1u << i;
		k += k < n;
		return keys[i].set(s, p + k, n - k);
	}
	return vsock_fail(s, "vsock: unknown parameter '%.*s'; known are cid=, peers=, monitor=", (int)MIN(k, 40), p);
}

bool config_vsock(struct config_ctx *c, const struct cfg_item *it)
{
	struct spec s = {.c = c, .it = it, .out = &((struct vm_config *)c->out)->vsock};
	const char *p = it->str, *end = p + it->len;
	u32 seen = 0;

	s.out->wanted = true;
	while (p < end) {
		const char *e = p, *next;

		while (e < end && *e != ',')
			e++;
		next = e + (e < end);
		while (p < e && *p == ' ')
			p++;
		while (e > p && e[-1] == ' ')
			e--;
		if (e > p && !parameter(&s, p, (size_t)(e - p), &seen))
			return false;
		p = next;
	}
	return true;
}
