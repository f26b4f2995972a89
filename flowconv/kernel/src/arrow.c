/* Arrow's arrays -> entries and numbers. */

#include "flowconv.h"

#include <string.h>

int fc_texts_of_utf8(const int32_t *offsets, const uint8_t *bytes, uint32_t count, fc_text *texts) {
    for (uint32_t i = 0; i < count; i++) {
        if (offsets[i] < 0 || offsets[i + 1] < offsets[i])
            return FC_BAD_OFFSETS;
        texts[i].bytes = bytes + offsets[i];
        texts[i].size_bytes = (uint64_t)(offsets[i + 1] - offsets[i]);
    }
    return 0;
}

int fc_texts_of_large_utf8(const int64_t *offsets, const uint8_t *bytes, uint32_t count,
                           fc_text *texts) {
    for (uint32_t i = 0; i < count; i++) {
        if (offsets[i] < 0 || offsets[i + 1] < offsets[i])
            return FC_BAD_OFFSETS;
        texts[i].bytes = bytes + offsets[i];
        texts[i].size_bytes = (uint64_t)(offsets[i + 1] - offsets[i]);
    }
    return 0;
}

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

uint32_t fc_number_rows(const uint8_t *validity, size_t offset, uint32_t rows, uint32_t first,
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

int64_t fc_number_indices(const int32_t *indices, const uint8_t *validity, size_t offset,
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
