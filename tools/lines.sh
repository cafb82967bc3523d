#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Code lines (neither blank nor only comment) by room; the core's total against its limit.
# Fails when the core is over it.
set -eu
cd "$(dirname -- "$0")/.."
limit=25000

count() { # FILE...: code lines of C and nasm files
	[ $# -gt 0 ] || { echo 0; return; }
	awk '
	FNR == 1 { comment = 0 }
	{
		line = $0
		if (FILENAME ~ /\.asm$/)
			sub(/;.*/, "", line)
		if (comment) {
			if (line !~ /\*\//)
				next
			sub(/^.*\*\//, "", line)
			comment = 0
		}
		gsub(/"([^"\\]|\\.)*"/, "\"\"", line)
		gsub(/\/\*([^*]|\*+[^*\/])*\*+\//, "", line)
		sub(/\/\/.*/, "", line)
		if (line ~ /\/\*/) {
			sub(/\/\*.*/, "", line)
			comment = 1
		}
		if (line ~ /[^ \t]/)
			n++
	}
	END { print n + 0 }' "$@"
}

room() { # LABEL DIR [FIND ARGUMENTS...]: prints a row, sets $n
	label=$1 dir=$2
	shift 2
	n=0
	if [ -d "$dir" ]; then
		# shellcheck disable=SC2046 # no name in the tree has a blank
		n=$(count $(find "$dir" "$@" \( -name '*.c' -o -name '*.h' -o -name '*.asm' \) -print | LC_ALL=C sort))
	fi
	printf '%-28s %6d\n' "$label" "$n"
}

core=0
add() {
	room "$@"
	core=$((core + n))
}
add boot boot
add 'arch/x86_64 (common)' arch/x86_64 -path arch/x86_64/vmx -prune -o -path arch/x86_64/svm -prune -o
add arch/x86_64/vmx arch/x86_64/vmx
add arch/x86_64/svm arch/x86_64/svm
add 'vmm (common)' vmm -path vmm/platform -prune -o
add vmm/platform vmm/platform
add drivers drivers
add lib lib
printf '%-28s %6d of %d\n' 'core' "$core" "$limit"
room tests tests
room 'tools (C)' tools
[ "$core" -le "$limit" ] || { echo "lines: the core is over its limit"; exit 1; }
