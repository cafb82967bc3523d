/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: vmm/platform/i8042.c vmm/platform/ps2_kbd.c vmm/platform/ps2_mouse.c vmm/platform/input.c tests/unit/fake_vdev.c */
#include "tests/unit/fake_vdev.h"

enum { DATA = 0x60, CMD = 0x64, OBF = 1, AUX = 0x20 };

static struct vm vm;
static struct vdev *dev;

static int setup(void **state)
{
	(void)state;
	fake_vm_init(&vm);
	dev = fake_attach(&vm, &i8042_vdev);
	return 0;
}
static int teardown(void **state)
{
	(void)state;
	fake_vm_free(&vm);
	return 0;
}

static u8 st(void)
{
	return (u8)pio_in(&vm, CMD, 1);
}
static void cmd(u8 c)
{
	pio_out(&vm, CMD, 1, c);
}
static void data(u8 b)
{
	pio_out(&vm, DATA, 1, b);
}
static void ctr(u8 val)
{
	cmd(0x60);
	data(val);
}
static void mouse(u8 b)
{
	cmd(0xd4);
	data(b);
}

/* The next byte must be there, from the keyboard or from the mouse, and be this one. */
static void is(u8 aux, u8 want)
{
	assert_int_equal(st() & (OBF | AUX), OBF | aux);
	assert_true(vm.level[aux ? 12 : 1]);
	assert_int_equal(pio_in(&vm, DATA, 1), want);
}
static void said(const char *bytes, size_t n, u8 aux)
{
	for (size_t i = 0; i < n; i++)
		is(aux, (u8)bytes[i]);
	assert_int_equal(st() & OBF, 0);
	assert_false(vm.level[1] || vm.level[12]);
}
#define KBD(s)	 said(s, sizeof(s) - 1, 0)
#define MOUSE(s) said(s, sizeof(s) - 1, AUX)

/* A reply of the controller. */
static u8 ask(u8 c)
{
	cmd(c);
	assert_int_equal(st() & (OBF | AUX), OBF);
	return (u8)pio_in(&vm, DATA, 1);
}

static void controller(void **state)
{
	(void)state;
	assert_int_equal(st(), 0x14); /* not locked, passed its test, nothing to read */
	assert_int_equal(pio_in(&vm, DATA, 1), 0);
	assert_int_equal(ask(0x20), 0x65);
	assert_int_equal(ask(0xaa), 0x55);
	assert_int_equal(ask(0xab), 0);
	assert_int_equal(ask(0xa9), 0);
	assert_int_equal(ask(0xa4), 0xf1);
	assert_int_equal(ask(0xc0), 0x80);
	assert_int_equal(ask(0xd0), 0xcf);
	cmd(0xa8);
	assert_int_equal(ask(0x20), 0x45);
	cmd(0xa7);
	cmd(0xad);
	assert_int_equal(ask(0x20), 0x75);
	cmd(0xae);
	assert_int_equal(ask(0x20), 0x65);
	ctr(0x00);
	assert_int_equal(ask(0x20), 0x00);
	assert_int_equal(st() & 4, 0);
	assert_int_equal(ask(0xaa), 0x55);
	assert_int_equal(st() & 4, 4);
	cmd(0x65);
	assert_int_equal(st() & 8, 8);
	data(0x77);
	assert_int_equal(st() & 8, 0);
	assert_int_equal(ask(0x25), 0x77);
	assert_int_equal(ask(0x3f), 0);
	assert_int_equal(vm.nr_ends, 0);
	assert_int_equal(st() & OBF, 0);
}

/* What Linux's i8042_check_aux() and i8042_check_mux() ask for. */
static void aux_found(void **state)
{
	(void)state;
	cmd(0xd3);
	data(0x5a);
	assert_int_equal(st() & (OBF | AUX), OBF | AUX);
	assert_int_equal(pio_in(&vm, DATA, 1), 0x5a);
	assert_int_equal(vm.rises[12], 0);
	ctr(0x47);
	cmd(0xd3);
	data(0xa5);
	assert_int_equal(vm.rises[12], 1);
	MOUSE("\xa5");
	cmd(0xd3); /* no multiplexer: the third byte comes back as it was */
	data(0xa4);
	MOUSE("\xa4");
	cmd(0xd2);
	data(0x33);
	assert_int_equal(vm.rises[1], 1);
	KBD("\x33");
}

static void resets(void **state)
{
	(void)state;
	data(0xfe); /* to the keyboard: resend */
	cmd(0xff);
	cmd(0xf1);
	cmd(0xd1);
	data(0x01);
	assert_int_equal(vm.nr_ends, 0);
	cmd(0xfe);
	assert_int_equal(vm.nr_ends, 1);
	assert_int_equal(vm.end, VM_END_REBOOT);
	assert_int_equal(vm.end_value, RESET_BY_I8042);
	cmd(0xf0);
	assert_int_equal(vm.nr_ends, 2);
	cmd(0xd1);
	data(0x02);
	assert_int_equal(vm.nr_ends, 3);
}

static void keyboard_commands(void **state)
{
	(void)state;
	ctr(0x05); /* no translation */
	data(0xff);
	KBD("\xfa\xaa");
	data(0xf2);
	KBD("\xfa\xab\x83");
	data(0xfe);
	KBD("\x83");
	data(0xed);
	KBD("\xfa");
	data(0x07);
	KBD("\xfa");
	data(0xed);
	KBD("\xfa");
	data(0xf2); /* a command instead of the argument */
	KBD("\xfa\xab\x83");
	data(0xee);
	KBD("\xee");
	data(0xf3);
	KBD("\xfa");
	data(0x7f);
	KBD("\xfa");
	data(0xf0);
	KBD("\xfa");
	data(0);
	KBD("\xfa\x02");
	data(0xf0);
	KBD("\xfa");
	data(3);
	KBD("\xfe"); /* there is no set 3 */
	data(0x12);
	KBD("\xfe");
	data(0xf5);
	KBD("\xfa");
	assert_false(i8042_key(&vm, 0x1e, true));
	data(0xf4);
	KBD("\xfa");
	assert_true(i8042_key(&vm, 0x1e, true));
	KBD("\x1c");
	data(0xf2);
	data(0xf6); /* the first reply is not wanted any more, but for the byte that is out already */
	KBD("\xfa\xfa");
	ctr(0x45); /* translated: what Linux takes for a keyboard behind a controller that translates */
	data(0xf2);
	KBD("\xfa\xab\x41");
}

static void keys(void **state)
{
	(void)state;
	assert_true(i8042_key(&vm, 0x1e, true));
	assert_int_equal(vm.rises[1], 1);
	KBD("\x1e");
	assert_true(i8042_key(&vm, 0x1e, false));
	KBD("\x9e");
	i8042_key(&vm, 0xd3, true);
	i8042_key(&vm, 0xd3, false);
	KBD("\xe0\x53\xe0\xd3");
	assert_int_equal(vm.rises[1], 6); /* an edge for each byte */
	i8042_key(&vm, 0x41, true);
	i8042_key(&vm, 0x41, false);
	KBD("\x41\xc1");
	ctr(0x05);
	i8042_key(&vm, 0x41, false);
	KBD("\xf0\x83");
	i8042_key(&vm, 0xd3, false);
	KBD("\xe0\xf0\x71");
	data(0xf0);
	data(1);
	KBD("\xfa\xfa");
	i8042_key(&vm, 0xd3, false);
	KBD("\xe0\xd3");
	ctr(0x44); /* no interrupt */
	i8042_key(&vm, 0x1e, true);
	assert_false(vm.level[1]);
	assert_int_equal(st() & OBF, OBF);
	ctr(0x45); /* but now */
	assert_true(vm.level[1]);
	pio_in(&vm, DATA, 1);
	cmd(0xad); /* the keyboard's clock is held */
	i8042_key(&vm, 0x1e, true);
	assert_int_equal(st() & OBF, 0);
	cmd(0xae);
	assert_int_equal(st() & OBF, OBF);
}

/* Every key there and back: set 2 translated is set 1. */
static void all_keys(void **state)
{
	(void)state;
	for (unsigned k = 1; k < 0x80; k++) {
		char down = (char)k, up = (char)(k | 0x80);

		assert_true(i8042_key(&vm, (u8)k, true));
		said(&down, 1, 0);
		assert_true(i8042_key(&vm, (u8)k, false));
		said(&up, 1, 0);
	}
	assert_false(i8042_key(&vm, 0, true));
	assert_false(i8042_key(&vm, 0x80, true));
}

static void queue_bound(void **state)
{
	unsigned n = 0;

	(void)state;
	while (i8042_key(&vm, 0x1e, true))
		assert_true(++n < 100);
	assert_int_equal(n, 16); /* Linux throws 16 away before it gives up */
	data(0xf2); /* a reply goes before them */
	is(0, 0x1e);
	is(0, 0xfa);
	is(0, 0xab);
	is(0, 0x41);
	for (n = 0; st() & OBF; n++)
		assert_int_equal(pio_in(&vm, DATA, 1), 0x1e);
	assert_int_equal(n, 15);
}

static void chords(void **state)
{
	(void)state;
	assert_null(i8042_sendkey(&vm, "ctrl-alt-delete"));
	KBD("\x1d\x38\xe0\x53\xe0\xd3\xb8\x9d");
	assert_null(i8042_sendkey(&vm, "a"));
	KBD("\x1e\x9e");
	assert_null(i8042_sendkey(&vm, "0x1f"));
	KBD("\x1f\x9f");
	assert_null(i8042_sendkey(&vm, "shift-bracket_right"));
	KBD("\x2a\x1b\x9b\xaa");
	assert_null(i8042_sendkey(&vm, "0"));
	KBD("\x0b\x8b");
	assert_non_null(i8042_sendkey(&vm, ""));
	assert_non_null(i8042_sendkey(&vm, "-"));
	assert_non_null(i8042_sendkey(&vm, "ctrl-"));
	assert_non_null(i8042_sendkey(&vm, "hyper-a"));
	assert_non_null(i8042_sendkey(&vm, "0x"));
	assert_non_null(i8042_sendkey(&vm, "0x100"));
	assert_non_null(i8042_sendkey(&vm, "0x1g"));
	assert_non_null(i8042_sendkey(&vm, "a-b-c-d-e"));
	assert_int_equal(st() & OBF, 0);
	/* All of a chord or nothing. */
	for (int i = 0; i < 10; i++)
		i8042_key(&vm, 0x1e, true);
	assert_non_null(i8042_sendkey(&vm, "ctrl-alt-delete"));
	for (int i = 0; i < 10; i++)
		is(0, 0x1e);
	assert_int_equal(st() & OBF, 0);
}

static void sendmouse(void **state)
{
	static const char *const bad[] = {"", "1", "1,", ",1", "1,2,3,4,5", "1,2,3,32", "1,2,3,-1", "x,1", "1 2", "1,2,", "-,1",
					  "12345,1", "1,-"};

	(void)state;
	assert_non_null(i8042_sendmouse(&vm, "1,1")); /* it is off */
	ctr(0x47);
	mouse(0xf4);
	MOUSE("\xfa");
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
		assert_non_null(i8042_sendmouse(&vm, bad[i]));
	assert_int_equal(st() & OBF, 0);
	assert_null(i8042_sendmouse(&vm, "5,-3"));
	MOUSE("\x28\x05\xfd");
	assert_null(i8042_sendmouse(&vm, "0,0,0,5"));
	MOUSE("\x0d\x00\x00");
}

static void mouse_commands(void **state)
{
	(void)state;
	ctr(0x47);
	mouse(0xff);
	MOUSE("\xfa\xaa\x00");
	mouse(0xf2);
	MOUSE("\xfa\x00");
	mouse(0xe9);
	MOUSE("\xfa\x00\x02\x64");
	mouse(0xe8);
	MOUSE("\xfa");
	mouse(3);
	MOUSE("\xfa");
	mouse(0xf3);
	MOUSE("\xfa");
	mouse(200);
	MOUSE("\xfa");
	mouse(0xe7);
	MOUSE("\xfa");
	mouse(0xf4);
	MOUSE("\xfa");
	i8042_mouse(&vm, 0, 0, 0, 1);
	MOUSE("\x09\x00\x00");
	mouse(0xe9);
	MOUSE("\xfa\x34\x03\xc8");
	mouse(0xfe);
	MOUSE("\xc8");
	mouse(0xe1);
	MOUSE("\xfe"); /* no TrackPoint */
	mouse(0xee);
	MOUSE("\xfa");
	mouse(0xe9);
	MOUSE("\xe9"); /* wrapped */
	mouse(0xec);
	MOUSE("\xfa");
	mouse(0xf6);
	MOUSE("\xfa");
	mouse(0xe9);
	MOUSE("\xfa\x04\x02\x64");
	assert_int_equal(ask(0x20) & 0x20, 0); /* writing to it switched it on */
}

static void rates(u8 a, u8 b, u8 c)
{
	const u8 r[] = {a, b, c};

	for (int i = 0; i < 3; i++) {
		mouse(0xf3);
		MOUSE("\xfa");
		mouse(r[i]);
		MOUSE("\xfa");
	}
	mouse(0xf2);
}

static void wheel(void **state)
{
	(void)state;
	ctr(0x47);
	rates(200, 80, 100);
	MOUSE("\xfa\x00");
	rates(200, 100, 80);
	MOUSE("\xfa\x03");
	mouse(0xf4);
	MOUSE("\xfa");
	assert_true(i8042_mouse(&vm, 5, -3, -1, 2));
	MOUSE("\x2a\x05\xfd\xff");
	rates(200, 200, 80);
	MOUSE("\xfa\x04");
	assert_true(i8042_mouse(&vm, 0, 0, 1, 0x1c));
	MOUSE("\x0c\x00\x00\x31");
	mouse(0xff);
	MOUSE("\xfa\xaa\x00");
	mouse(0xf2);
	MOUSE("\xfa\x00");
}

static void motion(void **state)
{
	(void)state;
	ctr(0x47);
	assert_false(i8042_mouse(&vm, 1, 1, 0, 0)); /* it does not report yet */
	mouse(0xf4);
	MOUSE("\xfa");
	assert_true(i8042_mouse(&vm, 300, -300, 9, 0));
	MOUSE("\x28\xff\x01\x28\x2d\xd3");
	assert_true(i8042_mouse(&vm, 0, 0, 9, 0)); /* without a wheel that is nothing */
	assert_int_equal(st() & OBF, 0);
	mouse(0xe7); /* 2:1 */
	MOUSE("\xfa");
	i8042_mouse(&vm, 3, -5, 0, 0);
	MOUSE("\x28\x03\xf7");
	i8042_mouse(&vm, 10, 2, 0, 0);
	MOUSE("\x08\x14\x01");
	mouse(0xf0); /* remote: only when asked */
	MOUSE("\xfa");
	i8042_mouse(&vm, 7, 0, 0, 4);
	assert_int_equal(st() & OBF, 0);
	mouse(0xeb);
	MOUSE("\xfa\x0c\x07\x00");
	mouse(0xeb);
	MOUSE("\xfa\x0c\x00\x00");
	mouse(0xea);
	MOUSE("\xfa");
	i8042_mouse(&vm, 1 << 30, -(1 << 30), 0, 0);
	for (int i = 0; i < 4096 / 255 * 3; i++)
		assert_int_equal(st() & (OBF | AUX), OBF | AUX), pio_in(&vm, DATA, 1);
	MOUSE("\x28\x20\xe0");
}

/* The guest reads nothing: the queue is full, what moves meanwhile is told when it does. */
static void mouse_queue(void **state)
{
	int x = 0, n = 0;

	(void)state;
	ctr(0x47);
	mouse(0xf4);
	MOUSE("\xfa");
	for (int i = 0; i < 1000; i++)
		i8042_mouse(&vm, 1, 0, 0, i & 1);
	for (; st() & OBF; n++) {
		u8 b[3];

		for (int i = 0; i < 3; i++)
			b[i] = (u8)pio_in(&vm, DATA, 1);
		assert_int_equal(b[0] & 8, 8);
		x += b[1];
	}
	assert_int_equal(x, 1000);
	assert_in_range(n, 5, 12);
}

static void both(void **state)
{
	(void)state;
	ctr(0x47);
	mouse(0xf4);
	MOUSE("\xfa");
	i8042_mouse(&vm, 1, 0, 0, 0);
	i8042_key(&vm, 0x1e, true);
	is(AUX, 0x08); /* it was out already; then the keyboard goes first */
	is(0, 0x1e);
	is(AUX, 0x01);
	is(AUX, 0x00);
	i8042_mouse(&vm, 1, 0, 0, 0);
	assert_true(vm.level[12]);
	i8042_vdev.reset(dev);
	assert_false(vm.level[12]);
	assert_int_equal(st(), 0x14);
}

static void valid(void **state)
{
	u8 *s = dev->state;

	(void)state;
	assert_true(i8042_vdev.valid(s));
	/* Noise is either refused or harmless. */
	srand(3);
	for (int i = 0; i < 20000; i++) {
		for (unsigned k = 0; k < i8042_vdev.state_size; k++)
			s[k] = (u8)(rand() % 4 ? rand() % 16 : rand());
		if (!i8042_vdev.valid(s))
			continue;
		for (int k = 0; k < 40; k++) {
			pio_out(&vm, rand() & 1 ? DATA : CMD, 1, (u32)rand());
			pio_in(&vm, DATA, 1);
			i8042_mouse(&vm, rand() % 600 - 300, 1, 1, (u8)rand());
			i8042_key(&vm, (u8)rand(), rand() & 1);
			assert_true(i8042_vdev.valid(s));
		}
	}
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(controller), T(aux_found), T(resets), T(keyboard_commands), T(keys), T(all_keys), T(queue_bound), T(chords), T(sendmouse),
		T(mouse_commands), T(wheel), T(motion), T(mouse_queue), T(both), T(valid),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
