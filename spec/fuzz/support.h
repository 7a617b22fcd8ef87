/* What every fuzz target has: memory of exact size, so that the sanitizer sees one byte too far, with a limit; and the
 * input as a file. */
#ifndef FUZZ_SUPPORT_H
#define FUZZ_SUPPORT_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* One allocation of more than this from the buffer pool ends the run as a crash. */
void fuzz_limit_allocations(size_t bytes);

/* The path of a file with these bytes, valid until the next call. */
const char *fuzz_file(const uint8_t *data, size_t size);

#endif
