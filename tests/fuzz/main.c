/* Stands in for libFuzzer where there is none, such as on other processors.
 *
 * main RUNS FILE...: tries each file, then RUNS inputs that are files with
 * random changes; always the same ones.
 */
#include <inttypes.h>

#include "fuzz.h"

#define MOST_BYTES 4096

static uint64_t state = 1;

/* xorshift64*: https://doi.org/10.1145/2845077 */
static uint64_t next_random(uint64_t below) {
  state ^= state >> 12, state ^= state << 25, state ^= state >> 27;
  return (state * UINT64_C(0x2545F4914F6CDD1D) >> 32) % below;
}

static size_t read_file(const char *path, uint8_t *bytes) {
  FILE *file = fopen(path, "rb");
  if (!file) {
    perror(path);
    exit(1);
  }
  size_t size = fread(bytes, 1, MOST_BYTES, file);
  fclose(file);
  return size;
}

/* Change a byte, take some away, or put some of another place in. */
static size_t change(uint8_t *bytes, size_t size) {
  static const uint8_t telling[] = " \t\r\n#-0:9a${}\x7f\x80\xc3\xed\xff";
  uint8_t piece[16];
  size_t at = next_random(size + 1), count = 1 + next_random(sizeof piece);
  switch (next_random(4)) {
  case 0:
    if (at < size)
      bytes[at] = (uint8_t)next_random(256);
    return size;
  case 1:
    if (at < size)
      bytes[at] = telling[next_random(sizeof telling)];
    return size;
  case 2:
    count = count < size - at ? count : size - at;
    memmove(bytes + at, bytes + at + count, size - at - count);
    return size - count;
  default:
    if (size < count || size + count > MOST_BYTES)
      return size;
    memcpy(piece, bytes + next_random(size - count + 1), count);
    memmove(bytes + at + count, bytes + at, size - at);
    memcpy(bytes + at, piece, count);
    return size + count;
  }
}

static void try(const uint8_t *bytes, size_t size) {
  uint8_t *input = exact_copy(bytes, size);
  LLVMFuzzerTestOneInput(input, size);
  free(input);
}

int main(int count, char **arguments) {
  if (count < 3) {
    fprintf(stderr, "usage: %s RUNS FILE...\n", arguments[0]);
    return 2;
  }
  uint8_t bytes[MOST_BYTES];
  for (int i = 2; i < count; i++)
    try(bytes, read_file(arguments[i], bytes));
  uint64_t runs = strtoull(arguments[1], NULL, 10);
  for (uint64_t run = 0; run < runs; run++) {
    size_t size =
        read_file(arguments[2 + next_random((uint64_t)count - 2)], bytes);
    for (uint64_t changes = 1 + next_random(8); changes; changes--)
      size = change(bytes, size);
    try(bytes, size);
  }
  printf("%d files and %" PRIu64 " changed ones: all checks hold\n", count - 2,
         runs);
  return 0;
}
