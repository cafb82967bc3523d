/* SPDX-License-Identifier: BSD-2-Clause */
/* What a driver that means well asks a device for, with vdrv.h: requests that are waited for, by the HPET's clock. */
#pragma once
#include "vdrv.h"

#define VIO_PATIENCE_NS 60000000000ull

/* The HPET's, which this lets count. */
u64 vio_now_ns(void);
/* One chain into a queue, and until it is back: its length. false: not within a minute. */
bool vio_ask(struct vdrv *d, unsigned queue, const struct vbuf *b, unsigned out, unsigned in, u32 *len);
/* Read (0) or write (1) 4 KiB of a disk: 0, or the device's answer: 1, 2; 255: it gave none, or not so many bytes. */
u8 vio_block(struct vdrv *d, u32 type, u64 sector, void *data);
/* What the tests' disks hold at byte `at`: content() of tests/system/hostile_virtio.py. */
u64 vio_file_word(u64 at);
/* Buffers for what comes to a card, in queue 0. One card in a guest does that. */
void vio_listen(struct vdrv *d);
/* A frame (its header of 12 bytes before it) from one card to the other that listens; a wire may lose it when others
 * flood it, then it is sent again. */
bool vio_frame(struct vdrv *from, struct vdrv *to, u8 *frame, u32 len);
/* Header, addresses and type (for experiments) of a frame from one to the other, or to all (NULL). */
void vio_address(struct vdrv *from, struct vdrv *to, u8 *frame);
