#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Code lines (neither blank nor only comment) by room; the totals of the core, of what stands around it, and
# of the drivers against their limits. Fails when one is over its limit. Why there are three: docs/architecture.md.
# --update writes the table of docs/architecture.md anew; --check fails when a row of it is off by
# more than a tenth (and 20 lines).
set -eu
cd "$(dirname -- "$0")/.."
core_limit=25000
around_limit=10000
drivers_limit=12000
doc=docs/architecture.md

case ${1:-} in
'') ;;
--update)
	tools/lines.sh | awk -v doc="$doc" '
	{ n = $NF; if ($0 ~ / of /) n = $(NF - 2); sub(/ +[0-9]+( of [0-9]+)?$/, ""); row[NR] = "| " $0 " | " n " |" }
	END {
		while ((getline line <doc) > 0) {
			if (intable && line !~ /^\|/)
				intable = 0
			if (!intable)
				print line
			if (line == "| room | code lines |") {
				print "|---|---:|"
				for (i = 1; i <= NR; i++)
					print row[i]
				intable = 1
			}
		}
	}' >"$doc.new"
	mv "$doc.new" "$doc"
	exit
	;;
--check)
	tools/lines.sh | awk -v doc="$doc" '
	BEGIN { while ((getline line <doc) > 0) if (split(line, c, / *\| */) == 4) said[c[2]] = c[3] }
	{
		n = $NF; if ($0 ~ / of /) n = $(NF - 2)
		sub(/ +[0-9]+( of [0-9]+)?$/, "")
		off = said[$0] - n; if (off < 0) off = -off
		if (!($0 in said) || (off > n / 10 && off > 20)) {
			printf "lines: %s says \"%s\" for %s, which has %d; tools/lines.sh --update mends it\n", doc, said[$0], $0, n
			bad = 1
		}
	}
	END { exit bad || !NR }'
	exit
	;;
*)
	echo "lines: no such option: $1 (--update, --check)" >&2
	exit 64
	;;
esac

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

sum=0
add() {
	room "$@"
	sum=$((sum + n))
}
total() { # LABEL LIMIT: prints the sum so far and starts a new one
	printf '%-28s %6d of %d\n' "$1" "$sum" "$2"
	if [ "$sum" -gt "$2" ]; then
		echo "lines: the $1: over the limit" >&2
		over=1
	fi
	sum=0
}
over=0
add boot boot
add 'arch/x86_64 (common)' arch/x86_64 -path arch/x86_64/vmx -prune -o -path arch/x86_64/svm -prune -o
add arch/x86_64/vmx arch/x86_64/vmx
add arch/x86_64/svm arch/x86_64/svm
add vmm vmm '(' -path vmm/platform -o -path vmm/monitor -o -path vmm/gdb ')' -prune -o
add lib lib
total core "$core_limit"
add vmm/platform vmm/platform
add vmm/monitor vmm/monitor
add vmm/gdb vmm/gdb
total 'around it' "$around_limit"
add drivers/virtio drivers/virtio
add drivers/host drivers/host
add 'drivers (common), net' drivers -path drivers/virtio -prune -o -path drivers/host -prune -o
total 'all drivers' "$drivers_limit"
room tests tests
room 'tools (C)' tools
exit "$over"
