/* A column -> pages: a plain decoder reads the same values from them, and the
 * order of rows and the bounds are right.
 *
 * An input says of which type a column is, how it is written, and what its rows
 * are: see `begin`.
 */
#include <stdbool.h>

#include "flowconv.h"
#include "fuzz.h"

#define MOST_ROWS 4000
#define HEAD_BYTES 5

/* Made by one call. */
#define MOST_PAGES 8

/* Texts of a Bloom filter: each takes as long as there are of them. */
#define MOST_FILTERED 64

/* The value of a row. */
typedef struct {
  bool is_null;
  int64_t number;
  fc_text text;
} value;

/* A column, and how it is written. */
typedef struct {
  uint8_t type;  /* enum fc_physical_type */
  bool by_index; /* rows have indices into a dictionary */
  bool plain;
  uint32_t limit; /* of distinct values */
  uint32_t page_rows;
  uint64_t page_bytes;
  uint32_t rows;
  value *values;
} task;

/* --- input
 * -----------------------------------------------------------------------------------
 */

/* Read the value of a row: one byte, and what it says stands behind it. */
static const uint8_t *read_value(const task *t, const uint8_t *at,
                                 const uint8_t *end, value *v) {
  uint8_t code = *at++;
  size_t left = (size_t)(end - at);
  *v = (value){.is_null = code == 255};
  if (v->is_null)
    return at;
  if (t->type == FC_PHYSICAL_TEXT) {
    v->text = (fc_text){at, code < left ? code : left};
    return at + v->text.size_bytes;
  }
  v->number = code;
  if (code >= 128) { /* a number of up to eight bytes */
    size_t bytes = code % 8u + 1 < left ? code % 8u + 1 : left;
    memcpy(&v->number, at, bytes);
    at += bytes;
  }
  if (t->type == FC_PHYSICAL_INT32)
    v->number = (int32_t)v->number;
  return at;
}

/* The first bytes: type, and how rows are given and written; distinct values
 * allowed; rows of a page; bytes of a page's values; how often a row that
 * repeats does so. Behind them are rows; the code 254 repeats the one before.
 */
static void begin(task *t, const uint8_t *input, size_t size) {
  *t = (task){
      .type = input[0] % 3,
      .by_index = input[0] & 64,
      .plain = input[0] & 128,
      .limit = input[1] * 4u,
      .page_rows = input[2] ? input[2] : 1000,
      .page_bytes = input[3] * 8u,
      .values = exactly(MOST_ROWS * sizeof(value)),
  };
  const uint8_t *at = input + HEAD_BYTES, *end = input + size;
  while (at < end && t->rows < MOST_ROWS) {
    if (*at != 254 || t->rows == 0) {
      at = read_value(t, at, end, &t->values[t->rows++]);
      continue;
    }
    at++;
    for (uint32_t i = 0; i <= input[4] && t->rows < MOST_ROWS; i++, t->rows++)
      t->values[t->rows] = t->values[t->rows - 1];
  }
}

static int compare(const task *t, const value *a, const value *b) {
  if (t->type != FC_PHYSICAL_TEXT)
    return (a->number > b->number) - (a->number < b->number);
  for (uint64_t i = 0;; i++) {
    if (i == a->text.size_bytes || i == b->text.size_bytes)
      return (a->text.size_bytes > i) - (b->text.size_bytes > i);
    if (a->text.bytes[i] != b->text.bytes[i])
      return a->text.bytes[i] < b->text.bytes[i] ? -1 : 1;
  }
}

/* --- a plain reader of pages
 * ----------------------------------------------------------------- */

typedef struct {
  const uint8_t *at, *end;
} bytes;

static uint64_t read_integer(bytes *b, int count) {
  uint64_t number = 0;
  CHECK(b->end - b->at >= count);
  for (int i = 0; i < count; i++)
    number |= (uint64_t)*b->at++ << 8 * i;
  return number;
}

static uint64_t read_varint(bytes *b) {
  uint64_t number = 0;
  for (int shift = 0;; shift += 7) {
    uint64_t byte = read_integer(b, 1);
    number |= (byte & 127) << shift;
    if (byte < 128)
      return number;
  }
}

/* The RLE/bit-packing hybrid, which takes all of `b`. */
static void read_hybrid(bytes b, unsigned width, uint32_t *numbers,
                        uint32_t count) {
  uint32_t done = 0;
  while (done < count) {
    uint64_t head = read_varint(&b);
    CHECK(head >> 1 > 0);
    if (head & 1) {
      const uint8_t *packed = b.at;
      uint64_t groups = head >> 1;
      CHECK((uint64_t)(b.end - b.at) >= groups * width);
      b.at += groups * width;
      for (uint64_t bit = 0; bit < groups * 8 * width && done < count; done++) {
        numbers[done] = 0;
        for (unsigned i = 0; i < width; i++, bit++)
          numbers[done] |= (uint32_t)(packed[bit / 8] >> bit % 8 & 1) << i;
      }
    } else {
      uint32_t number = (uint32_t)read_integer(&b, (int)(width + 7) / 8);
      CHECK(head >> 1 <= count - done);
      for (uint64_t i = 0; i < head >> 1; i++)
        numbers[done++] = number;
    }
  }
  CHECK(b.at == b.end);
}

static value read_plain(const task *t, bytes *b) {
  value v = {0};
  if (t->type == FC_PHYSICAL_INT32) {
    v.number = (int32_t)read_integer(b, 4);
  } else if (t->type == FC_PHYSICAL_INT64) {
    v.number = (int64_t)read_integer(b, 8);
  } else {
    v.text.size_bytes = read_integer(b, 4);
    v.text.bytes = b->at;
    CHECK((uint64_t)(b->end - b->at) >= v.text.size_bytes);
    b->at += v.text.size_bytes;
  }
  return v;
}

/* --- judging
 * ---------------------------------------------------------------------------------
 */

static uint64_t plain_size(const task *t, const value *v) {
  uint64_t size = t->type == FC_PHYSICAL_INT32 ? 4 : 8;
  return v->is_null                    ? 0
         : t->type == FC_PHYSICAL_TEXT ? 4 + v->text.size_bytes
                                       : size;
}

static void check_bounds(const task *t, const value *rows, const fc_page *page,
                         const value *entries) {
  const value *least = NULL, *greatest = NULL;
  for (uint32_t i = 0; i < page->rows; i++) {
    if (rows[i].is_null)
      continue;
    least = least && compare(t, least, &rows[i]) <= 0 ? least : &rows[i];
    greatest =
        greatest && compare(t, greatest, &rows[i]) >= 0 ? greatest : &rows[i];
  }
  CHECK((least == NULL) == (page->least == FC_NULL));
  CHECK((least == NULL) == (page->greatest == FC_NULL));
  if (least) {
    CHECK(compare(t, least, &entries[page->least]) == 0);
    CHECK(compare(t, greatest, &entries[page->greatest]) == 0);
  }
}

/* A page has the values of `rows`. `dictionary` has what its numbers stand for.
 */
static void check_page(const task *t, const value *rows, const fc_page *page,
                       const uint8_t *out, uint8_t width,
                       const value *dictionary, uint32_t entries) {
  bytes b = {out, out + page->size_bytes};
  uint32_t *levels = exactly(page->rows * sizeof *levels), nulls = 0;
  uint32_t *numbers = exactly(page->rows * sizeof *numbers), count = 0;
  uint64_t level_bytes = read_integer(&b, 4);
  CHECK((uint64_t)(b.end - b.at) >= level_bytes);
  read_hybrid((bytes){b.at, b.at + level_bytes}, 1, levels, page->rows);
  b.at += level_bytes;
  for (uint32_t i = 0; i < page->rows; i++)
    nulls += levels[i] == 0;
  CHECK(page->nulls == nulls);
  if (width) {
    CHECK(read_integer(&b, 1) == width);
    read_hybrid(b, width, numbers, page->rows - nulls);
    b.at = b.end;
  }
  for (uint32_t i = 0; i < page->rows; i++) {
    CHECK(rows[i].is_null == (levels[i] == 0));
    if (rows[i].is_null)
      continue;
    CHECK(!width || numbers[count] < entries);
    value v = width ? dictionary[numbers[count]] : read_plain(t, &b);
    count++;
    CHECK(compare(t, &v, &rows[i]) == 0);
  }
  CHECK(b.at == b.end);
  free(levels);
  free(numbers);
}

/* --- writing
 * ---------------------------------------------------------------------------------
 */

/* Entries as the library takes them -> values. */
static value *values_of(const task *t, const void *entries, uint32_t count) {
  value *values = exactly(count * sizeof *values);
  for (uint32_t i = 0; i < count; i++) {
    values[i] = (value){0};
    if (t->type == FC_PHYSICAL_TEXT)
      values[i].text = ((const fc_text *)entries)[i];
    else
      values[i].number = ((const int64_t *)entries)[i];
  }
  return values;
}

static void check_dictionary_page(const task *t, const fc_chunk *chunk,
                                  const value *entries, uint32_t count) {
  uint64_t size = 0;
  for (uint32_t i = 0; i < count; i++)
    size += plain_size(t, &entries[i]);
  uint8_t *out = exactly(size);
  CHECK(fc_dictionary_page(chunk, count, out) == size);
  bytes b = {out, out + size};
  for (uint32_t i = 0; i < count; i++) {
    value v = read_plain(t, &b);
    CHECK(compare(t, &v, &entries[i]) == 0);
  }
  free(out);
}

/* Pages become a chunk that has them one behind the other, each behind its
 * header; what is said of them stands behind it, and too little room is
 * noticed. */
static void check_chunk(const fc_chunk *chunk, const fc_page *pages,
                        uint32_t count, const uint8_t *bytes_, uint64_t size) {
  fc_packed_page packed[MOST_PAGES];
  const uint8_t *at = bytes_;
  for (uint32_t i = 0; i < count; i++) {
    packed[i] = (fc_packed_page){
        .packed = at, .packed_bytes = pages[i].size_bytes, .page = pages[i]};
    at += pages[i].size_bytes;
  }
  fc_written_chunk written = {.column = chunk,
                              .pages = packed,
                              .name = (const uint8_t *)"srcaddr",
                              .name_bytes = 7,
                              .page_count = count,
                              .start = 4};
  uint64_t needed = fc_write_chunk(&written, NULL, 0);
  uint8_t *out = exactly(needed);
  CHECK(fc_write_chunk(&written, out, needed) == needed);
  CHECK(written.plain_bytes == written.size_bytes && written.size_bytes > size);
  CHECK(written.size_bytes < written.metadata_end);
  CHECK(written.metadata_end < written.column_index_end &&
        written.column_index_end < needed);
  uint64_t end = 0;
  for (uint32_t i = 0; i < count; i++) {
    end += packed[i].with_header_bytes;
    CHECK(memcmp(out + end - packed[i].packed_bytes, packed[i].packed,
                 packed[i].packed_bytes) == 0);
  }
  CHECK(end == written.size_bytes);
  if (needed > 1)
    CHECK(fc_write_chunk(&written, out, needed - 1) == needed);
  free(out);
}

static void check_pages(const task *t, const fc_chunk *chunk, uint32_t count) {
  value *entries = values_of(t, chunk->entries, count);
  uint64_t longest = 8, all = 0;
  for (uint32_t i = 0; i < t->rows; i++) {
    uint64_t size = plain_size(t, &t->values[i]);
    longest = size > longest ? size : longest;
    all += size;
  }
  CHECK(fc_plain_bytes(chunk) == all);
  uint64_t value_bytes = longest > t->page_bytes ? longest : t->page_bytes;
  uint64_t capacity = fc_page_capacity(t->page_rows, chunk->width, value_bytes);
  uint8_t *out = exactly(capacity);
  uint32_t *scratch = exactly(t->page_rows * sizeof *scratch);
  fc_page pages[MOST_PAGES];
  uint32_t row = 0, found;
  while (row < t->rows) {
    int64_t next =
        fc_data_pages(chunk, row, t->page_rows, t->page_bytes, scratch, out,
                      capacity, pages, MOST_PAGES, &found);
    CHECK(next > row && next <= t->rows && found > 0 && found <= MOST_PAGES);
    const uint8_t *at = out;
    for (uint32_t i = 0; i < found; i++) {
      CHECK(pages[i].rows > 0 && pages[i].rows <= t->page_rows);
      CHECK(pages[i].size_bytes <= capacity - (uint64_t)(at - out));
      check_page(t, t->values + row, &pages[i], at, chunk->width, entries,
                 count);
      check_bounds(t, t->values + row, &pages[i], entries);
      at += pages[i].size_bytes;
      row += pages[i].rows;
    }
    CHECK(row == next);
    check_chunk(chunk, pages, found, out, (uint64_t)(at - out));
  }
  if (chunk->width)
    check_dictionary_page(t, chunk, entries, count);
  free(entries);
  free(out);
  free(scratch);
}

/* Entries ascend without repetition, and each row has the one of its value. */
static void check_ranks(const task *t, const value *entries,
                        const uint32_t *numbers, uint32_t count) {
  for (uint32_t i = 1; i < count; i++)
    CHECK(compare(t, &entries[i - 1], &entries[i]) < 0);
  for (uint32_t i = 0; i < t->rows; i++) {
    CHECK(t->values[i].is_null == (numbers[i] == FC_NULL));
    if (t->values[i].is_null)
      continue;
    CHECK(numbers[i] < count);
    CHECK(compare(t, &t->values[i], &entries[numbers[i]]) == 0);
  }
}

/* Sorted by rank, nulls first; rows of one rank keep the order that they had,
 * here the reverse. */
static void check_sort(const task *t, const uint32_t *numbers, uint32_t ranks) {
  uint32_t *order = exactly(t->rows * sizeof *order),
           *sorted = exactly(t->rows * sizeof *sorted);
  uint32_t *moved = exactly(t->rows * sizeof *moved);
  for (uint32_t i = 0; i < t->rows; i++)
    order[i] = t->rows - 1 - i;
  CHECK(fc_sort(numbers, t->rows, ranks, order, sorted) == 0);
  fc_reorder(numbers, sorted, t->rows, moved);
  for (uint32_t i = 0; i < t->rows; i++) {
    CHECK(sorted[i] < t->rows && moved[i] == numbers[sorted[i]]);
    /* FC_NULL + 1 is 0. Rows that fall strictly are no two the same: it is a
     * permutation. */
    if (i > 0)
      CHECK(moved[i - 1] + 1 < moved[i] + 1 ||
            (moved[i - 1] == moved[i] && sorted[i - 1] > sorted[i]));
  }
  free(order);
  free(sorted);
  free(moved);
}

/* A filter has one bit in each word of a block for each text, and no others. */
static void check_bloom_filter(const fc_text *texts, uint32_t count) {
  uint32_t blocks = count / 8 + 1;
  size_t size = 32 * (size_t)blocks;
  uint32_t *all = exactly(size), *sum = exactly(size), *single = exactly(size);
  memset(all, 0, size);
  memset(sum, 0, size);
  fc_bloom_filter(texts, count, all, blocks);
  for (uint32_t i = 0; i < count; i++) {
    memset(single, 0, size);
    fc_bloom_filter(&texts[i], 1, single, blocks);
    int bits[8] = {0};
    for (uint32_t word = 0; word < 8 * blocks; word++) {
      bits[word % 8] += __builtin_popcount(single[word]);
      sum[word] |= single[word];
    }
    for (int word = 0; word < 8; word++)
      CHECK(bits[word] == 1);
  }
  CHECK(memcmp(all, sum, size) == 0);
  free(all);
  free(sum);
  free(single);
}

/* --- as Arrow has it
 * ------------------------------------------------------------------------- */

/* Write where the texts lie by Arrow's offsets, from a copy of their bytes. */
static uint8_t *texts_of(const task *t, fc_text *texts) {
  int32_t *offsets = exactly((t->rows + 1) * sizeof *offsets);
  int64_t *large = exactly((t->rows + 1) * sizeof *large);
  size_t size = 0;
  for (uint32_t i = 0; i < t->rows; i++)
    size += t->values[i].text.size_bytes;
  uint8_t *all = exactly(size), *at = all;
  for (uint32_t i = 0; i <= t->rows; i++) {
    large[i] = offsets[i] = (int32_t)(at - all);
    fc_text text = i < t->rows ? t->values[i].text : (fc_text){0};
    if (text.size_bytes)
      memcpy(at, text.bytes, text.size_bytes);
    at += text.size_bytes;
  }
  CHECK(fc_texts_of_large_utf8(large, all, t->rows, texts) == 0);
  memset(texts, 0, t->rows * sizeof *texts);
  CHECK(fc_texts_of_utf8(offsets, all, t->rows, texts) == 0);
  if (size) {
    offsets[t->rows] = -1;
    CHECK(fc_texts_of_utf8(offsets, all, t->rows, texts) == FC_BAD_OFFSETS);
    offsets[t->rows] = (int32_t)size;
    CHECK(fc_texts_of_utf8(offsets, all, t->rows, texts) == 0);
  }
  free(offsets);
  free(large);
  return all;
}

/* Number the rows, each by an entry of its own. The bitmap begins within a
 * byte. */
static void number(const task *t, uint32_t *numbers) {
  const size_t offset = 3;
  size_t size = (offset + t->rows + 7) / 8;
  uint8_t *validity = exactly(size);
  int32_t *indices = exactly(t->rows * sizeof *indices);
  uint32_t nulls = 0;
  memset(validity, 0, size);
  for (uint32_t i = 0; i < t->rows; i++) {
    nulls += t->values[i].is_null;
    indices[i] = t->values[i].is_null ? -1 : (int32_t)i;
    if (!t->values[i].is_null)
      validity[(offset + i) / 8] |= (uint8_t)(1u << (offset + i) % 8);
  }
  if (t->by_index) {
    CHECK(fc_number_indices(indices, validity, offset, t->rows, t->rows, 0,
                            numbers) == nulls);
    if (t->rows > nulls)
      CHECK(fc_number_indices(indices, validity, offset, t->rows, 0, 0,
                              numbers) == FC_BAD_INDEX);
    CHECK(fc_number_indices(indices, validity, offset, t->rows, t->rows, 0,
                            numbers) == nulls);
  } else {
    CHECK(fc_number_rows(validity, offset, t->rows, 0, numbers) == nulls);
  }
  free(validity);
  free(indices);
}

static uint8_t width_of(uint32_t count) {
  uint8_t width = 1;
  while (width < 32 && (count - 1) >> width)
    width++;
  return width;
}

static void run(const task *t) {
  bool is_text = t->type == FC_PHYSICAL_TEXT;
  size_t item = is_text ? sizeof(fc_text) : sizeof(int64_t);
  uint32_t limit = t->limit < t->rows ? t->limit : t->rows;
  void *entries = exactly(t->rows * item), *distinct = exactly(limit * item);
  uint32_t *numbers = exactly(t->rows * sizeof *numbers);
  uint8_t *all = is_text ? texts_of(t, entries) : NULL;
  for (uint32_t i = 0; i < t->rows && !is_text; i++)
    ((int64_t *)entries)[i] = t->values[i].number;
  number(t, numbers);
  fc_chunk chunk = {
      .entries = entries, .numbers = numbers, .rows = t->rows, .type = t->type};
  check_pages(t, &chunk, t->rows);
  int64_t count = is_text ? fc_distinct_texts(entries, t->rows, numbers,
                                              t->rows, limit, 7, distinct)
                          : fc_distinct_integers(entries, numbers, t->rows,
                                                 limit, 7, distinct);
  CHECK(count >= 0 || count == FC_TOO_MANY);
  if (count == FC_TOO_MANY) {
    check_pages(t, &chunk, t->rows); /* the numbers are what they were */
  } else {
    value *values = values_of(t, distinct, (uint32_t)count);
    check_ranks(t, values, numbers, (uint32_t)count);
    check_sort(t, numbers, (uint32_t)count);
    chunk.entries = distinct;
    chunk.ranks = 1;
    chunk.width = t->plain || count == 0 ? 0 : width_of((uint32_t)count);
    check_pages(t, &chunk, (uint32_t)count);
    if (is_text)
      check_bloom_filter(distinct, (uint32_t)count);
    free(values);
  }
  free(entries);
  free(distinct);
  free(numbers);
  free(all);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size) {
  if (size < HEAD_BYTES)
    return 0;
  task t;
  begin(&t, input, size);
  run(&t);
  free(t.values);
  return 0;
}
