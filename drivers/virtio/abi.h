/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What virtio 1.2 fixes between a device and its driver: numbers and layouts, by its section. The devices that guests see
 * are on one side of them (drivers/virtio/), the drivers of the machine's own devices on the other (drivers/host/).
 */
#pragma once
#include "lib/types.h"

/* 2.1 */
enum { VIRTIO_ACKNOWLEDGE = 1, VIRTIO_DRIVER = 2, VIRTIO_DRIVER_OK = 4, VIRTIO_FEATURES_OK = 8,
       VIRTIO_NEEDS_RESET = 64, VIRTIO_FAILED = 128 };

/* 5 */
#define VIRTIO_ID_NET 1u
#define VIRTIO_ID_BLK 2u

/* 6 */
#define VIRTIO_F_ANY_LAYOUT	 BIT(27) /* legacy */
#define VIRTIO_F_INDIRECT_DESC	 BIT(28)
#define VIRTIO_F_EVENT_IDX	 BIT(29)
#define VIRTIO_F_VERSION_1	 BIT(32)
#define VIRTIO_F_ACCESS_PLATFORM BIT(33)
#define VIRTIO_F_RING_PACKED	 BIT(34)
#define VIRTIO_F_RING_RESET	 BIT(40)

/* --- split rings, 2.7 --- */

struct virtq_desc {
	u64 addr;
	u32 len;
	u16 flags, next;
};
struct virtq_used_elem {
	u32 id, len;
};
static_assert(sizeof(struct virtq_desc) == 16 && sizeof(struct virtq_used_elem) == 8, "2.7.5, 2.7.8");
enum { DESC_NEXT = BIT(0), DESC_WRITE = BIT(1), DESC_INDIRECT = BIT(2) };
enum { VIRTQ_NO_EVENT = 1 }; /* avail.flags, used.flags */

/* --- PCI, 4.1 --- */

#define VIRTIO_PCI_VENDOR	0x1af4u
#define VIRTIO_PCI_TRANSITIONAL 0x1000u /* net, blk...: 4.1.2.1 */
#define VIRTIO_PCI_MODERN	0x1040u /* and the device's number */
#define VIRTIO_NO_VECTOR	0xffffu

/* 4.1.4 */
enum { VIRTIO_CAP_COMMON = 1, VIRTIO_CAP_NOTIFY, VIRTIO_CAP_ISR, VIRTIO_CAP_DEVICE, VIRTIO_CAP_PCI_CFG };
struct virtio_pci_cap {
	u8 id, next, len, type, bar, more[3];
	u32 offset, length;
	union {
		u32 multiplier; /* of VIRTIO_CAP_NOTIFY alone */
		u32 data;	/* of VIRTIO_CAP_PCI_CFG */
	};
};
static_assert(sizeof(struct virtio_pci_cap) == 20, "4.1.4, 4.1.4.4, 4.1.4.9");

/* 4.1.4.3 */
struct virtio_pci_common {
	u32 feature_select, feature, driver_feature_select, driver_feature;
	u16 config_vector, num_queues;
	u8 status, generation;
	u16 queue_select, queue_size, queue_vector, queue_enable, queue_notify_off;
	u64 desc, driver, device;
	u16 queue_notify_data, queue_reset; /* the last 4 bytes only where the features have a use for them */
};
#define VIRTIO_PCI_COMMON_SIZE 60u
static_assert(offsetof(struct virtio_pci_common, queue_reset) == 58, "4.1.4.3");

/* --- block device, 5.2 --- */

#define BLK_F_SIZE_MAX	   BIT(1)
#define BLK_F_SEG_MAX	   BIT(2)
#define BLK_F_RO	   BIT(5)
#define BLK_F_BLK_SIZE	   BIT(6)
#define BLK_F_FLUSH	   BIT(9)
#define BLK_F_TOPOLOGY	   BIT(10)
#define BLK_F_MQ	   BIT(12)
#define BLK_F_DISCARD	   BIT(13)
#define BLK_F_WRITE_ZEROES BIT(14)

/* 5.2.4 */
struct virtio_blk_config {
	u64 capacity; /* in units of 512 bytes, as all sectors here */
	u32 size_max, seg_max;
	u16 cylinders;
	u8 heads, sectors;
	u32 blk_size;
	u8 physical_exp, alignment;
	u16 min_io;
	u32 opt_io;
	u8 writeback, unused;
	u16 num_queues;
	u32 max_discard_sectors, max_discard_seg, discard_alignment;
	u32 max_zeroes_sectors, max_zeroes_seg;
	u8 zeroes_may_unmap, pad[3];
} __packed;
static_assert(sizeof(struct virtio_blk_config) == 60, "5.2.4");

/* 5.2.6 */
enum { BLK_IN = 0, BLK_OUT = 1, BLK_FLUSH = 4, BLK_GET_ID = 8, BLK_DISCARD = 11, BLK_WRITE_ZEROES = 13 };
enum { BLK_OK, BLK_IOERR, BLK_UNSUPP };
#define BLK_ID_SIZE 20u
struct virtio_blk_header {
	u32 type, reserved;
	u64 sector;
};
struct virtio_blk_range {
	u64 sector;
	u32 sectors, flags; /* 0: unmap */
};
static_assert(sizeof(struct virtio_blk_header) == 16 && sizeof(struct virtio_blk_range) == 16, "5.2.6");

/* --- network device, 5.1.3; its frames' header is drivers/net/net.h's --- */

#define NET_F_CSUM	     BIT(0)
#define NET_F_GUEST_CSUM     BIT(1)
#define NET_F_GUEST_OFFLOADS BIT(2)
#define NET_F_MTU	     BIT(3)
#define NET_F_MAC	     BIT(5)
#define NET_F_GUEST_TSO4     BIT(7)
#define NET_F_GUEST_TSO6     BIT(8)
#define NET_F_GUEST_ECN	     BIT(9)
#define NET_F_HOST_TSO4	     BIT(11)
#define NET_F_HOST_TSO6	     BIT(12)
#define NET_F_HOST_ECN	     BIT(13)
#define NET_F_MRG_RXBUF	     BIT(15)
#define NET_F_STATUS	     BIT(16)
#define NET_F_CTRL_VQ	     BIT(17)
#define NET_F_CTRL_RX	     BIT(18)
#define NET_F_CTRL_VLAN	     BIT(19)
#define NET_F_CTRL_RX_EXTRA  BIT(20)
#define NET_F_ANNOUNCE	     BIT(21)
#define NET_F_MQ	     BIT(22)
#define NET_F_CTRL_MAC	     BIT(23)

/* --- SCSI host, 5.6 --- */

/* 5.6.4 */
struct virtio_scsi_config {
	u32 num_queues, seg_max, max_sectors, cmd_per_lun, event_info_size, sense_size, cdb_size;
	u16 max_channel, max_target;
	u32 max_lun;
};
static_assert(sizeof(struct virtio_scsi_config) == 36, "5.6.4");
#define SCSI_SENSE_SIZE 96u /* of reset, as is the next */
#define SCSI_CDB_SIZE	32u

/* 5.6.6.1: behind it cdb_size bytes of CDB; behind the answer sense_size bytes of sense data */
struct virtio_scsi_request {
	u8 lun[8];
	u64 id;
	u8 task_attr, prio, crn;
} __packed;
struct virtio_scsi_response {
	u32 sense_len, residual;
	u16 status_qualifier;
	u8 status, response;
};
static_assert(sizeof(struct virtio_scsi_request) == 19 && sizeof(struct virtio_scsi_response) == 12, "5.6.6.1");
enum { SCSI_OK, SCSI_OVERRUN, SCSI_ABORTED, SCSI_BAD_TARGET, SCSI_FAILURE = 9,
       SCSI_SUCCEEDED, SCSI_REJECTED, SCSI_INCORRECT_LUN };

/* 5.6.6.2 */
enum { SCSI_TMF, SCSI_AN_QUERY, SCSI_AN_SUBSCRIBE };
enum { TMF_ABORT_TASK, TMF_ABORT_TASK_SET, TMF_CLEAR_ACA, TMF_CLEAR_TASK_SET, TMF_I_T_NEXUS_RESET,
       TMF_LOGICAL_UNIT_RESET, TMF_QUERY_TASK, TMF_QUERY_TASK_SET };
struct virtio_scsi_tmf {
	u32 type, subtype;
	u8 lun[8];
	u64 id;
};
struct virtio_scsi_an {
	u32 type;
	u8 lun[8];
	u32 events;
};
struct virtio_scsi_an_answer {
	u32 events;
	u8 response;
} __packed;
static_assert(sizeof(struct virtio_scsi_tmf) == 24 && sizeof(struct virtio_scsi_an) == 16, "5.6.6.2");
static_assert(sizeof(struct virtio_scsi_an_answer) == 5, "5.6.6.2");
#define SCSI_AN_MEDIA_CHANGE 16u

/* 5.6.6.3 */
struct virtio_scsi_event {
	u32 event;
	u8 lun[8];
	u32 reason;
};
static_assert(sizeof(struct virtio_scsi_event) == 16, "5.6.6.3");
#define SCSI_EVENT_ASYNC_NOTIFY 2u

/* --- socket device, 5.10 --- */

#define VSOCK_F_STREAM BIT(0)

#define VSOCK_HOST 2u /* 5.10.4: 0, 1 and all ones are nobody's either */

/* 5.10.6: what each packet begins with; the upper halves of the CIDs are reserved */
struct vsock_hdr {
	u64 src_cid, dst_cid;
	u32 src_port, dst_port, len;
	u16 type, op;
	u32 flags, buf_alloc, fwd_cnt;
} __packed;
static_assert(sizeof(struct vsock_hdr) == 44, "5.10.6");
enum { VSOCK_REQUEST = 1, VSOCK_RESPONSE, VSOCK_RST, VSOCK_SHUTDOWN, VSOCK_RW, VSOCK_CREDIT_UPDATE, VSOCK_CREDIT_REQUEST };
enum { VSOCK_STREAM = 1 };		      /* type */
enum { VSOCK_NO_RECEIVE = 1, VSOCK_NO_SEND = 2 }; /* flags of VSOCK_SHUTDOWN: what its sender will no more do */
enum { VSOCK_EVENT_RESET = 0 };		      /* 5.10.6.7: VIRTIO_VSOCK_EVENT_TRANSPORT_RESET */
