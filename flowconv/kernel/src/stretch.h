/* A stretch of text, hundreds of lines: which of its lines are rows, and where their values are. */
#ifndef FLOWCONV_STRETCH_H
#define FLOWCONV_STRETCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "columns.h"
#include "delimiters.h"
#include "flowconv.h"

/* What a line is: a row, an enum fc_reason, or one of these. */
enum { LINE_ROW = 0, LINE_BLANK = 100, LINE_COMMENT = 101 };

/* How lines are read. */
typedef struct {
    find_delimiters *find;
    int32_t speed; /* of `find` */
    size_t width;  /* values of a line, with the time before them */
    bool timestamped;
    bool has_numbers;
    const dictionary *names; /* of fields, in lower case letters and digits */
} reading;

typedef struct {
    const uint8_t *text; /* as it was given; BLOCK_BYTES behind it are readable */
    size_t lines;
    uint32_t *line_ends; /* offset of each newline */
    uint8_t *kinds;      /* of each line */
    int16_t *fields;     /* of each line: the field at fault, or -1 */
    uint8_t *milliseconds;
    uint8_t *commented;
    size_t stop; /* the line that is a question; `lines` if none is */

    size_t rows;
    const uint8_t *row_text; /* where the rows' values stand */
    uint32_t *row_lines;
    uint32_t *row_before; /* offset of the delimiter before each row */
    uint32_t *ends;       /* offset behind each value, `width` a row */

    /* Memory, for this stretch and the next ones. */
    delimiters found;
    size_t offsets_room, line_ends_room, blocks_room, ends_room;
    size_t kinds_room, fields_room, milliseconds_room, commented_room;
    size_t row_lines_room, row_before_room;
    uint8_t *squeezed;
    size_t squeezed_room;
} stretch;

void stretch_free(stretch *s);

/* Find the rows of a text that ends with a newline, up to the first line that is a question; false
 * if there is no memory. The first line is none if it is `settled`. */
bool find_rows(stretch *s, const reading *how, const uint8_t *text, size_t size, bool settled);

/* Values `index` of all rows. */
cells cells_of(const stretch *s, const reading *how, size_t index);

/* Whether a row's values may be names of fields, at least half of them known ones. */
bool row_may_be_header(const stretch *s, const reading *how, size_t row);

static inline findings findings_of(const stretch *s) {
    return (findings){s->row_lines, s->kinds, s->fields, s->milliseconds};
}

static inline uint32_t line_start(const stretch *s, size_t line) {
    return line ? s->line_ends[line - 1] + 1 : 0;
}

#endif
