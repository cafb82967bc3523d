# SPDX-License-Identifier: BSD-2-Clause
# nm -n's text symbols -> nasm source of section .symtab_dalang (lib/symbols.c reads it).
# Addresses are taken as the last eight hex digits: the image is linked at the start of the last
# 2 GiB, so the distance from it is the low 31 bits, and awk's numbers stay exact.
BEGIN {
	print "section .symtab_dalang progbits alloc noexec nowrite align=8"
	n = 0
}
$2 ~ /^[tT]$/ && $3 !~ /\./ && $3 !~ /^__text_/ && $3 != "__image_start" {
	low = substr($1, length($1) - 7)
	if (low == last)
		next
	last = low
	addr[n] = low
	name[n++] = $3
}
END {
	print "table:"
	print "\tdd " n ", 0"
	for (i = 0; i < n; i++)
		print "\tdd 0x" addr[i] " - 0x80000000, n" i " - table"
	for (i = 0; i < n; i++)
		print "n" i ": db \"" name[i] "\", 0"
	print "section .note.GNU-stack noalloc noexec nowrite progbits"
}
