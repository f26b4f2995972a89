/* Finding spaces, tabs and newlines. */
#ifndef FLOWCONV_DELIMITERS_H
#define FLOWCONV_DELIMITERS_H

#include <stddef.h>
#include <stdint.h>

/* So many bytes behind a text must be readable: it is looked at in whole blocks. */
#define BLOCK_BYTES 64

/* What is in a block of 64 bytes. */
enum { BLOCK_PLAIN = 0, BLOCK_ODD = 1, BLOCK_NOT_ASCII = 2 };

/* So many delimiters are noted at once, also where there are fewer. */
#define DELIMITERS_AT_ONCE 8

/* The delimiters of a text. The arrays have room for one entry a byte and DELIMITERS_AT_ONCE more,
 * `blocks` for one a block. */
typedef struct {
    uint32_t *offsets; /* of each space, tab and newline */
    size_t count;
    uint32_t *line_ends; /* index, in `offsets`, of each newline */
    size_t lines;
    uint8_t *blocks;
    uint8_t found; /* all of `blocks` together */
} delimiters;

/* Find the delimiters of a text that ends with a newline. Odd are tabs, carriage returns, a
 * delimiter beside another or at the beginning, and a # at the beginning of a value.
 *
 * The variants differ in nothing but speed; see find_delimiters_of.
 */
typedef void find_delimiters(const uint8_t *text, size_t size, delimiters *found);

/* The variant of a speed, NULL if this processor lacks it; FC_BEST becomes the one that it means.
 */
find_delimiters *find_delimiters_of(int32_t *speed);

#endif
