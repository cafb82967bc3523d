/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The console device (virtio 1.2, 5.3). Port 0 is a console (hvc0 to Linux), and each `channel` of the VM file is one more
 * port with a name; the queues of these are offered only if there are any. What ports say goes where consoles' output
 * goes (vmm/console.c), which also has what was typed to them.
 */
#include "drivers/virtio/virtio_pci.h"
#include "lib/errno.h"
#include "lib/string.h"

#define CONSOLE_F_SIZE	      BIT(0)
#define CONSOLE_F_MULTIPORT   BIT(1)
#define CONSOLE_F_EMERG_WRITE BIT(2)

struct console_config {
	u16 cols, rows;
	u32 max_nr_ports, emerg_wr;
};
static_assert(sizeof(struct console_config) == 12, "virtio 1.2, 5.3.4");
struct console_control {
	u32 id;
	u16 event, value;
};
static_assert(sizeof(struct console_control) == 8, "virtio 1.2, 5.3.6.2");
enum { DEVICE_READY, DEVICE_ADD, DEVICE_REMOVE, PORT_READY, CONSOLE_PORT, RESIZE, PORT_OPEN, PORT_NAME };

enum { RX0, TX0, CONTROL_RX, CONTROL_TX };
#define QUEUES	4u /* and two more for each port behind the first */
#define TURN	8u /* chains of a call */
#define PIECE	256u
#define WAIT_NS 2000000ull /* the host's port is busy */

struct port {
	u8 ready, open; /* the driver's port; and does a program have it open */
	u16 send;	/* bit n: event n is still to be told */
};

struct console {
	struct virtio virtio;
	u16 cols, rows;
	u32 done[VM_MAX_PORTS]; /* bytes of the chain that is next to go out */
	struct port port[VM_MAX_PORTS];
};
static_assert(QUEUES + 2 * (VM_MAX_PORTS - 1) <= VIRTIO_MAX_QUEUES, "queues for all ports");

static struct console *console_of(const struct vdev *d)
{
	return d->state;
}
static unsigned rx_queue(unsigned port)
{
	return port ? 2 + 2 * port : RX0;
}

/* --- control: what the device has to say is a set of bits, said as the driver gives buffers --- */

static void send(struct vdev *d, unsigned port, struct virtq_chain *c, unsigned event)
{
	struct console *s = console_of(d);
	const char *name = vm_port_name(d->vm, port);
	struct console_control m = {.id = port, .event = (u16)event, .value = 1};
	u16 size[2] = {s->cols, s->rows};
	u64 n = virtq_write(d->vm, c, 0, &m, sizeof(m));

	if (event == PORT_NAME)
		n += virtq_write(d->vm, c, sizeof(m), name, strlen(name));
	if (event == RESIZE)
		n += virtq_write(d->vm, c, sizeof(m), size, sizeof(size));
	virtio_push(d, CONTROL_RX, c, (u32)n);
}

/* In the order in which a driver needs them: that of the table. */
static void say(struct vdev *d)
{
	static const u8 order[] = {DEVICE_ADD, CONSOLE_PORT, RESIZE, PORT_NAME, PORT_OPEN};
	struct console *s = console_of(d);
	bool any = false;
	struct virtq_chain c;

	if (!virtio_has(d, CONSOLE_F_MULTIPORT))
		return;
	for (unsigned i = 0; i < vm_nr_ports(d->vm); i++)
		for (unsigned k = 0; k < sizeof(order); k++) {
			if (!(s->port[i].send & 1u << order[k]))
				continue;
			if (!virtio_pop(d, CONTROL_RX, &c))
				goto out;
			s->port[i].send &= (u16)~(1u << order[k]);
			send(d, i, &c, order[k]);
			any = true;
		}
out:
	if (any && virtio_queue(d, CONTROL_RX))
		virtio_signal(d, CONTROL_RX);
}

static bool control(struct vdev *d, const struct virtq_chain *c)
{
	struct console *s = console_of(d);
	struct console_control m;

	if (virtq_read(d->vm, c, 0, &m, sizeof(m)) < sizeof(m))
		return false;
	if (m.event == DEVICE_READY) {
		for (unsigned i = 0; m.value && i < vm_nr_ports(d->vm); i++)
			s->port[i].send = 1u << DEVICE_ADD;
		return true;
	}
	if (m.id >= vm_nr_ports(d->vm))
		return false;
	if (m.event == PORT_READY && m.value) {
		s->port[m.id].ready = 1;
		s->port[m.id].send |= 1u << PORT_OPEN | (m.id ? 1u << PORT_NAME : 1u << CONSOLE_PORT | 1u << RESIZE);
	}
	if (m.event == PORT_OPEN)
		s->port[m.id].open = !!m.value;
	return true; /* a driver that knows more events has its say in vain */
}

static void take_control(struct vdev *d)
{
	struct virtq_chain c;
	unsigned n;

	for (n = 0; n < TURN && virtio_pop(d, CONTROL_TX, &c); n++) {
		if (!control(d, &c)) {
			virtio_broken(d, "a control message is too short, or of a port that there is none of");
			return;
		}
		virtio_push(d, CONTROL_TX, &c, 0);
	}
	if (n)
		virtio_signal(d, CONTROL_TX);
	if (n == TURN)
		virtio_turn(d, 0);
	say(d);
}

/* --- data --- */

static void take_output(struct vdev *d, unsigned port)
{
	unsigned queue = rx_queue(port) + 1, n;
	u32 *done = &console_of(d)->done[port];
	u8 buf[PIECE];

	for (n = 0; n < TURN; n++) {
		struct virtq *q = virtio_queue(d, queue), before;
		struct virtq_chain c;
		u64 len, taken;

		if (!q)
			return;
		before = *q;
		if (!virtio_pop(d, queue, &c))
			break;
		len = virtq_read(d->vm, &c, *done, buf, sizeof(buf));
		taken = vm_port_write(d->vm, port, buf, len);
		*done += (u32)taken;
		if (*done < c.out_len) {
			*q = before; /* to be read anew */
			if (taken == len)
				continue;
			virtio_turn(d, vm_time_ns(d->vm) + WAIT_NS);
			return;
		}
		*done = 0;
		virtio_push(d, queue, &c, 0);
		if (virtio_queue(d, queue))
			virtio_signal(d, queue);
	}
	if (n == TURN)
		virtio_turn(d, 0);
}

static void give_input(struct vdev *d, unsigned port)
{
	unsigned queue = rx_queue(port);
	u8 buf[PIECE];
	bool any = false;

	/* What comes to a port that nobody has open would be dropped by the driver. */
	if (port && !console_of(d)->port[port].open)
		return;
	for (unsigned n = 0; n < TURN && vm_port_typed(d->vm, port, buf, 0); n++) {
		struct virtq_chain c;
		size_t len;

		if (!virtio_pop(d, queue, &c))
			break;
		len = c.in_len ? vm_port_typed(d->vm, port, buf, MIN(c.in_len, sizeof(buf))) : 0;
		virtq_write(d->vm, &c, 0, buf, len);
		virtio_push(d, queue, &c, (u32)len);
		any = true;
	}
	if (any && virtio_queue(d, queue))
		virtio_signal(d, queue);
	if (any && vm_port_typed(d->vm, port, buf, 0))
		virtio_turn(d, 0);
}

static void console_kick(struct vdev *d, unsigned queue)
{
	bool control = queue == CONTROL_RX || queue == CONTROL_TX;
	unsigned port = queue < QUEUES ? 0 : queue / 2 - 1;

	if (port >= vm_nr_ports(d->vm)) /* a queue that is not offered, enabled by a state from elsewhere */
		return;
	if (queue == CONTROL_TX)
		take_control(d);
	else if (control)
		say(d);
	else if (queue % 2)
		take_output(d, port);
	else
		give_input(d, port);
	if (queue == CONTROL_TX) /* a port may be open now */
		virtio_turn(d, 0);
}

static unsigned console_queues(const struct vdev *d)
{
	return vm_nr_ports(d->vm) > 1 ? QUEUES + 2 * (vm_nr_ports(d->vm) - 1) : 2;
}

static void console_timer(struct vdev *d, unsigned idx)
{
	(void)idx;
	for (unsigned i = 0; i < vm_nr_ports(d->vm); i++) {
		give_input(d, i);
		take_output(d, i);
	}
	say(d);
}

/* --- the monitor's side --- */

static void console_feed_port(struct vdev *d, unsigned port)
{
	give_input(d, port);
}

static void console_resize(struct vdev *d, u16 cols, u16 rows)
{
	struct console *s = console_of(d);

	s->cols = cols;
	s->rows = rows;
	if (s->port[0].ready)
		s->port[0].send |= 1u << RESIZE;
	virtio_config_changed(d);
	say(d);
}

static const struct port_ops console_ops = {.feed = console_feed_port, .resize = console_resize};

/* --- the device --- */

static int console_init(struct vdev *d)
{
	*vm_port_device(d->vm) = (struct port_device){.d = d, .ops = &console_ops};
	console_of(d)->cols = 80;
	console_of(d)->rows = 25;
	return 0;
}

static void console_destroy(struct vdev *d)
{
	*vm_port_device(d->vm) = (struct port_device){0};
}

static void console_reset(struct vdev *d)
{
	struct console *s = console_of(d);

	memset(s->done, 0, sizeof(s->done));
	memset(s->port, 0, sizeof(s->port));
	vdev_timer_stop(d, 0);
}

static bool console_queue_reset(struct vdev *d, unsigned queue)
{
	for (unsigned i = 0; i < VM_MAX_PORTS; i++)
		if (rx_queue(i) + 1 == queue)
			console_of(d)->done[i] = 0;
	return false;
}

static void console_config(const struct vdev *d, u8 *bytes)
{
	const struct console *s = console_of(d);

	memcpy(bytes, &(struct console_config){.cols = s->cols, .rows = s->rows, .max_nr_ports = vm_nr_ports(d->vm)},
	       sizeof(struct console_config));
}

static void console_config_write(struct vdev *d, unsigned off, unsigned size, u32 val)
{
	u8 byte = (u8)val;

	(void)size;
	if (off == offsetof(struct console_config, emerg_wr))
		vm_port_write(d->vm, 0, &byte, 1);
}

static u64 console_features(const struct vdev *d)
{
	return CONSOLE_F_SIZE | CONSOLE_F_EMERG_WRITE | (vm_nr_ports(d->vm) > 1 ? CONSOLE_F_MULTIPORT : 0);
}

static unsigned console_units(const struct vm *vm)
{
	return vm_nr_ports(vm) != 0;
}

static const struct virtio_type console = {
	.config_size = sizeof(struct console_config), .queue_size = 64, .max_queues = VIRTIO_MAX_QUEUES, .nr_queues = console_queues,
	.features = console_features, .init = console_init, .destroy = console_destroy, .reset = console_reset,
	.config = console_config, .config_write = console_config_write, .kick = console_kick,
	.queue_reset = console_queue_reset, .timer = console_timer,
};
#define console_ID 3
VIRTIO_DEVICE(console, "virtio-console", 1, struct console, 0x078000, VIRTIO_MAX_QUEUES + 1, console_units);
