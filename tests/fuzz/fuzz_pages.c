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
  bool is_large; /* offsets of texts have 64 bits */
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
      .is_large = input[0] & 32,
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

/* A step of rows that is no multiple of anything. */
#define SOME_ROWS 11

/* The core reads the same values from a page, a few rows at a time; `decoded`
 * are those of its dictionary, or NULL without one. */
static void check_integers(const task *t, const value *rows,
                           const fc_page *page, const uint8_t *out,
                           const void *decoded, uint32_t entries) {
  uint8_t size = t->type == FC_PHYSICAL_INT32 ? 4 : 8;
  uint8_t *values = exactly(page->rows * (size_t)size);
  uint8_t *validity = exactly((page->rows + 7) / 8);
  memset(validity, 0, (page->rows + 7) / 8);
  fc_page_reader reader;
  CHECK(fc_begin_page(&reader, out, page->size_bytes, page->rows, 1,
                      decoded != NULL) == 0);
  for (uint32_t row = 0, some; row < page->rows; row += some) {
    some = page->rows - row < SOME_ROWS ? page->rows - row : SOME_ROWS;
    CHECK(fc_read_integers(&reader, some, size, decoded, entries,
                           values + row * (size_t)size, validity, row) >= 0);
  }
  for (uint32_t i = 0; i < page->rows; i++) {
    CHECK(rows[i].is_null == !(validity[i / 8] >> i % 8 & 1));
    int64_t wide = 0;
    int32_t narrow = 0;
    memcpy(size == 8 ? (void *)&wide : (void *)&narrow,
           values + i * (size_t)size, size);
    CHECK((size == 8 ? wide : narrow) ==
          (rows[i].is_null ? 0 : rows[i].number));
  }
  free(values);
  free(validity);
}

static void check_texts(const value *rows, const fc_page *page,
                        const uint8_t *out) {
  uint8_t *validity = exactly((page->rows + 7) / 8);
  memset(validity, 0, (page->rows + 7) / 8);
  fc_page_reader reader;
  CHECK(fc_begin_page(&reader, out, page->size_bytes, page->rows, 1, 0) == 0);
  int64_t size = fc_measure_texts(&reader, page->rows);
  CHECK(size >= 0);
  uint8_t *text = exactly((size_t)size);
  int32_t *offsets = exactly((page->rows + 1) * sizeof *offsets);
  CHECK(fc_read_texts(&reader, page->rows, -1, offsets, text, validity) ==
        page->nulls);
  CHECK(offsets[page->rows] == size);
  for (uint32_t i = 0; i < page->rows; i++) {
    fc_text read = {text + offsets[i], (uint64_t)(offsets[i + 1] - offsets[i])};
    CHECK(rows[i].is_null == !(validity[i / 8] >> i % 8 & 1));
    CHECK(rows[i].text.size_bytes == read.size_bytes);
    CHECK(memcmp(rows[i].text.bytes ? rows[i].text.bytes : text, read.bytes,
                 read.size_bytes) == 0);
  }
  free(validity);
  free(text);
  free(offsets);
}

/* Entries as a dictionary page has them; NULL without one. Places in texts are
 * read as those in integers are. */
static uint8_t *decoded_entries(const task *t, uint8_t width,
                                const value *entries, uint32_t count) {
  if (width == 0 || t->type == FC_PHYSICAL_TEXT)
    return NULL;
  size_t size = t->type == FC_PHYSICAL_INT32 ? 4 : 8;
  uint8_t *decoded = exactly(count * size);
  for (uint32_t i = 0; i < count; i++) {
    int32_t narrow = (int32_t)entries[i].number;
    memcpy(decoded + i * size,
           size == 4 ? (void *)&narrow : (void *)&entries[i].number, size);
  }
  return decoded;
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
  uint64_t longest;
  CHECK(fc_entry_bytes(chunk, count, &longest) == size);
  for (uint32_t i = 0; i < count; i++)
    CHECK(plain_size(t, &entries[i]) <= longest);
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
static void check_chunk(const fc_chunk *chunk, fc_packed_page *packed,
                        uint32_t count, uint64_t size) {
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
  uint8_t *decoded = decoded_entries(t, chunk->width, entries, count);
  fc_packed_page pages[MOST_PAGES];
  uint32_t row = 0, found;
  while (row < t->rows) {
    int64_t next =
        fc_data_pages(chunk, row, t->page_rows, t->page_bytes, scratch, out,
                      capacity, pages, MOST_PAGES, &found);
    CHECK(next > row && next <= t->rows && found > 0 && found <= MOST_PAGES);
    const uint8_t *at = out;
    for (uint32_t i = 0; i < found; i++) {
      const fc_page *page = &pages[i].page;
      CHECK(page->rows > 0 && page->rows <= t->page_rows);
      CHECK(page->size_bytes <= capacity - (uint64_t)(at - out));
      CHECK(pages[i].packed == at && pages[i].packed_bytes == page->size_bytes);
      check_page(t, t->values + row, page, at, chunk->width, entries, count);
      check_bounds(t, t->values + row, page, entries);
      if (t->type != FC_PHYSICAL_TEXT)
        check_integers(t, t->values + row, page, at, decoded, count);
      else if (chunk->width == 0)
        check_texts(t->values + row, page, at);
      at += page->size_bytes;
      row += page->rows;
    }
    CHECK(row == next);
    check_chunk(chunk, pages, found, (uint64_t)(at - out));
  }
  if (chunk->width)
    check_dictionary_page(t, chunk, entries, count);
  free(entries);
  free(decoded);
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

/* Rows before the first of an array, which are not read. */
#define OFFSET 3

/* A column in two batches, of which the second has the texts of the first where
 * they lie, too. */
typedef struct {
  fc_arrow_batch batches[2];
  struct ArrowSchema schema, column_schema, text_schema;
  struct ArrowArray arrays[2], columns[2], texts[2];
  struct ArrowSchema *schema_child;
  struct ArrowArray *children[2];
  const void *buffers[3], *text_buffers[3];
  void *validity, *values, *offsets, *bytes;
} arrow;

static size_t offset_bytes(const task *t) { return t->is_large ? 8 : 4; }

static void set_offset(const task *t, void *offsets, uint32_t i,
                       int64_t value) {
  if (t->is_large)
    ((int64_t *)offsets)[i] = value;
  else
    ((int32_t *)offsets)[i] = (int32_t)value;
}

/* The texts, with `before` empty ones in front. */
static void make_texts(const task *t, uint32_t before, arrow *a) {
  size_t size = 0;
  for (uint32_t i = 0; i < t->rows; i++)
    size += t->values[i].text.size_bytes;
  a->offsets = exactly((before + t->rows + 1) * offset_bytes(t));
  uint8_t *at = a->bytes = exactly(size);
  for (uint32_t i = 0; i <= before + t->rows; i++) {
    set_offset(t, a->offsets, i, at - (uint8_t *)a->bytes);
    if (i < before || i == before + t->rows)
      continue;
    fc_text text = t->values[i - before].text;
    if (text.size_bytes)
      memcpy(at, text.bytes, text.size_bytes);
    at += text.size_bytes;
  }
}

static void make_values(const task *t, arrow *a) {
  bool is_wide = t->type == FC_PHYSICAL_INT64;
  uint32_t rows = OFFSET + t->rows;
  a->validity = exactly((rows + 7) / 8);
  memset(a->validity, 0, (rows + 7) / 8);
  a->values = exactly(rows * (is_wide ? 8u : 4u));
  for (uint32_t i = 0; i < rows; i++) {
    bool is_null = i < OFFSET || t->values[i - OFFSET].is_null;
    int64_t value = is_null ? -1
                    : t->type == FC_PHYSICAL_TEXT
                        ? (int64_t)i - OFFSET
                        : t->values[i - OFFSET].number;
    if (is_wide)
      ((int64_t *)a->values)[i] = value;
    else
      ((int32_t *)a->values)[i] = (int32_t)value;
    if (!is_null)
      ((uint8_t *)a->validity)[i / 8] |= (uint8_t)(1u << i % 8);
  }
}

static void begin_arrow(const task *t, arrow *a) {
  static const char *const formats[] = {"i", "tsu:UTC", "u"};
  bool is_text = t->type == FC_PHYSICAL_TEXT;
  bool is_dictionary = is_text && t->by_index;
  *a = (arrow){0};
  make_values(t, a);
  make_texts(t, is_dictionary ? 0 : OFFSET, a);
  const char *text = t->is_large ? "U" : "u";
  a->text_schema = (struct ArrowSchema){.format = text};
  a->column_schema = (struct ArrowSchema){
      .format = is_dictionary ? "i"
                : is_text     ? text
                              : formats[t->type],
      .dictionary = is_dictionary ? &a->text_schema : NULL};
  a->schema_child = &a->column_schema;
  a->schema =
      (struct ArrowSchema){.n_children = 1, .children = &a->schema_child};
  bool is_plain_text = is_text && !is_dictionary;
  a->buffers[0] = a->validity;
  a->buffers[1] = is_plain_text ? a->offsets : a->values;
  a->buffers[2] = a->bytes;
  a->text_buffers[1] = a->offsets;
  a->text_buffers[2] = a->bytes;
  uint32_t half = t->rows / 2;
  for (int i = 0; i < 2; i++) {
    a->texts[i] = (struct ArrowArray){.length = i ? t->rows : half,
                                      .n_buffers = 3,
                                      .buffers = a->text_buffers};
    a->columns[i] =
        (struct ArrowArray){.length = i ? t->rows - half : half,
                            .null_count = -1,
                            .offset = OFFSET + (i ? half : 0),
                            .n_buffers = is_plain_text ? 3 : 2,
                            .buffers = a->buffers,
                            .dictionary = is_dictionary ? &a->texts[i] : NULL};
    a->children[i] = &a->columns[i];
    a->arrays[i] = (struct ArrowArray){.length = a->columns[i].length,
                                       .n_children = 1,
                                       .children = &a->children[i]};
    a->batches[i] = (fc_arrow_batch){&a->schema, &a->arrays[i]};
  }
}

static void free_arrow(arrow *a) {
  free(a->validity);
  free(a->values);
  free(a->offsets);
  free(a->bytes);
}

/* What is damaged is named. */
static void check_damaged(const task *t, arrow *a, uint32_t nulls,
                          void *entries, uint32_t *numbers) {
  if (t->type == FC_PHYSICAL_TEXT) {
    uint32_t last = t->rows + (t->by_index ? 0 : OFFSET);
    int64_t size = t->is_large ? ((int64_t *)a->offsets)[last]
                               : ((int32_t *)a->offsets)[last];
    set_offset(t, a->offsets, last, -1);
    CHECK(fc_read_column(a->batches, 2, 0, t->type, entries, numbers) ==
          FC_BAD_OFFSETS);
    set_offset(t, a->offsets, last, size);
    a->texts[0].length = a->texts[1].length = 0;
    if (t->by_index && t->rows > nulls)
      CHECK(fc_read_column(a->batches, 2, 0, t->type, entries, numbers) ==
            FC_BAD_INDEX);
    a->texts[0].length = t->rows / 2;
    a->texts[1].length = t->rows;
  }
  const char *format = a->column_schema.format;
  a->column_schema.format = "z";
  CHECK(fc_count_entries(a->batches, 2, 0, t->type) == FC_BAD_TYPE);
  a->column_schema.format = format;
}

/* Read the column: each row has an entry of its own. */
static void read_column(const task *t, arrow *a, void *entries,
                        uint32_t *numbers) {
  uint32_t nulls = 0;
  uint64_t counted = 0;
  for (uint32_t i = 0; i < t->rows; i++)
    nulls += t->values[i].is_null;
  fc_count_nulls(a->batches, 2, 1, &counted);
  CHECK(counted == nulls);
  CHECK(fc_count_entries(a->batches, 2, 0, t->type) == t->rows);
  if (t->rows)
    check_damaged(t, a, nulls, entries, numbers);
  CHECK(fc_read_column(a->batches, 2, 0, t->type, entries, numbers) == nulls);
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
  arrow column;
  begin_arrow(t, &column);
  read_column(t, &column, entries, numbers);
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
  free_arrow(&column);
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
