/* Split block Bloom filters: https://github.com/apache/parquet-format/blob/master/BloomFilter.md */

#include "texts.h"

static const uint64_t PRIME_1 = 0x9E3779B185EBCA87u;
static const uint64_t PRIME_2 = 0xC2B2AE3D27D4EB4Fu;
static const uint64_t PRIME_3 = 0x165667B19E3779F9u;
static const uint64_t PRIME_4 = 0x85EBCA77C2B2AE63u;
static const uint64_t PRIME_5 = 0x27D4EB2F165667C5u;

/* Each of a block's eight words has one bit of a value; these choose it. */
static const uint32_t SALT[8] = {0x47B6137Bu, 0x44974D91u, 0x8824AD5Bu, 0xA2B7289Du,
                                 0x705495C7u, 0x2DF1424Bu, 0x9EFC4947u, 0x5C6BFB31u};

static uint64_t rotate(uint64_t value, unsigned bits) {
    return value << bits | value >> (64 - bits);
}

static uint64_t round_of(uint64_t lane, uint64_t word) {
    return rotate(lane + word * PRIME_2, 31) * PRIME_1;
}

/* The part of XXH64 for each 32 bytes; `text` is left with the rest. */
static uint64_t hash_stripes(fc_text *text) {
    uint64_t lanes[4] = {PRIME_1 + PRIME_2, PRIME_2, 0, 0 - PRIME_1};
    for (; text->size_bytes >= 32; text->size_bytes -= 32, text->bytes += 32)
        for (int i = 0; i < 4; i++)
            lanes[i] = round_of(lanes[i], load8(text->bytes + 8 * i));
    uint64_t hash =
        rotate(lanes[0], 1) + rotate(lanes[1], 7) + rotate(lanes[2], 12) + rotate(lanes[3], 18);
    for (int i = 0; i < 4; i++)
        hash = (hash ^ round_of(0, lanes[i])) * PRIME_1 + PRIME_4;
    return hash;
}

/* XXH64 with the seed 0: https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md */
static uint64_t xxh64(fc_text text) {
    uint64_t size_bytes = text.size_bytes;
    uint64_t hash = (size_bytes >= 32 ? hash_stripes(&text) : PRIME_5) + size_bytes;
    for (; text.size_bytes >= 8; text.size_bytes -= 8, text.bytes += 8)
        hash = rotate(hash ^ round_of(0, load8(text.bytes)), 27) * PRIME_1 + PRIME_4;
    if (text.size_bytes >= 4) {
        hash = rotate(hash ^ load_short(text.bytes, 4) * PRIME_1, 23) * PRIME_2 + PRIME_3;
        text.size_bytes -= 4;
        text.bytes += 4;
    }
    for (; text.size_bytes; text.size_bytes--, text.bytes++)
        hash = rotate(hash ^ *text.bytes * PRIME_5, 11) * PRIME_1;
    hash = (hash ^ hash >> 33) * PRIME_2;
    hash = (hash ^ hash >> 29) * PRIME_3;
    return hash ^ hash >> 32;
}

void fc_bloom_filter(const fc_text *texts, uint32_t count, uint32_t *filter, uint32_t blocks) {
    for (uint32_t i = 0; i < count; i++) {
        uint64_t hash = xxh64(texts[i]);
        uint32_t *block = filter + 8 * ((hash >> 32) * blocks >> 32);
        for (int word = 0; word < 8; word++)
            block[word] |= 1u << ((uint32_t)hash * SALT[word] >> 27);
    }
}
