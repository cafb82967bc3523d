# SPDX-License-Identifier: BSD-2-Clause
"""All system tests by name."""
from importlib import import_module

FILES = [
    "onhost",
    "boots",
    "cpu",
    "ends",
    "kernels",
    "lifecycle",
    "many",
    "bad_input",
    "firmware",
    "smp",
    "torture",
    "pc",
    "pv",
    "scheduler",
    "tsc",
    "hostile",
]


def all_cases():
    return [case for name in FILES for case in import_module(name).CASES]
