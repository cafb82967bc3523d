# SPDX-License-Identifier: BSD-2-Clause
# nm's output -> the symbols below .symtab_dalang, sorted by nm: what the second link must not move.
$3 == "__symbols_start" {
	limit = $1
}
$2 ~ /^[tTrRdDbB]$/ {
	line[n++] = $0
	addr[n - 1] = $1
}
END {
	for (i = 0; i < n; i++)
		if (addr[i] "" < limit "")
			print line[i]
}
