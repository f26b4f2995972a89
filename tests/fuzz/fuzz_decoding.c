/* Reads any bytes as a page: all rows at once, and again a few at a time; both
 * give the same, or both find the page bad.
 *
 * What values mean is compared with other readers' reading in
 * tests/blocks/test_parquet_native.py, and pages that are good in fuzz_pages.c.
 */
#include <stdbool.h>

#include "flowconv.h"
#include "fuzz.h"

#define HEAD_BYTES 5
#define ENTRIES 7

enum kind { INT32, INT64, PLACES, TEXTS };

/* A page, and how it is read. */
typedef struct {
  enum kind kind;
  bool may_be_null, has_places;
  uint32_t rows, step, null, entries;
  const uint8_t *bytes;
  size_t size;
} task;

/* What was read of it. */
typedef struct {
  uint8_t *values, *validity, *text;
  int32_t *offsets;
  int64_t nulls; /* less than 0: the page is bad */
} rows;

static const int64_t WIDE[ENTRIES] = {0, -1, 1, INT64_MIN, INT64_MAX, 7, 8};
static const int32_t NARROW[ENTRIES] = {0, -1, 1, INT32_MIN, INT32_MAX, 7, 8};

static size_t value_size(const task *t) { return t->kind == INT64 ? 8 : 4; }

static bool is_valid(const rows *r, uint32_t row) {
  return r->validity[row / 8] >> row % 8 & 1;
}

static rows new_rows(const task *t) {
  rows r = {.values = exactly(t->rows * value_size(t)),
            .validity = exactly((t->rows + 7) / 8),
            .offsets = exactly((t->rows + 1) * sizeof(int32_t))};
  memset(r.validity, 0, (t->rows + 7) / 8);
  return r;
}

static void free_rows(rows *r) {
  free(r->values);
  free(r->validity);
  free(r->text);
  free(r->offsets);
}

/* Read `count` rows from `row` on. */
static int64_t read_some(const task *t, fc_page_reader *page, uint32_t row,
                         uint32_t count, rows *r) {
  uint8_t *to = r->values + row * value_size(t);
  if (t->kind == PLACES)
    return fc_read_places(page, count, t->entries, t->null, (uint32_t *)to,
                          r->validity, row);
  const void *dictionary = t->kind == INT64 ? (void *)WIDE : (void *)NARROW;
  return fc_read_integers(page, count, (uint8_t)value_size(t), dictionary,
                          t->entries, to, r->validity, row);
}

/* Read all texts, of which the page says how long they are. */
static void read_texts(const task *t, fc_page_reader *page, rows *r) {
  r->nulls = fc_measure_texts(page, t->rows);
  if (r->nulls < 0)
    return;
  r->text = exactly((size_t)r->nulls);
  int64_t most = r->nulls;
  r->nulls = fc_read_texts(page, t->rows, t->null < 256 ? (int)t->null : -1,
                           r->offsets, r->text, r->validity);
  CHECK(r->nulls >= 0 && r->offsets[0] == 0 && r->offsets[t->rows] <= most);
  for (uint32_t i = 0; i < t->rows; i++) {
    int32_t size = r->offsets[i + 1] - r->offsets[i];
    CHECK(size >= 0 && (size == 0 || is_valid(r, i)));
    CHECK(size != 1 || r->text[r->offsets[i]] != t->null);
  }
}

static void check_values(const task *t, const rows *r) {
  uint32_t valid = 0;
  for (uint32_t i = 0; i < t->rows; i++) {
    valid += is_valid(r, i);
    if (t->kind == PLACES && is_valid(r, i)) {
      uint32_t place;
      memcpy(&place, r->values + 4 * (size_t)i, 4);
      CHECK(place < t->entries && place != t->null);
    }
  }
  CHECK(valid == t->rows - r->nulls);
  for (uint32_t i = t->rows; i % 8; i++)
    CHECK(!is_valid(r, i));
}

static rows read_at_once(const task *t) {
  fc_page_reader page;
  rows r = new_rows(t);
  r.nulls = fc_begin_page(&page, t->bytes, t->size, t->rows, t->may_be_null,
                          t->has_places);
  if (r.nulls < 0)
    return r;
  if (t->kind == TEXTS)
    read_texts(t, &page, &r);
  else
    r.nulls = read_some(t, &page, 0, t->rows, &r);
  if (r.nulls >= 0) {
    check_values(t, &r);
    CHECK(page.rows == 0);
  }
  return r;
}

/* `whole` is what reading all rows at once gave. */
static void check_in_steps(const task *t, const rows *whole) {
  fc_page_reader page;
  rows r = new_rows(t);
  if (fc_begin_page(&page, t->bytes, t->size, t->rows, t->may_be_null,
                    t->has_places) >= 0) {
    for (uint32_t row = 0, some; row < t->rows && r.nulls >= 0; row += some) {
      some = t->rows - row < t->step ? t->rows - row : t->step;
      int64_t nulls = read_some(t, &page, row, some, &r);
      r.nulls = nulls < 0 ? nulls : r.nulls + nulls;
    }
    CHECK(r.nulls == whole->nulls);
    if (r.nulls >= 0) {
      CHECK(!memcmp(r.values, whole->values, t->rows * value_size(t)));
      CHECK(!memcmp(r.validity, whole->validity, (t->rows + 7) / 8));
      CHECK(read_some(t, &page, 0, 1, &r) < 0);
    }
  } else {
    CHECK(whole->nulls < 0);
  }
  free_rows(&r);
}

/* The first bytes: what the page has; its rows; how many are read at a time;
 * the place, or the byte, that stands for none. */
int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size) {
  if (size < HEAD_BYTES)
    return 0;
  task t = {.kind = input[0] % 4,
            .may_be_null = input[0] & 4,
            .rows = input[1] | (input[2] & 15u) << 8,
            .step = input[3] + 1u,
            .null = input[4] == 255 ? FC_NULL : input[4],
            .entries = input[0] >> 4 < ENTRIES ? input[0] >> 4 : ENTRIES,
            .size = size - HEAD_BYTES};
  t.has_places = t.kind == PLACES || (t.kind != TEXTS && input[0] & 8);
  uint8_t *bytes = exact_copy(input + HEAD_BYTES, t.size);
  t.bytes = bytes;
  rows whole = read_at_once(&t);
  if (t.kind != TEXTS)
    check_in_steps(&t, &whole);
  CHECK(fc_longest_text(bytes, t.size, t.rows) <= t.size);
  free_rows(&whole);
  free(bytes);
  return 0;
}
