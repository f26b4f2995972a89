/* Lines of logs read one byte after the other: what the fast reading of
 * `flowconv.h` is held against.
 *
 * Written for nothing but to be seen to be right; it shares no code with the
 * library.
 */
#ifndef FLOWCONV_LINES_H
#define FLOWCONV_LINES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "flowconv.h"

#define MOST_VALUES 4096

enum kind { ROW, BLANK, COMMENT, REJECTED };

typedef struct {
  const uint8_t *bytes;
  size_t length;
} value;

/* What a line is. */
typedef struct {
  enum kind kind;
  bool is_question; /* unless it is settled: then it is what `kind` says */
  int reason;       /* enum fc_reason of REJECTED */
  int field;        /* index of the field at fault, or -1 */
  size_t length;    /* without its line end */
  bool has_milliseconds;
  int64_t time; /* of the event */
  value values[MOST_VALUES];
  bool is_null[MOST_VALUES];
  int64_t numbers[MOST_VALUES];
} line;

/* Read a line, of which `length` is without its newline. */
void read_line(const fc_plan *plan, const uint8_t *text, size_t length,
               line *read);

#endif
