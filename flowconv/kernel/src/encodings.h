/* Parquet's encodings of a page's values; each function returns where it ended. */

#ifndef FLOWCONV_ENCODINGS_H
#define FLOWCONV_ENCODINGS_H

#include "flowconv.h"

/* The most that `encode_hybrid` writes. */
uint64_t hybrid_capacity(uint32_t count, unsigned width);

/* RLE/bit-packing hybrid of numbers of `width` bits, 1 to 32. */
uint8_t *encode_hybrid(uint8_t *out, const uint32_t *values, uint32_t count, unsigned width);

/* The same of one number, `count` times. */
uint8_t *encode_run(uint8_t *out, uint32_t value, uint32_t count, unsigned width);

/* PLAIN: the entries of `count` numbers, none of which is FC_NULL. */
uint8_t *encode_plain(uint8_t *out, const fc_chunk *column, const uint32_t *numbers,
                      uint32_t count);

#endif
