#include "dictionary.h"

#include <stdlib.h>
#include <string.h>

#include "memory.h"

#define FIRST_SLOTS 64

#define EIGHT 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF
const uint8_t short_mask[2 * SHORT_BYTES] = {EIGHT, EIGHT, EIGHT, EIGHT};

uint64_t hash_rest(uint64_t sum, const uint8_t *value, uint32_t length, uint64_t seed) {
    for (uint32_t at = SHORT_BYTES; at < length; at += 8) {
        uint64_t word = 0;
        memcpy(&word, value + at, length - at < 8 ? length - at : 8);
        sum = mix_words(sum ^ word, seed | 1);
    }
    return sum;
}

bool dictionary_begin(dictionary *texts, uint64_t seed) {
    *texts = (dictionary){.seed = seed, .slot_count = FIRST_SLOTS};
    texts->slots = malloc(FIRST_SLOTS * sizeof(slot));
    if (!texts->slots || !grow_shared((void **)&texts->offsets, 0, FIRST_SLOTS, 4)) {
        dictionary_free(texts);
        return false;
    }
    for (uint32_t i = 0; i < FIRST_SLOTS; i++)
        texts->slots[i].number = NO_NUMBER;
    texts->offsets[0] = 0;
    return true;
}

void dictionary_free(dictionary *texts) {
    free(texts->slots);
    unshare(texts->offsets);
    unshare(texts->bytes);
    *texts = (dictionary){0};
}

dictionary dictionary_values(const dictionary *texts) {
    return (dictionary){
        .count = texts->count,
        .offsets = share(texts->offsets),
        .bytes = share(texts->bytes),
    };
}

void dictionary_finish(dictionary *texts) {
    free(texts->slots);
    texts->slots = NULL;
    texts->slot_count = 0;
}

static const uint8_t *value_of(const dictionary *texts, uint32_t number) {
    return texts->bytes + texts->offsets[number];
}

/* The slot of a value: its own, or the free one where it belongs. */
static slot *slot_of(const dictionary *texts, uint64_t sum, const short_text *text,
                     const uint8_t *value, uint32_t length) {
    uint32_t most = texts->slot_count - 1, at = (uint32_t)sum & most;
    for (;; at = (at + 1) & most) {
        slot *found = &texts->slots[at];
        if (found->number == NO_NUMBER)
            return found;
        if (found->length != length || !same_short(&found->text, text))
            continue;
        if (length <= SHORT_BYTES || !memcmp(value_of(texts, found->number), value, length))
            return found;
    }
}

static bool add_slots(dictionary *texts) {
    uint32_t count = texts->slot_count;
    if (count > UINT32_MAX / 4)
        return false;
    slot *old = texts->slots;
    slot *slots = malloc((size_t)count * 2 * sizeof(slot));
    if (!slots)
        return false;
    texts->slots = slots;
    texts->slot_count = count * 2;
    for (uint32_t i = 0; i < count * 2; i++)
        slots[i].number = NO_NUMBER;
    for (uint32_t i = 0; i < count; i++) {
        const uint8_t *value = old[i].number == NO_NUMBER ? NULL : value_of(texts, old[i].number);
        if (value) {
            uint64_t sum = dictionary_hash(texts, &old[i].text, value, old[i].length);
            *slot_of(texts, sum, &old[i].text, value, old[i].length) = old[i];
        }
    }
    free(old);
    return true;
}

uint32_t dictionary_number_of(dictionary *texts, uint64_t sum, const short_text *text,
                              const uint8_t *value, uint32_t length) {
    slot *found = slot_of(texts, sum, text, value, length);
    if (found->number != NO_NUMBER)
        return found->number;
    if (texts->count >= texts->slot_count / 2) {
        if (!add_slots(texts))
            return NO_NUMBER;
        found = slot_of(texts, sum, text, value, length);
    }
    uint32_t number = texts->count;
    size_t start = (size_t)texts->offsets[number];
    size_t offsets = (size_t)number + 1;
    if (!grow_shared((void **)&texts->offsets, offsets * 4, offsets + 1, 4) ||
        !grow_shared((void **)&texts->bytes, start, start + length, 1))
        return NO_NUMBER;
    memcpy(texts->bytes + start, value, length);
    texts->offsets[number + 1] = (int32_t)(start + length);
    texts->count++;
    *found = (slot){.text = *text, .length = length, .number = number};
    return number;
}

uint32_t dictionary_number(dictionary *texts, const uint8_t *value, uint32_t length) {
    short_text text = load_short(value, length);
    uint64_t sum = dictionary_hash(texts, &text, value, length);
    return dictionary_number_of(texts, sum, &text, value, length);
}

uint32_t dictionary_find(const dictionary *texts, const uint8_t *value, uint32_t length) {
    short_text text = load_short(value, length);
    uint64_t sum = dictionary_hash(texts, &text, value, length);
    return slot_of(texts, sum, &text, value, length)->number;
}
