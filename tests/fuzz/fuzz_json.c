/* Reads any documents of JSON, and reads again what was read: it must be the
 * same.
 *
 * What it means is compared with Python's reading in
 * tests/kernel/test_messages.py. */
#include "flowconv.h"
#include "fuzz.h"

/* The first byte says how to read; the others are the text. */
#define HEAD_BYTES 1

static int64_t count(const uint8_t *text, int64_t size, uint8_t byte) {
  int64_t found = 0;
  for (int64_t i = 0; i < size; i++)
    found += text[i] == byte;
  return found;
}

/* Make the address sanitizer see every byte of a name. */
static void check_name(const fc_messages *found, fc_name name) {
  CHECK(name.size >= -1);
  if (name.size > 0)
    free(exact_copy(found->names + name.start, (size_t)name.size));
}

/* Lines and texts are whole, and lie one behind the other. */
static void check_runs(const fc_messages *found) {
  int64_t text = 0, line = 0;
  for (int64_t i = 0; i < found->run_count; i++) {
    const fc_run *run = found->runs + i;
    CHECK(run->text_end >= text && run->line_end >= line);
    CHECK(run->text_end == text || found->text[run->text_end - 1] == '\n');
    CHECK(count(found->text + text, run->text_end - text, '\n') ==
          run->line_end - line);
    CHECK(run->kind >= FC_LOG_EVENTS && run->kind <= FC_SINGLE);
    check_name(found, run->log_group);
    check_name(found, run->owner);
    for (; line < run->line_end; line++)
      CHECK(found->times[line] >= -1);
    text = run->text_end;
  }
  CHECK(text <= found->consumed);
}

/* What was read before something unusual is read alone in the same way. */
static void check_same(const fc_messages *a, const fc_messages *b) {
  CHECK(a->run_count == b->run_count);
  for (int64_t i = 0; i < a->run_count; i++) {
    const fc_run *one = a->runs + i, *other = b->runs + i;
    CHECK(one->text_end == other->text_end);
    CHECK(one->line_end == other->line_end);
    CHECK(one->kind == other->kind);
    CHECK(one->may_hold_header == other->may_hold_header);
    CHECK(one->log_group.size == other->log_group.size);
    CHECK(one->owner.size == other->owner.size);
  }
  if (a->run_count == 0)
    return;
  const fc_run *last = a->runs + a->run_count - 1;
  CHECK(memcmp(a->text, b->text, (size_t)last->text_end) == 0);
  CHECK(last->line_end == 0 ||
        memcmp(a->times, b->times, (size_t)last->line_end * sizeof(int64_t)) ==
            0);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size) {
  if (size < HEAD_BYTES)
    return 0;
  fc_json *json = fc_json_new(), *other = fc_json_new();
  CHECK(json && other);
  uint8_t *text = exact_copy(input + HEAD_BYTES, size - HEAD_BYTES);
  int64_t bytes = (int64_t)(size - HEAD_BYTES);
  int32_t are_events = input[0] & 1;
  fc_messages found, again;
  /* With memory that another text was in before. */
  if (input[0] & 2)
    fc_read_messages(json, text, bytes / 2, are_events, &found);
  int32_t status = fc_read_messages(json, text, bytes, are_events, &found);
  CHECK(status == FC_OK || status == FC_QUESTION);
  CHECK(status == FC_OK ? found.consumed == bytes : found.consumed < bytes);
  check_runs(&found);
  uint8_t *taken = exact_copy(text, (size_t)found.consumed);
  free(text);
  status = fc_read_messages(other, taken, found.consumed, are_events, &again);
  CHECK(status == FC_OK && again.consumed == found.consumed);
  check_same(&found, &again);
  free(taken);
  fc_json_free(json);
  fc_json_free(other);
  return 0;
}
