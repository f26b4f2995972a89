/* Single values: numbers, times of events, names, UTF-8. */
#ifndef FLOWCONV_VALUES_H
#define FLOWCONV_VALUES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* So many bytes behind the beginning of a value must be readable. */
#define VALUE_BYTES 32

static inline bool is_null(const uint8_t *value, uint32_t length) {
    return length == 1 && value[0] == '-';
}

static inline uint64_t load_word(const uint8_t *bytes) {
    uint64_t word;
    memcpy(&word, bytes, 8);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    word = __builtin_bswap64(word);
#endif
    return word;
}

/* Make a number of 1 to 8 digits; false if they are no digits. Reads 8 bytes. */
static inline bool parse_digits(const uint8_t *digits, uint32_t length, uint32_t *number) {
    /* The last digit becomes the highest byte; what stands before the first is 0, as a digit is. */
    uint64_t word = (load_word(digits) ^ UINT64_C(0x3030303030303030)) << (64 - 8 * length);
    if ((word | (word + UINT64_C(0x0606060606060606))) & UINT64_C(0xF0F0F0F0F0F0F0F0))
        return false;
    /* Pairs, then fours, then all eight. */
    word = word * (1 + (10 << 8)) >> 8;
    word = (word & UINT64_C(0x00FF00FF00FF00FF)) * (1 + (100 << 16)) >> 16;
    word = (word & UINT64_C(0x0000FFFF0000FFFF)) * (1 + (UINT64_C(10000) << 32)) >> 32;
    *number = (uint32_t)word;
    return true;
}

/* Any value -> a whole number; 0, or the enum fc_reason why it is none. */
int parse_number(const uint8_t *value, uint32_t length, int64_t largest, int64_t *number);

/* Whether a value is the time of an event, 2026-01-14T00:00:00.000Z, if only in its form. The time
 * is in milliseconds since 1970; -1 if there was none such, or it is before. */
bool parse_event_time(const uint8_t *value, uint32_t length, int64_t *milliseconds);

/* Whether a value may name a field: a letter, then letters, digits, - and _, maybe within ${}. */
bool is_name(const uint8_t *value, uint32_t length);

bool is_utf8(const uint8_t *text, size_t size);

#endif
