/* What the fuzz targets share. */
#ifndef FLOWCONV_FUZZ_H
#define FLOWCONV_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* libFuzzer keeps the input that made a check fail. */
#define CHECK(condition)                                                       \
  do {                                                                         \
    if (!(condition)) {                                                        \
      fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__,         \
              #condition);                                                     \
      abort();                                                                 \
    }                                                                          \
  } while (0)

/* What libFuzzer, or main.c in its place, calls with each input. */
int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

/* Memory of exactly this size, so that the address sanitizer sees each byte
 * beyond it. */
static inline void *exactly(size_t size) {
  void *memory = malloc(size ? size : 1);
  CHECK(memory);
  return memory;
}

static inline void *exact_copy(const void *bytes, size_t size) {
  void *copy = exactly(size);
  if (size)
    memcpy(copy, bytes, size);
  return copy;
}

#endif
