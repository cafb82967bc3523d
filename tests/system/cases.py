# SPDX-License-Identifier: BSD-2-Clause
"""All system tests by name."""
from importlib import import_module

FILES = [
    "onhost",
    "boots",
    "console",
    "cpu",
    "debug",
    "ends",
    "kernels",
    "lifecycle",
    "many",
    "memory",
    "monitor",
    "bad_input",
    "firmware",
    "smp",
    "torture",
    "pc",
    "pci",
    "cpus",
    "pv",
    "scheduler",
    "tsc",
    "hostile",
    "hostile_virtio",
    "virtio",
    "transports",
    "server",
    "hostdisk",
    "hotplug",
    "scsi",
    "net",
    "uplink",
    "balloon",
    "pvconsole",
    "vsock",
]


def all_cases():
    return [case for name in FILES for case in import_module(name).CASES]
