/* Text of logs -> columns: every line becomes what lines.c makes of it,
 * wherever the text is cut, however much of it is looked at together, and at
 * every speed.
 *
 * An input is a plan, how to read, and a text: see `begin`.
 */
#include "fuzz.h"
#include "lines.h"

/* The types of a line's values, of which each letter is one in `field_of`. */
static const char *const PLANS[] = {"ittttppbllsstt", "tps",     "tt", "t", "l",
                                    "sizbp",          "tttttttp"};

static const char NAMES[] = "srcaddrsrcportstartactiondstaddrversion";
static const int32_t NAME_OFFSETS[] = {0, 7, 14, 19, 25, 32, 39};

/* Bytes of an input before its text. */
#define HEAD_BYTES 5

static fc_field field_of(char letter) {
  switch (letter) {
  case 'b':
    return (fc_field){255, FC_INT32};
  case 'p':
    return (fc_field){65535, FC_INT32};
  case 'i':
    return (fc_field){INT32_MAX, FC_INT32};
  case 'l':
    return (fc_field){INT64_MAX, FC_INT64};
  case 'z':
    return (fc_field){0, FC_INT64};
  case 's':
    return (fc_field){FC_MOST_SECONDS * 1000 + 999, FC_SECONDS};
  default:
    return (fc_field){0, FC_TEXT};
  }
}

/* A text, and how it is read. */
typedef struct {
  fc_plan plan;
  fc_field fields[16];
  const uint8_t *text;
  size_t size;
  size_t cut; /* the text is given in two pieces; the first ends with the line
                 of this byte */
  uint8_t settling; /* bit n % 8: if line n is a question, it is read as a line
                       like others */
} task;

/* What came of it. */
typedef struct {
  fc_builder *builder;
  struct ArrowArray batch;
  int64_t rows; /* of the batch */
  fc_appended sum;
  int64_t skipped; /* lines that were questions */
  fc_rejected *rejected;
} result;

/* The first bytes: plan and, as its highest bit, whether it is timestamped;
 * bytes of a stretch; where to cut, in two bytes; which questions to settle. */
static void begin(task *t, const uint8_t *input, size_t size) {
  const char *letters =
      PLANS[(input[0] & 0x7F) % (sizeof PLANS / sizeof *PLANS)];
  *t = (task){.text = input + HEAD_BYTES,
              .size = size - HEAD_BYTES,
              .settling = input[4]};
  int32_t count = (int32_t)strlen(letters);
  for (int32_t i = 0; i < count; i++)
    t->fields[i] = field_of(letters[i]);
  t->plan = (fc_plan){
      .fields = t->fields,
      .field_count = count,
      .timestamped = input[0] >> 7,
      .names = (const uint8_t *)NAMES,
      .name_offsets = NAME_OFFSETS,
      .name_count = sizeof NAME_OFFSETS / sizeof *NAME_OFFSETS - 1,
      .stretch_bytes = input[1],
      .seed = 7,
  };
  size_t cut = (size_t)input[2] << 8 | input[3];
  const uint8_t *newline =
      cut < t->size ? memchr(t->text + cut, '\n', t->size - cut) : NULL;
  t->cut = newline ? (size_t)(newline - t->text) + 1 : t->size;
}

static bool is_settled(const task *t, int64_t line) {
  return t->settling >> line % 8 & 1;
}

/* --- reading
 * ---------------------------------------------------------------------------------
 */

/* Add what became of a piece that begins at `offset`. */
static void add(result *r, const fc_appended *appended, size_t offset) {
  size_t before = (size_t)r->sum.rejected, count = (size_t)appended->rejected;
  CHECK(appended->lines == appended->rows + appended->blank +
                               appended->comment + appended->rejected);
  r->sum.lines += appended->lines;
  r->sum.rows += appended->rows;
  r->sum.blank += appended->blank;
  r->sum.comment += appended->comment;
  r->sum.milliseconds += appended->milliseconds;
  r->sum.rejected += appended->rejected;
  if (count == 0)
    return;
  r->rejected = realloc(r->rejected, (before + count) * sizeof(fc_rejected));
  CHECK(r->rejected);
  memcpy(r->rejected + before, appended->rejections,
         count * sizeof(fc_rejected));
  for (size_t i = before; i < before + count; i++)
    r->rejected[i].offset += (int32_t)offset;
}

/* Read the text from `start` to `end`. A part may be read with what follows it.
 */
static int32_t append(const task *t, size_t start, size_t end, bool settled,
                      result *r, fc_appended *appended) {
  int64_t number = r->sum.lines + r->skipped, size = (int64_t)(end - start);
  size_t copied = settled ? end - start : t->size - start;
  uint8_t *text = exact_copy(t->text + start, copied);
  int32_t status;
  if (settled) {
    status = fc_append(r->builder, text, size, number, true, appended);
  } else {
    fc_part part = {.size = size, .first_line = number};
    CHECK(fc_append_parts(r->builder, text, (int64_t)copied, &part, 1, appended,
                          &status) == 1);
  }
  free(text);
  return status;
}

/* Read the text from `start` to `end`; each question is settled or skipped. */
static void read_piece(const task *t, size_t start, size_t end, result *r) {
  bool settled = false;
  while (start < end) {
    fc_appended appended;
    int32_t status = append(t, start, end, settled, r, &appended);
    CHECK(status == FC_OK || status == FC_QUESTION);
    CHECK(appended.consumed == (int64_t)(end - start) || status == FC_QUESTION);
    CHECK(!settled || appended.lines > 0);
    add(r, &appended, start);
    start += (size_t)appended.consumed;
    if (status == FC_OK)
      break;
    settled = is_settled(t, r->sum.lines + r->skipped);
    if (settled)
      continue;
    const uint8_t *newline = memchr(t->text + start, '\n', end - start);
    start = newline ? (size_t)(newline - t->text) + 1 : end;
    r->skipped++;
  }
}

static void read_text(const task *t, result *r) {
  r->sum = (fc_appended){0};
  r->skipped = 0;
  read_piece(t, 0, t->cut, r);
  read_piece(t, t->cut, t->size, r);
}

/* --- judging
 * ---------------------------------------------------------------------------------
 */

static int64_t count_lines(const task *t) {
  int64_t lines = t->size > 0 && t->text[t->size - 1] != '\n';
  for (size_t i = 0; i < t->size; i++)
    lines += t->text[i] == '\n';
  return lines;
}

/* The texts of a dictionary differ, and stand in the order in which rows first
 * have them. */
static void check_text(const struct ArrowArray *texts, int32_t number, value v,
                       int32_t *seen) {
  CHECK(0 <= number && number < texts->length);
  const int32_t *offsets = texts->buffers[1], *offset = offsets + number;
  const uint8_t *bytes = texts->buffers[2];
  CHECK(v.length == (size_t)(offset[1] - offset[0]));
  CHECK(memcmp(bytes + offset[0], v.bytes, v.length) == 0);
  CHECK(number <= *seen);
  if (number < *seen)
    return;
  for (int32_t i = 0; i < number; i++) {
    const int32_t *other = offsets + i;
    CHECK(other[1] - other[0] != offset[1] - offset[0] ||
          memcmp(bytes + other[0], v.bytes, v.length) != 0);
  }
  ++*seen;
}

/* Column `field` has the value of this line in this row. `seen` counts texts.
 */
static void check_value(const task *t, const result *r, int32_t field,
                        int64_t row, const line *expected, int32_t *seen) {
  const struct ArrowArray *column = r->batch.children[field];
  const uint8_t *validity = column->buffers[0];
  int32_t type = t->plan.fields[field].type;
  bool is_null = validity && !(validity[row / 8] >> row % 8 & 1);
  CHECK(is_null == expected->is_null[field]);
  bool is_wide = type == FC_INT64 || type == FC_SECONDS;
  int64_t number = is_wide ? ((const int64_t *)column->buffers[1])[row]
                           : ((const int32_t *)column->buffers[1])[row];
  if (type == FC_TEXT && !is_null)
    check_text(column->dictionary, (int32_t)number,
               expected->values[field + t->plan.timestamped], seen);
  else
    CHECK(number == expected->numbers[field]);
}

/* The number in a column behind those of the fields. */
static int64_t number_of_row(const result *r, int32_t column, int64_t row) {
  return ((const int64_t *)r->batch.children[column]->buffers[1])[row];
}

static void check_row(const task *t, const result *r, int64_t row,
                      int64_t number, const line *expected, int32_t *seen,
                      int64_t *nulls) {
  CHECK(row < r->rows);
  CHECK(number_of_row(r, t->plan.field_count, row) == number);
  if (t->plan.timestamped)
    CHECK(number_of_row(r, t->plan.field_count + 1, row) == expected->time);
  for (int32_t field = 0; field < t->plan.field_count; field++) {
    check_value(t, r, field, row, expected, &seen[field]);
    nulls[field] += expected->is_null[field];
  }
}

static void check_rejected(const fc_rejected *got, int64_t number, size_t start,
                           const line *expected) {
  CHECK(got->line == number);
  CHECK(got->offset == (int32_t)start);
  CHECK(got->length == (int32_t)expected->length);
  CHECK(got->reason == expected->reason);
  CHECK(got->field == expected->field);
}

/* Every line of the text is what the plain reading says. `rows` were there
 * before; `seen` of their texts are in the dictionaries. */
static void check_result(const task *t, const result *r, int64_t rows,
                         int32_t *seen) {
  static line expected; /* too large for the stack */
  int64_t number = 0, blank = 0, comment = 0, rejected = 0, skipped = 0,
          milliseconds = 0;
  int64_t nulls[16] = {0}, before = rows;
  for (size_t start = 0; start < t->size; number++) {
    const uint8_t *newline = memchr(t->text + start, '\n', t->size - start);
    size_t end = newline ? (size_t)(newline - t->text) : t->size;
    read_line(&t->plan, t->text + start, end - start, &expected);
    if (expected.is_question && !is_settled(t, number)) {
      skipped++;
    } else if (expected.kind == ROW) {
      check_row(t, r, rows++, number, &expected, seen, nulls);
      milliseconds += expected.has_milliseconds;
    } else if (expected.kind == REJECTED) {
      CHECK(rejected < r->sum.rejected);
      check_rejected(&r->rejected[rejected++], number, start, &expected);
    }
    blank += expected.kind == BLANK;
    comment += expected.kind == COMMENT;
    start = end + 1;
  }
  CHECK(r->sum.lines + r->skipped == count_lines(t));
  CHECK(r->skipped == skipped && r->sum.rejected == rejected);
  CHECK(r->sum.blank == blank && r->sum.comment == comment);
  CHECK(r->sum.milliseconds == milliseconds);
  CHECK(r->sum.rows == rows - before && r->rows == rows);
  for (int32_t field = 0; field < t->plan.field_count && before == 0; field++) {
    const struct ArrowArray *column = r->batch.children[field];
    CHECK(column->null_count == nulls[field]);
    CHECK(!column->dictionary || column->dictionary->length == seen[field]);
  }
}

static void take(const task *t, result *r) {
  if (r->batch.release)
    r->batch.release(&r->batch);
  r->rows = fc_rows(r->builder);
  CHECK(fc_take(r->builder, &r->batch) == FC_OK && fc_rows(r->builder) == 0);
  CHECK(r->batch.length == r->rows);
  CHECK(r->batch.n_children ==
        t->plan.field_count + 1 + (t->plan.timestamped != 0));
}

static void run(const task *t) {
  result r = {.builder = fc_builder_new(&t->plan)};
  int32_t seen[16] = {0};
  CHECK(r.builder);
  read_text(t, &r);
  take(t, &r);
  check_result(t, &r, 0, seen);
  /* In the next batch, half of the rows are taken back, and the text is read
   * again behind the others. */
  read_text(t, &r);
  int64_t kept = r.sum.rows / 2;
  fc_truncate(r.builder, kept);
  CHECK(fc_rows(r.builder) == kept);
  read_text(t, &r);
  take(t, &r);
  fc_builder_free(r.builder);
  check_result(t, &r, kept, seen);
  /* One of its columns lives longer than the others. */
  struct ArrowArray column = *r.batch.children[0];
  r.batch.children[0]->release = NULL;
  r.batch.release(&r.batch);
  CHECK(!r.batch.release && column.length == r.rows);
  column.release(&column);
  free(r.rejected);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size) {
  if (size < HEAD_BYTES)
    return 0;
  task t;
  begin(&t, input, size);
  for (int32_t speed = FC_WORDS; speed <= FC_NEON; speed++) {
    if (fc_speed(speed) != speed)
      continue;
    t.plan.speed = speed;
    run(&t);
  }
  /* The best speed, the best stretch, in one piece. */
  t.plan.speed = FC_BEST;
  t.plan.stretch_bytes = 0;
  t.cut = t.size;
  run(&t);
  return 0;
}
