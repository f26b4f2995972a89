/* Numbers and values -> bytes of a page.

https://github.com/apache/parquet-format/blob/master/Encodings.md */

#include "encodings.h"
#include "texts.h"

/* A run of fewer is packed with its neighbours, once packing has begun: its two bytes, and the
header of what follows, would save nothing. */
#define SHORTEST_RUN 16u

/* Values of a run that are compared at once. */
#define RUN_STEP 32u

uint64_t hybrid_capacity(uint32_t count, unsigned width) {
    /* Each run or group has at least eight values, a header of at most five bytes, and `width`
    bytes of packed values or at most four of a repeated one. Packing stores four at a time. */
    return ((uint64_t)count / 8 + 2) * (width + 5 + 4) + 4;
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

/* Pack numbers into groups of eight; the last group is filled with zeros. */
static uint8_t *encode_packed(uint8_t *out, const uint32_t *values, uint32_t count,
                              unsigned width) {
    uint32_t groups = (count + 7) / 8;
    out = encode_varint(out, (uint64_t)groups << 1 | 1);
    uint8_t *end = out + (uint64_t)groups * width;
    if (width == 1) { /* definition levels: three times as fast */
        pack_bits(out, values, count);
        return end;
    }
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
    for (; out < end; bits >>= 8)
        *out++ = (uint8_t)bits;
    return end;
}

static uint32_t run_length(const uint32_t *values, uint32_t count) {
    uint32_t length = 1;
    if (count > 1 && values[1] != values[0])
        return length;
    /* Long runs are common; without a branch for each value, compilers use SIMD. */
    for (; length + RUN_STEP <= count; length += RUN_STEP) {
        uint32_t differences = 0;
        for (uint32_t i = 0; i < RUN_STEP; i++)
            differences |= values[length + i] ^ values[0];
        if (differences)
            break;
    }
    while (length < count && values[length] == values[0])
        length++;
    return length;
}

/* Return how many values to pack before a run begins that pays. */
static uint32_t packed_length(const uint32_t *values, uint32_t count) {
    uint32_t length = 8;
    for (; length < count; length += 8) {
        uint32_t left = count - length;
        uint32_t enough = left < SHORTEST_RUN ? left : SHORTEST_RUN;
        if (run_length(values + length, enough) == enough && left >= 8)
            return length;
    }
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
