/* Reads any bytes as a Parquet file's footer, and as headers of pages: what is
 * counted first is what is read then, and nothing leads beyond the bytes.
 *
 * What footers mean is compared with Arrow's reading in
 * tests/kernel/test_metadata.py.
 */
#include "flowconv.h"
#include "fuzz.h"

#define MOST_HEADERS 3

static void check_place(fc_place place, size_t size) {
  CHECK((uint64_t)place.start + place.size_bytes <= size);
}

static void check_footer(const uint8_t *bytes, size_t size) {
  fc_footer counted = {0};
  if (fc_read_footer(bytes, size, &counted) < 0)
    return;
  fc_footer read = {
      .schema = exactly(counted.schema_count * sizeof *read.schema),
      .groups = exactly(counted.group_count * sizeof *read.groups),
      .chunks = exactly(counted.chunk_count * sizeof *read.chunks),
      .pairs = exactly(counted.pair_count * sizeof *read.pairs)};
  CHECK(fc_read_footer(bytes, size, &read) == 0);
  CHECK(read.rows == counted.rows);
  CHECK(read.schema_count == counted.schema_count &&
        read.group_count == counted.group_count &&
        read.chunk_count == counted.chunk_count &&
        read.pair_count == counted.pair_count);
  uint64_t chunks = 0;
  for (uint64_t i = 0; i < read.group_count; i++)
    chunks += read.groups[i].chunks;
  CHECK(chunks == read.chunk_count);
  for (uint64_t i = 0; i < read.schema_count; i++)
    check_place(read.schema[i].name, size);
  for (uint64_t i = 0; i < read.pair_count; i++) {
    check_place(read.pairs[i].name, size);
    check_place(read.pairs[i].value, size);
  }
  free(read.schema);
  free(read.groups);
  free(read.chunks);
  free(read.pairs);
}

static void check_headers(const uint8_t *bytes, size_t size, int64_t values) {
  fc_page_header headers[MOST_HEADERS];
  uint64_t place = 0;
  while (values > 0) {
    int64_t left = values;
    uint64_t start = place;
    int64_t count = fc_read_page_headers(bytes, &place, size, &values, headers,
                                         MOST_HEADERS);
    if (count < 0)
      return;
    CHECK(count > 0 && count <= MOST_HEADERS && values <= left);
    for (int64_t i = 0; i < count; i++) {
      const fc_page_header *header = headers + i;
      CHECK(header->start > start && header->start <= size);
      CHECK(header->packed_bytes >= 0 && header->size_bytes >= 0 &&
            header->values >= 0);
      CHECK((uint64_t)header->packed_bytes <= size - header->start);
      start = header->start + (uint64_t)header->packed_bytes;
    }
    CHECK(place == start);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size) {
  if (size < 1)
    return 0;
  uint8_t *bytes = exact_copy(input + 1, size - 1);
  check_footer(bytes, size - 1);
  check_headers(bytes, size - 1, input[0] * 16);
  free(bytes);
  return 0;
}
