/* Numbers and values -> bytes of a page.

https://github.com/apache/parquet-format/blob/master/Encodings.md */

#include "encodings.h"
#include "texts.h"

#include <stdbool.h>

/* A run of fewer is packed with its neighbours, once packing has begun: its two bytes, and the
header of what follows, would save nothing. */
#define SHORTEST_RUN 16u

/* Values of a run that are compared at once: without a branch for each, compilers use SIMD. */
#define LONG_STEP 32u
#define SHORT_STEP 8u

uint64_t hybrid_capacity(uint32_t count, unsigned width) {
    /* Each run or group has at least eight values, a header of at most five bytes, and `width`
    bytes of packed values or at most four of a repeated one. Packing stores 16 at a time. */
    return ((uint64_t)count / 8 + 2) * (width + 5 + 4) + 16;
}

static uint8_t *encode_varint(uint8_t *out, uint64_t value) {
    for (; value >= 128; value >>= 7)
        *out++ = (uint8_t)(value | 128);
    *out++ = (uint8_t)value;
    return out;
}

uint8_t *encode_run(uint8_t *out, uint32_t value, uint32_t count, unsigned width) {
    out = encode_varint(out, (uint64_t)count << 1);
    memcpy(out, &value, 4);
    return out + (width + 7) / 8;
}

/* Pack single bits; `out` has room for all groups. */
static void pack_bits(uint8_t *out, const uint32_t *bits, uint32_t count) {
    for (; count >= 8; count -= 8, bits += 8)
        *out++ = (uint8_t)(bits[0] | bits[1] << 1 | bits[2] << 2 | bits[3] << 3 | bits[4] << 4 |
                           bits[5] << 5 | bits[6] << 6 | bits[7] << 7);
    if (count)
        *out = 0;
    for (uint32_t i = 0; i < count; i++)
        *out |= (uint8_t)(bits[i] << i);
}

/* Return four numbers of at most 16 bits, one behind another. */
static inline uint64_t join_four(const uint32_t *values, unsigned width) {
    uint64_t low = values[0] | (uint64_t)values[1] << width;
    uint64_t high = values[2] | (uint64_t)values[3] << width;
    return low | high << 2 * width;
}

/* Pack eight numbers of at most 16 bits; writes 16 bytes, of which `width` count. */
static inline void pack_eight(uint8_t *out, const uint32_t *values, unsigned width) {
    uint64_t low = join_four(values, width), high = join_four(values + 4, width);
    unsigned used = 4 * width;
    uint64_t words[2] = {used < 64 ? low | high << used : low,
                         used < 64 ? high >> (64 - used) : high};
    memcpy(out, words, 16);
}

/* Pack numbers of any width, bit by bit of a word. */
static void pack_wide(uint8_t *out, const uint32_t *values, uint32_t count, unsigned width) {
    uint64_t bits = 0;
    unsigned filled = 0;
    for (uint32_t i = 0; i < count; i++) {
        bits |= (uint64_t)values[i] << filled;
        filled += width;
        if (filled >= 32) {
            memcpy(out, &bits, 4);
            out += 4;
            bits >>= 32;
            filled -= 32;
        }
    }
    memcpy(out, &bits, 8);
}

/* Pack numbers into groups of eight; the last group is filled with zeros. */
static uint8_t *encode_packed(uint8_t *out, const uint32_t *values, uint32_t count,
                              unsigned width) {
    uint32_t groups = (count + 7) / 8, rest = count % 8;
    out = encode_varint(out, (uint64_t)groups << 1 | 1);
    uint8_t *end = out + (uint64_t)groups * width;
    if (width == 1) { /* definition levels: three times as fast */
        pack_bits(out, values, count);
        return end;
    }
    uint32_t last[8] = {0};
    memcpy(last, values + count - rest, rest * sizeof *values);
    if (width > 16) {
        pack_wide(out, values, count - rest, width);
    } else {
        for (uint32_t i = 0; i < count - rest; i += 8)
            pack_eight(out + (uint64_t)i / 8 * width, values + i, width);
    }
    if (rest)
        pack_wide(end - width, last, 8, width);
    return end;
}

static inline bool are_all(const uint32_t *values, uint32_t count, uint32_t value) {
    uint32_t differences = 0;
    for (uint32_t i = 0; i < count; i++)
        differences |= values[i] ^ value;
    return differences == 0;
}

static uint32_t run_length(const uint32_t *values, uint32_t count) {
    uint32_t length = 1, value = values[0];
    if (count > 1 && values[1] != value)
        return length;
    while (length + LONG_STEP <= count && are_all(values + length, LONG_STEP, value))
        length += LONG_STEP;
    while (length + SHORT_STEP <= count && are_all(values + length, SHORT_STEP, value))
        length += SHORT_STEP;
    while (length < count && values[length] == value)
        length++;
    return length;
}

/* Return how many values to pack before a run begins that pays. */
static uint32_t packed_length(const uint32_t *values, uint32_t count) {
    uint32_t length = 8;
    for (; length + SHORTEST_RUN <= count; length += 8)
        if (are_all(values + length, SHORTEST_RUN, values[length]))
            return length;
    for (; length + 8 <= count; length += 8) /* the last run may be shorter */
        if (are_all(values + length, count - length, values[length]))
            return length;
    return count;
}

uint8_t *encode_hybrid(uint8_t *out, const uint32_t *values, uint32_t count, unsigned width) {
    uint32_t length;
    for (uint32_t at = 0; at < count; at += length) {
        length = run_length(values + at, count - at);
        if (length >= 8 || length == count - at) {
            out = encode_run(out, values[at], length, width);
        } else {
            length = packed_length(values + at, count - at);
            out = encode_packed(out, values + at, length, width);
        }
    }
    return out;
}

static uint8_t *plain_int32(uint8_t *out, const int64_t *entries, const uint32_t *numbers,
                            uint32_t count) {
    for (uint32_t i = 0; i < count; i++, out += 4) {
        int32_t value = (int32_t)entries[numbers[i]];
        memcpy(out, &value, 4);
    }
    return out;
}

static uint8_t *plain_int64(uint8_t *out, const int64_t *entries, const uint32_t *numbers,
                            uint32_t count) {
    for (uint32_t i = 0; i < count; i++, out += 8)
        memcpy(out, &entries[numbers[i]], 8);
    return out;
}

static uint8_t *plain_texts(uint8_t *out, const fc_text *entries, const uint32_t *numbers,
                            uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        fc_text text = entries[numbers[i]];
        uint32_t size_bytes = (uint32_t)text.size_bytes;
        memcpy(out, &size_bytes, 4);
        memcpy(out + 4, text.bytes, size_bytes);
        out += 4 + (uint64_t)size_bytes;
    }
    return out;
}

uint8_t *encode_plain(uint8_t *out, const fc_chunk *column, const uint32_t *numbers,
                      uint32_t count) {
    switch (column->type) {
    case FC_PHYSICAL_INT32:
        return plain_int32(out, column->entries, numbers, count);
    case FC_PHYSICAL_INT64:
        return plain_int64(out, column->entries, numbers, count);
    default:
        return plain_texts(out, column->entries, numbers, count);
    }
}
