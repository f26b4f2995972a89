#include "columns.h"

#include <stdlib.h>
#include <string.h>

#include "memory.h"
#include "values.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define AVX2 __attribute__((target("avx2,bmi,bmi2,popcnt")))
#endif

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

/* Write the number of row `r` of `values`; false if there is none, nor a null. */
static inline bool write_number(column *c, size_t row, const cells *values, size_t r, int16_t field,
                                const findings *found) {
    uint32_t start = values->before[r * values->before_step] + 1;
    uint32_t length = values->end[r * values->end_step] - start;
    const uint8_t *value = values->text + start;
    bool fits = true;
    int64_t number = 0;
    int reason = read_number(value, length, c->largest, &number);
    if (__builtin_expect(reason, 0)) {
        number = 0;
        if (is_null(value, length))
            set_null(c, row + r);
        else
            fits = note_misfit(found, found->lines[r], field, reason);
    } else if (c->type == FC_SECONDS && __builtin_expect(number > FC_MOST_SECONDS, 0)) {
        number /= 1000;
        found->milliseconds[found->lines[r]] = 1;
    }
    if (value_bytes(c) == 8)
        ((int64_t *)c->values)[row + r] = number;
    else
        ((int32_t *)c->values)[row + r] = (int32_t)number;
    return fits;
}

#if defined(__x86_64__)

/* Make numbers of four times eight digits, of which the first ones may be 0 instead of '0'. Returns
 * which have nothing but digits: all bits of a lane or none. */
AVX2 static inline __m256i parse_four(__m256i digits, __m256i *numbers) {
    __m256i above = _mm256_subs_epu8(digits, _mm256_set1_epi8(9));
    __m256i pairs = _mm256_maddubs_epi16(digits, _mm256_set1_epi16(10 | 1 << 8));
    __m256i fours = _mm256_madd_epi16(pairs, _mm256_set1_epi32(100 | 1 << 16));
    __m256i high = _mm256_mul_epu32(fours, _mm256_set1_epi64x(10000));
    *numbers = _mm256_add_epi64(high, _mm256_srli_epi64(fours, 32));
    return _mm256_cmpeq_epi64(above, _mm256_setzero_si256());
}

/* Eight characters of each of four values, '0' taken away. */
AVX2 static inline __m256i load_four(const uint8_t *a, const uint8_t *b, const uint8_t *c,
                                     const uint8_t *d) {
    __m256i words = _mm256_set_epi64x((int64_t)load_word(d), (int64_t)load_word(c),
                                      (int64_t)load_word(b), (int64_t)load_word(a));
    return _mm256_xor_si256(words, _mm256_set1_epi8('0'));
}

/* Read the numbers of the first four rows; returns a bit for each that is not plain: it has other
 * characters than digits, more than the first row's or fewer, or is above `most`. */
AVX2 static inline unsigned read_four(const cells *values, int64_t most, __m256i *numbers) {
    const uint8_t *starts[4], *lasts[4]; /* `lasts`: eight characters before the end */
    uint32_t lengths[4];
    for (size_t i = 0; i < 4; i++) {
        uint32_t start = values->before[i * values->before_step] + 1;
        lengths[i] = values->end[i * values->end_step] - start;
        starts[i] = values->text + start;
        lasts[i] = starts[i] + (lengths[i] > 8 ? lengths[i] - 8 : 0);
    }
    bool is_long = lengths[0] > 8;
    __m256i digits = _mm256_set_epi64x(lengths[3], lengths[2], lengths[1], lengths[0]);
    if (is_long)
        digits = _mm256_sub_epi64(digits, _mm256_set1_epi64x(8));
    __m256i first = load_four(starts[0], starts[1], starts[2], starts[3]);
    __m256i shift = _mm256_sub_epi64(_mm256_set1_epi64x(64), _mm256_slli_epi64(digits, 3));
    __m256i plain = parse_four(_mm256_sllv_epi64(first, shift), numbers);
    __m256i none = _mm256_cmpgt_epi64(_mm256_set1_epi64x(1), digits);
    __m256i many = _mm256_cmpgt_epi64(digits, _mm256_set1_epi64x(8));
    if (is_long) {
        __m256i low, high = _mm256_mul_epu32(*numbers, _mm256_set1_epi64x(100000000));
        __m256i last = load_four(lasts[0], lasts[1], lasts[2], lasts[3]);
        plain = _mm256_and_si256(plain, parse_four(last, &low));
        *numbers = _mm256_add_epi64(high, low);
    }
    __m256i above = _mm256_cmpgt_epi64(*numbers, _mm256_set1_epi64x(most));
    plain = _mm256_andnot_si256(_mm256_or_si256(_mm256_or_si256(none, many), above), plain);
    return ~(unsigned)_mm256_movemask_pd(_mm256_castsi256_pd(plain)) & 0xF;
}

/* As write_numbers, for as many rows as are whole fours; returns how many. */
AVX2 static size_t write_fours(column *c, size_t row, const cells *values, int16_t field,
                               const findings *found, bool *fits) {
    bool is_wide = value_bytes(c) == 8;
    bool is_time = c->type == FC_SECONDS && c->largest > FC_MOST_SECONDS;
    int64_t most = is_time ? FC_MOST_SECONDS : c->largest;
    uint8_t *out = (uint8_t *)c->values + row * value_bytes(c);
    cells rest = *values;
    size_t r = 0;
    for (; r + 4 <= values->rows; r += 4) {
        __m256i numbers;
        unsigned odd = read_four(&rest, most, &numbers);
        rest.before += 4 * rest.before_step, rest.end += 4 * rest.end_step;
        if (is_wide) {
            _mm256_storeu_si256((__m256i *)(out + 8 * r), numbers);
        } else {
            __m256i lows = _mm256_setr_epi32(0, 2, 4, 6, 0, 2, 4, 6);
            numbers = _mm256_permutevar8x32_epi32(numbers, lows);
            _mm_storeu_si128((__m128i *)(out + 4 * r), _mm256_castsi256_si128(numbers));
        }
        for (; odd; odd &= odd - 1)
            *fits &= write_number(c, row, values, r + (size_t)__builtin_ctz(odd), field, found);
    }
    return r;
}

#endif

bool write_numbers(column *c, size_t row, const cells *values, int16_t field, const findings *found,
                   int32_t speed) {
    bool fits = true;
    size_t r = 0;
#if defined(__x86_64__)
    if (speed == FC_AVX2)
        r = write_fours(c, row, values, field, found, &fits);
#endif
    (void)speed;
    for (; r < values->rows; r++)
        fits &= write_number(c, row, values, r, field, found);
    return fits;
}

/* Move bits to a place before theirs, of which as many words are readable and writable. */
static void move_bits(uint8_t *bits, size_t to, size_t from, size_t count) {
    for (size_t some; count > 0; count -= some, to += some, from += some) {
        some = count < 56 ? count : 56;
        uint64_t moved, there, mask = (UINT64_C(1) << some) - 1;
        memcpy(&moved, bits + from / 8, sizeof moved);
        memcpy(&there, bits + to / 8, sizeof there);
        there &= ~(mask << to % 8);
        there |= (moved >> from % 8 & mask) << to % 8;
        memcpy(bits + to / 8, &there, sizeof there);
    }
}

run next_fitting(const findings *found, size_t begin, size_t rows) {
    while (begin < rows && found->kinds[found->lines[begin]])
        begin++;
    size_t end = begin;
    while (end < rows && !found->kinds[found->lines[end]])
        end++;
    return (run){begin, end - begin};
}

void keep_fitting(column *c, size_t row, size_t rows, const findings *found) {
    size_t bytes = value_bytes(c), kept = row;
    uint8_t *values = c->values;
    run fitting = {0};
    while ((fitting = next_fitting(found, fitting.begin + fitting.rows, rows)).rows) {
        size_t from = row + fitting.begin;
        memmove(values + kept * bytes, values + from * bytes, fitting.rows * bytes);
        move_bits(c->validity, kept, from, fitting.rows);
        kept += fitting.rows;
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
