/* Arrow's arrays -> entries and numbers. */

#include "flowconv.h"

#include <stdbool.h>
#include <string.h>

/* --- texts -----------------------------------------------------------------------------------
 */

#define READ_TEXTS(name, offset_type)                                                              \
    static int name(const offset_type *offsets, const uint8_t *bytes, size_t count,                \
                    fc_text *texts) {                                                              \
        for (size_t i = 0; i < count; i++) {                                                       \
            if (offsets[i] < 0 || offsets[i + 1] < offsets[i])                                     \
                return FC_BAD_OFFSETS;                                                             \
            texts[i].bytes = bytes + offsets[i];                                                   \
            texts[i].size_bytes = (uint64_t)(offsets[i + 1] - offsets[i]);                         \
        }                                                                                          \
        return 0;                                                                                  \
    }

READ_TEXTS(read_utf8, int32_t)
READ_TEXTS(read_large_utf8, int64_t)

/* --- numbers ---------------------------------------------------------------------------------
 */

/* So many rows' validity is looked at as one number, and so many are numbered at once. */
#define ROWS_AT_ONCE 32u
#define LANES 4u

/* gcc and clang make SIMD of it on every processor. */
typedef uint32_t lanes __attribute__((vector_size(4 * LANES)));

/* Return the validity of ROWS_AT_ONCE rows, the first in the lowest bit. */
static inline uint32_t valid_bits(const uint8_t *validity, size_t bit) {
    const uint8_t *at = validity + bit / 8;
    unsigned shift = bit % 8;
    uint32_t bits;
    memcpy(&bits, at, 4);
    return shift ? bits >> shift | (uint32_t)at[4] << (32 - shift) : bits;
}

/* The same for fewer rows; there is no value behind them. */
static uint32_t last_valid_bits(const uint8_t *validity, size_t bit, uint32_t rows) {
    uint32_t bits = 0;
    for (uint32_t i = 0; i < rows; i++, bit++)
        bits |= (validity[bit / 8] >> bit % 8 & 1u) << i;
    return bits;
}

/* All bits of FC_NULL for rows without a value, by four bits of validity. */
#define N FC_NULL
static const lanes null_lanes[16] = {
    {N, N, N, N}, {0, N, N, N}, {N, 0, N, N}, {0, 0, N, N}, {N, N, 0, N}, {0, N, 0, N},
    {N, 0, 0, N}, {0, 0, 0, N}, {N, N, N, 0}, {0, N, N, 0}, {N, 0, N, 0}, {0, 0, N, 0},
    {N, N, 0, 0}, {0, N, 0, 0}, {N, 0, 0, 0}, {0, 0, 0, 0},
};
#undef N

static void number_from(uint32_t *numbers, uint32_t first, uint32_t rows) {
    for (uint32_t i = 0; i < rows; i++)
        numbers[i] = first + i;
}

/* Make the numbers of ROWS_AT_ONCE rows FC_NULL if they have no value. */
static inline void number_nulls(uint32_t valid, uint32_t *numbers) {
    for (uint32_t row = 0; row < ROWS_AT_ONCE; row += LANES, valid >>= LANES) {
        lanes found;
        memcpy(&found, numbers + row, sizeof found);
        found |= null_lanes[valid & 15u];
        memcpy(numbers + row, &found, sizeof found);
    }
}

/* Number rows `first`, `first + 1`, ...; null where the bit in `validity` (which may be NULL) is 0.
`offset` is the bit of the first row. Returns the number of nulls. */
static uint32_t number_rows(const uint8_t *validity, size_t offset, uint32_t rows, uint32_t first,
                            uint32_t *numbers) {
    uint32_t values = 0, row = 0;
    number_from(numbers, first, rows);
    if (!validity)
        return 0;
    for (; rows - row >= ROWS_AT_ONCE; row += ROWS_AT_ONCE) {
        uint32_t valid = valid_bits(validity, offset + row);
        values += (uint32_t)__builtin_popcount(valid);
        if (valid != UINT32_MAX)
            number_nulls(valid, numbers + row);
    }
    uint32_t valid = last_valid_bits(validity, offset + row, rows - row);
    values += (uint32_t)__builtin_popcount(valid);
    for (; row < rows; row++, valid >>= 1)
        if (!(valid & 1u))
            numbers[row] = FC_NULL;
    return rows - values;
}

/* Write indices plus `first`; returns a negative number if one is not between 0 and `last`. */
static int32_t number_valid(const int32_t *indices, int32_t last, uint32_t first, uint32_t rows,
                            uint32_t *numbers) {
    int32_t bad = 0;
    for (uint32_t i = 0; i < rows; i++) {
        bad |= indices[i] | (int32_t)((uint32_t)last - (uint32_t)indices[i]);
        numbers[i] = first + (uint32_t)indices[i];
    }
    return bad;
}

/* The same for ROWS_AT_ONCE rows of which some are null; what lies below a null may be anything. */
static inline int32_t number_some(const int32_t *indices, uint32_t valid, int32_t last,
                                  uint32_t first, uint32_t *numbers) {
    lanes bad = {0};
    for (uint32_t row = 0; row < ROWS_AT_ONCE; row += LANES, valid >>= LANES) {
        lanes null = null_lanes[valid & 15u], index;
        memcpy(&index, indices + row, sizeof index);
        index &= ~null;
        bad |= (index | ((uint32_t)last - index)) & ~null;
        index = (first + index) | null;
        memcpy(numbers + row, &index, sizeof index);
    }
    return (int32_t)(bad[0] | bad[1] | bad[2] | bad[3]);
}

/* Number rows by their indices into a dictionary of `entries` entries (at most INT32_MAX), of which
the first has the number `first`. Returns the number of nulls, or a failure. */
static int64_t number_indices(const int32_t *indices, const uint8_t *validity, size_t offset,
                              uint32_t rows, uint32_t entries, uint32_t first, uint32_t *numbers) {
    int32_t bad = 0, last = (int32_t)(entries - 1);
    if (!validity)
        return number_valid(indices, last, first, rows, numbers) < 0 ? FC_BAD_INDEX : 0;
    uint32_t values = 0, row = 0;
    for (; rows - row >= ROWS_AT_ONCE; row += ROWS_AT_ONCE) {
        uint32_t valid = valid_bits(validity, offset + row);
        values += (uint32_t)__builtin_popcount(valid);
        if (valid == UINT32_MAX)
            bad |= number_valid(indices + row, last, first, ROWS_AT_ONCE, numbers + row);
        else
            bad |= number_some(indices + row, valid, last, first, numbers + row);
    }
    int32_t rest[ROWS_AT_ONCE] = {0};
    uint32_t numbered[ROWS_AT_ONCE], left = rows - row;
    uint32_t valid = last_valid_bits(validity, offset + row, left);
    values += (uint32_t)__builtin_popcount(valid);
    memcpy(rest, indices + row, left * sizeof *rest);
    bad |= number_some(rest, valid, last, first, numbered);
    memcpy(numbers + row, numbered, left * sizeof *numbered);
    return bad < 0 ? FC_BAD_INDEX : (int64_t)(rows - values);
}

/* --- columns of batches -----------------------------------------------------------------------
 */

/* A column of a batch: rows, or a dictionary's texts. */
typedef struct {
    const struct ArrowSchema *schema;
    const struct ArrowArray *array;
} part;

static part part_of(const fc_arrow_batch *batch, uint32_t place) {
    return (part){batch->schema->children[place], batch->array->children[place]};
}

static bool is_format(part p, const char *format) {
    return strcmp(p.schema->format, format) == 0;
}

static const uint8_t *validity_of(part p) {
    return p.array->null_count && p.array->n_buffers ? p.array->buffers[0] : NULL;
}

static uint32_t rows_of(part p) {
    return (uint32_t)p.array->length;
}

static uint64_t count_nulls(part p) {
    const uint8_t *validity = validity_of(p);
    if (is_format(p, "n"))
        return rows_of(p);
    if (!validity || p.array->null_count > 0)
        return validity ? (uint64_t)p.array->null_count : 0;
    uint64_t nulls = 0;
    for (size_t bit = (size_t)p.array->offset, end = bit + rows_of(p); bit < end; bit++)
        nulls += ~validity[bit / 8] >> bit % 8 & 1u;
    return nulls;
}

void fc_count_nulls(const fc_arrow_batch *batches, uint32_t count, uint32_t columns,
                    uint64_t *nulls) {
    for (uint32_t place = 0; place < columns; place++) {
        nulls[place] = 0;
        for (uint32_t i = 0; i < count; i++)
            nulls[place] += count_nulls(part_of(&batches[i], place));
    }
}

/* Where a column's texts are, and which of them were read with the batch before: a dictionary
 * mostly goes on where that one ended. Both have the same bytes in memory then. */
static part texts_of(part p, part *last, size_t *known) {
    part texts = p, before = *last;
    *last = (part){NULL, NULL};
    *known = 0;
    if (!p.array->dictionary)
        return texts;
    texts = *last = (part){p.schema->dictionary, p.array->dictionary};
    if (before.array && texts.array->offset == before.array->offset &&
        texts.array->length >= before.array->length && is_format(texts, before.schema->format) &&
        texts.array->buffers[1] == before.array->buffers[1] &&
        texts.array->buffers[2] == before.array->buffers[2])
        *known = (size_t)before.array->length;
    return texts;
}

static bool has_type(part p, uint8_t type) {
    if (is_format(p, "n"))
        return true;
    if (type == FC_PHYSICAL_INT32)
        return is_format(p, "i");
    if (type == FC_PHYSICAL_INT64)
        return is_format(p, "l") || strncmp(p.schema->format, "ts", 2) == 0;
    if (!p.array->dictionary)
        return is_format(p, "u") || is_format(p, "U");
    part texts = {p.schema->dictionary, p.array->dictionary};
    return is_format(p, "i") && (is_format(texts, "u") || is_format(texts, "U"));
}

int64_t fc_count_entries(const fc_arrow_batch *batches, uint32_t count, uint32_t place,
                         uint8_t type) {
    int64_t entries = 0;
    part last = {NULL, NULL};
    for (uint32_t i = 0; i < count; i++) {
        part p = part_of(&batches[i], place);
        size_t known = 0;
        if (!has_type(p, type))
            return FC_BAD_TYPE;
        if (type == FC_PHYSICAL_TEXT)
            p = texts_of(p, &last, &known);
        entries += p.array->length - (int64_t)known;
    }
    return entries;
}

static int read_texts(part p, size_t known, fc_text *texts) {
    static const uint8_t nothing[1];
    size_t count = (size_t)p.array->length - known, first = (size_t)p.array->offset + known;
    const void *offsets = p.array->n_buffers > 1 ? p.array->buffers[1] : NULL;
    if (!count || !offsets) {
        memset(texts, 0, count * sizeof *texts); /* of nulls */
        return 0;
    }
    const uint8_t *bytes = p.array->buffers[2] ? p.array->buffers[2] : nothing;
    if (is_format(p, "U"))
        return read_large_utf8((const int64_t *)offsets + first, bytes, count, texts);
    return read_utf8((const int32_t *)offsets + first, bytes, count, texts);
}

/* Rows whose texts are nulls of the dictionary have none, either. Returns how many these are. */
static uint32_t drop_null_texts(part texts, uint32_t first, uint32_t rows, uint32_t *numbers) {
    const uint8_t *validity = validity_of(texts);
    uint32_t nulls = 0;
    for (uint32_t row = 0; validity && row < rows; row++) {
        if (numbers[row] == FC_NULL)
            continue;
        size_t bit = (size_t)texts.array->offset + numbers[row] - first;
        if (validity[bit / 8] >> bit % 8 & 1u)
            continue;
        numbers[row] = FC_NULL;
        nulls++;
    }
    return nulls;
}

/* Number the rows of a part; returns the number of nulls, or a failure. */
static int64_t number_part(part p, part texts, uint32_t first, uint32_t *numbers) {
    const uint8_t *validity = validity_of(p);
    size_t offset = (size_t)p.array->offset;
    uint32_t rows = rows_of(p);
    if (is_format(p, "n")) {
        memset(numbers, 0xFF, rows * sizeof *numbers);
        return rows;
    }
    if (!p.array->dictionary)
        return number_rows(validity, offset, rows, first, numbers);
    const int32_t *indices = p.array->buffers[1];
    if (!rows || !indices)
        return 0;
    int64_t nulls = number_indices(indices + offset, validity, offset, rows,
                                   (uint32_t)texts.array->length, first, numbers);
    return nulls < 0 ? nulls : nulls + drop_null_texts(texts, first, rows, numbers);
}

static int64_t read_text_column(const fc_arrow_batch *batches, uint32_t count, uint32_t place,
                                fc_text *entries, uint32_t *numbers) {
    int64_t nulls = 0;
    size_t read = 0;
    part last = {NULL, NULL};
    for (uint32_t i = 0; i < count; i++) {
        size_t known;
        part p = part_of(&batches[i], place), texts = texts_of(p, &last, &known);
        if (read_texts(texts, known, entries + read) < 0)
            return FC_BAD_OFFSETS;
        read += (size_t)texts.array->length - known;
        uint32_t first = (uint32_t)(read - (size_t)texts.array->length);
        int64_t found = number_part(p, texts, first, numbers);
        if (found < 0)
            return found;
        nulls += found;
        numbers += rows_of(p);
    }
    return nulls;
}

static void read_integers(part p, int64_t *entries) {
    const void *values = p.array->n_buffers > 1 ? p.array->buffers[1] : NULL;
    size_t rows = rows_of(p), first = (size_t)p.array->offset;
    if (!values)
        memset(entries, 0, rows * sizeof *entries); /* of nulls */
    else if (is_format(p, "i"))
        for (size_t row = 0; row < rows; row++)
            entries[row] = ((const int32_t *)values)[first + row];
    else
        memcpy(entries, (const int64_t *)values + first, rows * sizeof *entries);
}

int64_t fc_read_column(const fc_arrow_batch *batches, uint32_t count, uint32_t place, uint8_t type,
                       void *entries, uint32_t *numbers) {
    if (type == FC_PHYSICAL_TEXT)
        return read_text_column(batches, count, place, entries, numbers);
    int64_t nulls = 0;
    uint32_t row = 0;
    for (uint32_t i = 0; i < count; i++) {
        part p = part_of(&batches[i], place);
        read_integers(p, (int64_t *)entries + row);
        nulls += number_part(p, p, row, numbers + row);
        row += rows_of(p);
    }
    return nulls;
}
