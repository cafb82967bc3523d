/* SPDX-License-Identifier: BSD-2-Clause */
/* Runs a fuzz target over the files of a directory, and over each one cut short: no libFuzzer
 * needed. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void run(const char *path)
{
	FILE *f = fopen(path, "rb");
	uint8_t *data, *copy;
	long size;

	if (!f || fseek(f, 0, SEEK_END) || (size = ftell(f)) < 0 || fseek(f, 0, SEEK_SET)) {
		perror(path);
		exit(1);
	}
	data = malloc((size_t)size + 1);
	if (!data || fread(data, 1, (size_t)size, f) != (size_t)size) {
		perror(path);
		exit(1);
	}
	fclose(f);
	/* Copies of the exact length, so that the sanitizer sees a read past the end. */
	for (long n = size; n >= 0; n -= 1 + (size - n) / 8) {
		copy = malloc(n ? (size_t)n : 1);
		if (!copy)
			exit(1);
		for (long i = 0; i < n; i++)
			copy[i] = data[i];
		LLVMFuzzerTestOneInput(copy, (size_t)n);
		free(copy);
	}
	free(data);
}

int main(int argc, char **argv)
{
	unsigned count = 0;

	for (int i = 1; i < argc; i++) {
		DIR *dir = opendir(argv[i]);
		struct dirent *e;

		if (!dir) {
			perror(argv[i]);
			return 1;
		}
		while ((e = readdir(dir))) {
			char path[4096];

			if (e->d_name[0] == '.')
				continue;
			snprintf(path, sizeof(path), "%s/%s", argv[i], e->d_name);
			run(path);
			count++;
		}
		closedir(dir);
	}
	printf("%u inputs\n", count);
	return count ? 0 : 1;
}
