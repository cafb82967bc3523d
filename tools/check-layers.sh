#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Proves who may include whom from the #include lines, and that no vendor's word leaves its folder.
#   tools/check-layers.sh [DIR]         check the tree at DIR (default: the current directory)
#   tools/check-layers.sh --self-test   check that each rule catches a bad sample
set -eu
self=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)/$(basename -- "$0")

check() { # DIR: prints each breach, fails if there is one
	cd "$1"
	dirs=
	for d in lib arch vmm drivers boot; do
		[ ! -d "$d" ] || dirs="$dirs $d"
	done
	[ -n "$dirs" ] || { echo "check-layers: no source in $1"; return 1; }
	# shellcheck disable=SC2086
	find $dirs -name '*.[ch]' -o -name '*.asm' | LC_ALL=C sort | xargs awk '
	function bad(why) {
		printf "%s:%d: %s\n", FILENAME, FNR, why
		breaches++
	}
	# May a file of this room include inc? Paths are from the root of the tree.
	function allowed(inc) {
		if (room == "lib")
			return inc ~ /^lib\//
		if (room == "arch")
			return inc ~ /^(arch|lib)\// || inc == "boot/boot_info.h"
		if (room == "boot")
			return inc ~ /^(boot|lib)\//
		if (inc ~ /^arch\/x86_64\/(vmx|svm)\//)
			return 0
		if (room == "vmm")
			return inc ~ /^(vmm|lib)\// || inc ~ /^arch\/x86_64\/[^\/]*\.h$/ || inc == "boot/boot_info.h"
		return inc ~ /^(drivers|vmm|lib|arch)\// || inc == "boot/boot_info.h"
	}
	FNR == 1 {
		split(FILENAME, part, "/")
		room = part[1]
		vendor = FILENAME ~ /^arch\/x86_64\/(vmx|svm)\//
		comment = 0
	}
	/^[ \t]*[#%][ \t]*include[ \t]*"/ {
		inc = $0
		sub(/^[^"]*"/, "", inc)
		sub(/".*/, "", inc)
		if (inc !~ /\// )
			bad("\"" inc "\" is not named by its path from the root of the tree")
		else if (!allowed(inc))
			bad(room "/ may not include \"" inc "\"")
		else if (inc ~ /^arch\/x86_64\/(vmx|svm)\// && !vendor)
			bad("only its own folder may include \"" inc "\"")
		else if (FILENAME ~ /vmx\// && inc ~ /x86_64\/svm\// || FILENAME ~ /svm\// && inc ~ /x86_64\/vmx\//)
			bad("one backend may not include the other: \"" inc "\"")
		else if (FILENAME ~ /^vmm\/platform\/.*\.c$/ && inc ~ /^vmm\/platform\/.*_private\.h$/) {
			# NAME_private.h belongs to NAME*.c alone.
			own = inc
			sub(/_private\.h$/, "", own)
			if (index(FILENAME, own) != 1)
				bad("another device'"'"'s private header: \"" inc "\"")
		}
		next
	}
	# Names in code, not in comments: prose may say what the hardware does.
	!vendor {
		line = $0
		if (comment) {
			if (line !~ /\*\//)
				next
			sub(/^.*\*\//, "", line)
			comment = 0
		}
		gsub(/\/\*([^*]|\*+[^*\/])*\*+\//, " ", line)
		if (FILENAME ~ /\.asm$/)
			sub(/;.*/, "", line)
		sub(/\/\/.*/, "", line)
		if (line ~ /\/\*/) {
			sub(/\/\*.*/, "", line)
			comment = 1
		}
		gsub(/"([^"\\]|\\.)*"/, "", line)
		# An MSR is the processor'"'"'s, whatever the manual calls it.
		gsub(/MSR_[A-Z0-9_]+/, "", line)
		if (tolower(line) ~ /vmcs|vmcb/)
			bad("a VMCS or VMCB name outside arch/x86_64/vmx and svm")
	}
	END { exit breaches > 0 }'
}

self_test() {
	tmp=$(mktemp -d)
	trap 'rm -rf "$tmp"' EXIT
	n=0
	try() { # EXPECTED(0 good, 1 bad) PATH LINE
		n=$((n + 1))
		rm -rf "$tmp/tree"
		mkdir -p "$tmp/tree/$(dirname "$2")"
		printf '%s\n' "$3" >"$tmp/tree/$2"
		got=0
		"$self" "$tmp/tree" >"$tmp/out" || got=1
		if [ "$got" != "$1" ]; then
			echo "check-layers: self-test failed: $2 with '$3' gave $got, not $1"
			cat "$tmp/out"
			exit 1
		fi
	}
	try 0 lib/a.c '#include "lib/types.h"'
	try 0 lib/a.c '#include <stb/stb_sprintf.h>'
	try 1 lib/a.c '#include "arch/x86_64/asm.h"'
	try 1 lib/a.c '#include "types.h"'
	try 0 arch/x86_64/a.c '#include "boot/boot_info.h"'
	try 1 arch/x86_64/a.c '#include "boot/boot.h"'
	try 1 arch/x86_64/a.c '#include "vmm/gmem.h"'
	try 1 arch/x86_64/a.c '# include "arch/x86_64/vmx/vmx.h"'
	try 1 arch/x86_64/a.asm '%include "arch/x86_64/vmx/vmx.inc"'
	try 0 arch/x86_64/vmx/a.c '#include "arch/x86_64/vmx/vmx.h"'
	try 1 arch/x86_64/vmx/a.c '#include "arch/x86_64/svm/svm.h"'
	try 1 arch/x86_64/svm/a.c '#include "vmm/irq.h"'
	try 0 vmm/a.c '#include "arch/x86_64/hv.h"'
	try 1 vmm/a.c '#include "arch/x86_64/svm/svm.h"'
	try 1 vmm/a.c '#include "drivers/virtio/ring.h"'
	try 1 vmm/a.c '#include "boot/boot.h"'
	try 0 vmm/platform/a.c '#include "vmm/platform/board.h"'
	try 0 vmm/platform/pci_cfg.c '#include "vmm/platform/pci_private.h"'
	try 1 vmm/platform/a.c '#include "vmm/platform/pci_private.h"'
	try 0 drivers/virtio/a.c '#include "vmm/gmem.h"'
	try 1 drivers/virtio/a.c '#include "arch/x86_64/vmx/vmx.h"'
	try 0 boot/a.c '#include "lib/types.h"'
	try 1 boot/a.c '#include "arch/x86_64/asm.h"'
	try 1 vmm/a.c 'int x = read_Vmcs(3);'
	try 1 arch/x86_64/a.c 'struct vmcb *b; /* vmcb */'
	try 0 vmm/a.c '/* the VMCS is not ours */ log_err("VMCB");'
	try 0 arch/x86_64/x86.h '#define MSR_VMX_VMCS_ENUM 0x48a'
	try 1 arch/x86_64/x86.h '#define VMCS_ENUM 0x48a'
	try 0 arch/x86_64/svm/a.c 'struct vmcb *b;'
	echo "check-layers: self-test: $n samples judged rightly"
}

case "${1:-}" in
--self-test) self_test ;;
*) check "${1:-.}" && echo "check-layers: ok" ;;
esac
