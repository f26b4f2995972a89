/* Arrow's arrays -> entries and numbers. */

#include "flowconv.h"

int fc_texts_of_utf8(const int32_t *offsets, const uint8_t *bytes, uint32_t count, fc_text *texts) {
    for (uint32_t i = 0; i < count; i++) {
        if (offsets[i] < 0 || offsets[i + 1] < offsets[i])
            return FC_BAD_OFFSETS;
        texts[i].bytes = bytes + offsets[i];
        texts[i].size_bytes = (uint64_t)(offsets[i + 1] - offsets[i]);
    }
    return 0;
}

int fc_texts_of_large_utf8(const int64_t *offsets, const uint8_t *bytes, uint32_t count,
                           fc_text *texts) {
    for (uint32_t i = 0; i < count; i++) {
        if (offsets[i] < 0 || offsets[i + 1] < offsets[i])
            return FC_BAD_OFFSETS;
        texts[i].bytes = bytes + offsets[i];
        texts[i].size_bytes = (uint64_t)(offsets[i + 1] - offsets[i]);
    }
    return 0;
}

static uint32_t is_valid(const uint8_t *validity, size_t bit) {
    return validity[bit >> 3] >> (bit & 7) & 1u;
}

uint32_t fc_number_rows(const uint8_t *validity, size_t offset, uint32_t rows, uint32_t first,
                        uint32_t *numbers) {
    uint32_t nulls = 0;
    if (!validity) {
        for (uint32_t i = 0; i < rows; i++)
            numbers[i] = first + i;
        return 0;
    }
    for (uint32_t i = 0; i < rows; i++) {
        uint32_t null = 1u - is_valid(validity, offset + i);
        numbers[i] = (first + i) | (0u - null); /* FC_NULL has all bits set */
        nulls += null;
    }
    return nulls;
}

int64_t fc_number_indices(const int32_t *indices, const uint8_t *validity, size_t offset,
                          uint32_t rows, uint32_t entries, uint32_t first, uint32_t *numbers) {
    uint32_t nulls = 0, bad = 0;
    for (uint32_t i = 0; i < rows; i++) {
        /* What lies below a null may be anything. */
        uint32_t null = validity ? 1u - is_valid(validity, offset + i) : 0;
        uint32_t index = (uint32_t)indices[i];
        bad |= (index >= entries) & (null ^ 1u);
        numbers[i] = (first + index) | (0u - null);
        nulls += null;
    }
    return bad ? FC_BAD_INDEX : (int64_t)nulls;
}
