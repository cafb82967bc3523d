/* SPDX-License-Identifier: BSD-2-Clause */
#include "vmm/config_parse.h"
#include "lib/string.h"

/* xl's channel: name=NAME,connection=WORD. Whatever the word, the other end is the monitor's. */
bool config_add_channel(struct config_ctx *c, const struct cfg_item *it)
{
	struct vm_config *vm = c->out;
	char *name = vm->channels[vm->nr_channels];
	const char *s = it->str, *end;

	for (; *s; s = *end ? end + 1 : end) {
		size_t n;

		while (*s == ' ')
			s++;
		end = strchr(s, ',') ?: s + strlen(s);
		n = (size_t)(end - s);
		if (n >= 11 && !memcmp(s, "connection=", 11))
			continue;
		if (n <= 5 || n - 5 >= VM_CHANNEL_MAX || memcmp(s, "name=", 5) || *name)
			return fail(c, it->line, it->col,
				    "channel \"%.60s\": write 'name=NAME,connection=pty', with a name of up to %d characters",
				    it->str, VM_CHANNEL_MAX - 1);
		memcpy(name, s + 5, n - 5);
	}
	for (u32 i = 0; i < vm->nr_channels; i++)
		if (!strcmp(vm->channels[i], name))
			return fail(c, it->line, it->col, "channel %s stands twice; remove one of the two", name);
	if (!config_name_ok(name) || !strcmp(name, "pv") || !strcmp(name, "serial"))
		return fail(c, it->line, it->col,
			    "channel name \"%s\": write letters, digits, '.', '_' and '-', and not pv or serial", name);
	vm->nr_channels++;
	return true;
}
