/* Bytes of texts as numbers, and the order of texts. */

#ifndef FLOWCONV_TEXTS_H
#define FLOWCONV_TEXTS_H

#include "flowconv.h"

#include <string.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "Arrow and Parquet are little-endian, and this code copies their numbers as they are."
#endif

static inline uint64_t load8(const uint8_t *bytes) {
    uint64_t word;
    memcpy(&word, bytes, 8);
    return word;
}

/* Load up to eight bytes; the missing ones are zeros. */
static inline uint64_t load_short(const uint8_t *bytes, uint64_t size_bytes) {
    uint64_t word = 0;
    memcpy(&word, bytes, size_bytes);
    return word;
}

/* As Parquet orders texts: byte by byte, without sign. */
static inline int compare_texts(fc_text a, fc_text b) {
    uint64_t common = a.size_bytes < b.size_bytes ? a.size_bytes : b.size_bytes;
    int order = memcmp(a.bytes, b.bytes, common);
    return order ? order : (a.size_bytes > b.size_bytes) - (a.size_bytes < b.size_bytes);
}

#endif
