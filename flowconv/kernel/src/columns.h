/* The columns of a batch, and how values come into them. */
#ifndef FLOWCONV_COLUMNS_H
#define FLOWCONV_COLUMNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dictionary.h"
#include "flowconv.h"

/* The values of one field, one a row: each stands between two delimiters. VALUE_BYTES from the
 * beginning of each are readable. */
typedef struct {
    const uint8_t *text;
    const uint32_t *before; /* offset of the delimiter before the first row's value */
    size_t before_step;     /* from one row to the next */
    const uint32_t *end;    /* offset behind the first row's value */
    size_t end_step;
    size_t rows;
} cells;

typedef struct {
    int32_t type; /* enum fc_type */
    int64_t largest;
    void *values;
    size_t values_room;
    uint8_t *validity; /* bits of rows that are not there yet are 1 */
    size_t validity_room;
    dictionary texts;
} column;

/* What was found out about the lines of some rows. */
typedef struct {
    const uint32_t *lines; /* the line of each row */
    uint8_t *kinds;        /* of each line: enum fc_reason, or 0 */
    int16_t *fields;       /* of each line */
    uint8_t *milliseconds; /* of each line: whether it had such a time */
} findings;

bool column_begin(column *c, const fc_field *field, uint64_t seed);

void column_free(column *c);

/* Move the rows into another column. The texts stay known if `keeps_texts`, else the dictionary is
 * begun anew. False if there is no memory. */
bool column_take(column *c, column *taken, bool keeps_texts, uint64_t seed);

/* Make room for `rows` rows in all; false if there is no memory. */
bool column_reserve(column *c, size_t rows);

/* Write numbers from `row` on; true if all fit. What does not is 0, and named in `found` unless its
 * line was before. `speed` is an enum fc_speed. */
bool write_numbers(column *c, size_t row, const cells *values, int16_t field, const findings *found,
                   int32_t speed);

/* Write texts from `row` on; false if there is no memory. */
bool write_texts(column *c, size_t row, const cells *values, int32_t speed);

/* Neighbouring rows. */
typedef struct {
    size_t begin, rows;
} run;

/* The next rows of `rows`, from `begin` on, whose lines have nothing found; none at the end. */
run next_fitting(const findings *found, size_t begin, size_t rows);

/* Of `rows` rows from `row` on keep those whose line has nothing found. */
void keep_fitting(column *c, size_t row, size_t rows, const findings *found);

/* Forget all rows behind the first `rows` of `before`. */
void column_truncate(column *c, size_t rows, size_t before);

#endif
