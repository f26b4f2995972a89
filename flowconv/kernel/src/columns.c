#include "columns.h"

#include <stdlib.h>
#include <string.h>

#include "memory.h"
#include "values.h"

/* So many numbers of texts are written at once, also where fewer are wanted. */
#define NUMBERS_AT_ONCE 4

static size_t value_bytes(const column *c) {
    return c->type == FC_INT64 || c->type == FC_SECONDS ? 8 : 4;
}

bool column_begin(column *c, const fc_field *field, uint64_t seed) {
    *c = (column){.type = field->type, .largest = field->largest};
    return field->type != FC_TEXT || dictionary_begin(&c->texts, seed);
}

void column_free(column *c) {
    free(c->values);
    free(c->validity);
    dictionary_free(&c->texts);
}

bool column_take(column *c, column *taken, bool keeps_texts, uint64_t seed) {
    dictionary texts = c->texts;
    *taken = *c;
    taken->texts = (dictionary){0};
    *c = (column){.type = c->type, .largest = c->largest, .texts = texts};
    if (c->type != FC_TEXT)
        return true;
    if (keeps_texts) {
        taken->texts = dictionary_values(&texts);
        return true;
    }
    dictionary_finish(&texts);
    taken->texts = texts;
    return dictionary_begin(&c->texts, seed);
}

bool column_reserve(column *c, size_t rows) {
    size_t before = c->validity_room;
    /* Some texts' numbers, and their validity, are written at once. */
    if (!grow(&c->values, &c->values_room, rows + NUMBERS_AT_ONCE, value_bytes(c)) ||
        !grow((void **)&c->validity, &c->validity_room, rows / 8 + sizeof(uint64_t), 1))
        return false;
    if (c->validity_room > before)
        memset(c->validity + before, 0xFF, c->validity_room - before);
    return true;
}

static inline void set_null(column *c, size_t row) {
    c->validity[row / 8] &= (uint8_t)~(1u << row % 8);
}

/* --- numbers --------------------------------------------------------------------------------- */

/* 0, or why a value is no number that its field can have. Most have up to 16 digits. */
static inline int read_number(const uint8_t *value, uint32_t length, int64_t largest,
                              int64_t *number) {
    uint32_t high = 0, low;
    bool plain;
    if (length <= 8)
        plain = length > 0 && parse_digits(value, length, &low);
    else
        plain = length <= 16 && parse_digits(value, length - 8, &high) &&
                parse_digits(value + length - 8, 8, &low);
    if (!plain)
        return parse_number(value, length, largest, number);
    *number = (int64_t)high * 100000000 + low;
    return *number > largest ? FC_OUT_OF_RANGE : 0;
}

/* Name what a line has, unless it was named before; false. */
static bool note_misfit(const findings *found, uint32_t line, int16_t field, int reason) {
    if (!found->kinds[line]) {
        found->kinds[line] = (uint8_t)reason;
        found->fields[line] = field;
    }
    return false;
}

static inline __attribute__((always_inline)) bool write_as(column *c, size_t row,
                                                           const cells *values, int16_t field,
                                                           const findings *found, bool is_wide) {
    const uint32_t *before = values->before, *end = values->end;
    bool fits = true, has_seconds = c->type == FC_SECONDS;
    for (size_t r = 0; r < values->rows; r++) {
        uint32_t start = *before + 1, length = *end - start;
        before += values->before_step, end += values->end_step;
        const uint8_t *value = values->text + start;
        int64_t number = 0;
        int reason = read_number(value, length, c->largest, &number);
        if (__builtin_expect(reason, 0)) {
            number = 0;
            if (is_null(value, length))
                set_null(c, row + r);
            else
                fits = note_misfit(found, found->lines[r], field, reason);
        } else if (has_seconds && __builtin_expect(number > FC_MOST_SECONDS, 0)) {
            number /= 1000;
            found->milliseconds[found->lines[r]] = 1;
        }
        if (is_wide)
            ((int64_t *)c->values)[row + r] = number;
        else
            ((int32_t *)c->values)[row + r] = (int32_t)number;
    }
    return fits;
}

bool write_numbers(column *c, size_t row, const cells *values, int16_t field,
                   const findings *found) {
    if (value_bytes(c) == 8)
        return write_as(c, row, values, field, found, true);
    return write_as(c, row, values, field, found, false);
}

void keep_fitting(column *c, size_t row, size_t rows, const findings *found) {
    size_t bytes = value_bytes(c), kept = row;
    for (size_t r = 0; r < rows; r++) {
        if (found->kinds[found->lines[r]])
            continue;
        size_t from = row + r;
        memcpy((uint8_t *)c->values + kept * bytes, (uint8_t *)c->values + from * bytes, bytes);
        uint8_t bit = c->validity[from / 8] >> from % 8 & 1;
        c->validity[kept / 8] =
            (uint8_t)((c->validity[kept / 8] & ~(1u << kept % 8)) | (unsigned)bit << kept % 8);
        kept++;
    }
    column_truncate(c, kept, row + rows);
}

void column_truncate(column *c, size_t rows, size_t before) {
    for (; rows < before && rows % 8; rows++)
        c->validity[rows / 8] |= (uint8_t)(1u << rows % 8);
    if (rows < before)
        memset(c->validity + rows / 8, 0xFF, before / 8 + 1 - rows / 8);
}

/* --- texts ----------------------------------------------------------------------------------- */

/* So many rows are read before the first of their values is looked up: with half as many, reading
 * takes 4 % longer. */
#define ROWS_AHEAD 32

/* Write a number to the rows from `begin` to `end`, and up to NUMBERS_AT_ONCE behind `begin`. */
static inline void repeat_number(int32_t *out, uint32_t number, size_t begin, size_t end) {
    uint32_t numbers[NUMBERS_AT_ONCE] = {number, number, number, number};
    do {
        memcpy(out + begin, numbers, sizeof numbers);
        begin += NUMBERS_AT_ONCE;
    } while (begin < end);
}

/* Of at most ROWS_AHEAD rows. */
static inline void set_nulls(column *c, size_t begin, size_t end) {
    uint64_t bits = ((UINT64_C(1) << (end - begin)) - 1) << begin % 8, validity;
    memcpy(&validity, c->validity + begin / 8, sizeof validity);
    validity &= ~bits;
    memcpy(c->validity + begin / 8, &validity, sizeof validity);
}

#define WRITE_TEXTS write_texts_words
#define KEY short_text
#define MASK(length) short_mask_of(length)
#define LOAD(value, mask) masked_short(value, &(mask))
#define EQUALS(value, key, mask) equals_short(value, &(key), &(mask))
#define STANDS_IN(slot, key) same_short(&(slot)->text, &(key))
#define AS_SHORT(key) (key)
#define TARGET
#include "texts.inc"

#if defined(__x86_64__)
#include <immintrin.h>

#define AVX2 __attribute__((target("avx2,bmi,bmi2,popcnt")))

AVX2 static inline __m256i words_avx2(const void *words) {
    return _mm256_loadu_si256((const __m256i *)words);
}

AVX2 static inline bool equals_avx2(const uint8_t *value, __m256i key, __m256i mask) {
    return _mm256_testz_si256(_mm256_xor_si256(words_avx2(value), key), mask);
}

AVX2 static inline bool same_avx2(__m256i a, __m256i b) {
    __m256i difference = _mm256_xor_si256(a, b);
    return _mm256_testz_si256(difference, difference);
}

AVX2 static inline short_text short_avx2(__m256i key) {
    short_text text;
    _mm256_storeu_si256((__m256i *)&text, key);
    return text;
}

#define WRITE_TEXTS write_texts_avx2
#define KEY __m256i
#define MASK(length) words_avx2(short_mask_at(length))
#define LOAD(value, mask) _mm256_and_si256(words_avx2(value), mask)
#define EQUALS(value, key, mask) equals_avx2(value, key, mask)
#define STANDS_IN(slot, key) same_avx2(words_avx2(&(slot)->text), key)
#define AS_SHORT(key) short_avx2(key)
#define TARGET AVX2
#include "texts.inc"
#endif

bool write_texts(column *c, size_t row, const cells *values, int32_t speed) {
#if defined(__x86_64__)
    if (speed == FC_AVX2)
        return write_texts_avx2(c, row, values);
#endif
    (void)speed;
    return write_texts_words(c, row, values);
}
