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

/* Return the validity of at most ROWS_AT_ONCE rows, the first in the lowest bit. */
static uint32_t valid_bits(const uint8_t *validity, size_t bit, uint32_t rows) {
    uint64_t word = 0;
    memcpy(&word, validity + bit / 8, (bit % 8 + rows + 7) / 8);
    return (uint32_t)(word >> bit % 8) & (UINT32_MAX >> (ROWS_AT_ONCE - rows));
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

/* Make the numbers of rows without a value FC_NULL. */
static inline __attribute__((always_inline)) void number_nulls(uint32_t valid, uint32_t rows,
                                                               uint32_t *numbers) {
    for (uint32_t row = 0; row < rows; row += LANES, valid >>= LANES) {
        lanes null = null_lanes[valid & 15u], found = {0};
        size_t bytes = 4 * (rows - row < LANES ? rows - row : LANES);
        memcpy(&found, numbers + row, bytes);
        found |= null;
        memcpy(numbers + row, &found, bytes);
    }
}

uint32_t fc_number_rows(const uint8_t *validity, size_t offset, uint32_t rows, uint32_t first,
                        uint32_t *numbers) {
    uint32_t nulls = 0;
    number_from(numbers, first, rows);
    if (!validity)
        return 0;
    for (uint32_t row = 0, count; row < rows; row += count) {
        count = rows - row < ROWS_AT_ONCE ? rows - row : ROWS_AT_ONCE;
        uint32_t valid = valid_bits(validity, offset + row, count);
        nulls += count - (uint32_t)__builtin_popcount(valid);
        if (count == ROWS_AT_ONCE && valid != UINT32_MAX)
            number_nulls(valid, ROWS_AT_ONCE, numbers + row);
        else if (count < ROWS_AT_ONCE)
            number_nulls(valid, count, numbers + row);
    }
    return nulls;
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

/* The same for rows of which some are null; what lies below a null may be anything. */
static inline __attribute__((always_inline)) int32_t number_some(const int32_t *indices,
                                                                 uint32_t valid, int32_t last,
                                                                 uint32_t first, uint32_t rows,
                                                                 uint32_t *numbers) {
    lanes bad = {0};
    for (uint32_t row = 0; row < rows; row += LANES, valid >>= LANES) {
        lanes null = null_lanes[valid & 15u], index = {0};
        size_t bytes = 4 * (rows - row < LANES ? rows - row : LANES);
        memcpy(&index, indices + row, bytes);
        index &= ~null;
        bad |= (index | ((uint32_t)last - index)) & ~null;
        index = (first + index) | null;
        memcpy(numbers + row, &index, bytes);
    }
    return (int32_t)(bad[0] | bad[1] | bad[2] | bad[3]);
}

int64_t fc_number_indices(const int32_t *indices, const uint8_t *validity, size_t offset,
                          uint32_t rows, uint32_t entries, uint32_t first, uint32_t *numbers) {
    int32_t bad = 0, last = (int32_t)(entries - 1);
    if (!validity)
        return number_valid(indices, last, first, rows, numbers) < 0 ? FC_BAD_INDEX : 0;
    uint32_t nulls = 0;
    for (uint32_t row = 0, count; row < rows; row += count) {
        count = rows - row < ROWS_AT_ONCE ? rows - row : ROWS_AT_ONCE;
        uint32_t valid = valid_bits(validity, offset + row, count);
        nulls += count - (uint32_t)__builtin_popcount(valid);
        const int32_t *some = indices + row;
        if (valid == UINT32_MAX)
            bad |= number_valid(some, last, first, ROWS_AT_ONCE, numbers + row);
        else if (count == ROWS_AT_ONCE)
            bad |= number_some(some, valid, last, first, ROWS_AT_ONCE, numbers + row);
        else
            bad |= number_some(some, valid, last, first, count, numbers + row);
    }
    return bad < 0 ? FC_BAD_INDEX : (int64_t)nulls;
}
