/* Texts -> numbers in the order in which they come, for one column of some batches. */
#ifndef FLOWCONV_DICTIONARY_H
#define FLOWCONV_DICTIONARY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Values up to this length are compared as four words; most of AWS's are. */
#define SHORT_BYTES 32

/* A value of up to SHORT_BYTES, with zeros behind it. */
typedef struct {
    uint64_t words[4];
} short_text;

typedef struct {
    short_text text; /* of a longer value its first bytes */
    uint32_t length;
    uint32_t number; /* NO_NUMBER: this slot is free */
} slot;

#define NO_NUMBER UINT32_MAX

typedef struct {
    slot *slots; /* a hash table, at most half full; its size is a power of two */
    uint32_t slot_count;
    uint32_t count; /* of values */
    uint64_t seed;
    int32_t *offsets; /* count + 1, into bytes: Arrow's layout of texts; shared */
    uint8_t *bytes;   /* the values, one behind another; shared */
} dictionary;

/* False if there is no memory. `seed` keeps writers of logs from choosing texts that collide. */
bool dictionary_begin(dictionary *texts, uint64_t seed);

/* The values so far, where they lie: nothing can be looked up there. */
dictionary dictionary_values(const dictionary *texts);

/* Free what only looking up needs. */
void dictionary_finish(dictionary *texts);

/* What all values take, in bytes. */
static inline size_t dictionary_bytes(const dictionary *texts) {
    return texts->offsets ? (size_t)texts->offsets[texts->count] : 0;
}

void dictionary_free(dictionary *texts);

/* The number of a value, a new one if need be; NO_NUMBER if there is no memory. Reads SHORT_BYTES
 * from `value` on, so these must be readable. All values together have at most INT32_MAX bytes. */
uint32_t dictionary_number(dictionary *texts, const uint8_t *value, uint32_t length);

/* The number of a value; NO_NUMBER if it is not there. */
uint32_t dictionary_find(const dictionary *texts, const uint8_t *value, uint32_t length);

/* As many bytes that keep a value as zeros that drop what is behind it. */
extern const uint8_t short_mask[2 * SHORT_BYTES];

/* The mask of a value's first SHORT_BYTES, or of all of it. */
static inline const uint8_t *short_mask_at(uint32_t length) {
    return short_mask + SHORT_BYTES - (length < SHORT_BYTES ? length : SHORT_BYTES);
}

static inline short_text short_mask_of(uint32_t length) {
    short_text mask;
    memcpy(&mask, short_mask_at(length), SHORT_BYTES);
    return mask;
}

static inline short_text masked_short(const uint8_t *value, const short_text *mask) {
    short_text text;
    memcpy(&text, value, SHORT_BYTES);
    for (int i = 0; i < 4; i++)
        text.words[i] &= mask->words[i];
    return text;
}

/* The first SHORT_BYTES of a value, or all of it. */
static inline short_text load_short(const uint8_t *value, uint32_t length) {
    short_text mask = short_mask_of(length);
    return masked_short(value, &mask);
}

/* Whether what the mask keeps of a value is `text`. */
static inline bool equals_short(const uint8_t *value, const short_text *text,
                                const short_text *mask) {
    uint64_t difference = 0;
    for (int i = 0; i < 4; i++) {
        uint64_t word;
        memcpy(&word, value + 8 * i, 8);
        difference |= (word ^ text->words[i]) & mask->words[i];
    }
    return difference == 0;
}

static inline bool same_short(const short_text *a, const short_text *b) {
    uint64_t difference = 0;
    for (int i = 0; i < 4; i++)
        difference |= a->words[i] ^ b->words[i];
    return difference == 0;
}

/* Both halves of a product depend on all bits of both factors. */
static inline uint64_t mix_words(uint64_t a, uint64_t b) {
    unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* Add what stands behind the first SHORT_BYTES to the sum of a hash. */
uint64_t hash_rest(uint64_t sum, const uint8_t *value, uint32_t length, uint64_t seed);

/* The hash of a value whose beginning was loaded already. */
static inline uint64_t dictionary_hash(const dictionary *texts, const short_text *text,
                                       const uint8_t *value, uint32_t length) {
    uint64_t seed = texts->seed;
    const uint64_t *words = text->words;
    uint64_t sum = mix_words(words[0] ^ seed ^ length, words[1] ^ UINT64_C(0xD1B54A32D192ED03));
    if (length > SHORT_BYTES / 2)
        sum ^= mix_words(words[2] ^ ~seed, words[3] ^ UINT64_C(0xABCDEF1234567891));
    if (length > SHORT_BYTES)
        sum = hash_rest(sum, value, length, seed);
    return mix_words(sum, UINT64_C(0x9E3779B97F4A7C15) ^ seed);
}

/* Where a value with this hash stands, if it is the only one there. */
static inline const slot *first_slot(const dictionary *texts, uint64_t hash) {
    return &texts->slots[(uint32_t)hash & (texts->slot_count - 1)];
}

/* As dictionary_number, for a value whose hash is known. */
uint32_t dictionary_number_of(dictionary *texts, uint64_t hash, const short_text *text,
                              const uint8_t *value, uint32_t length);

#endif
