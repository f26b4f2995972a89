/* Memory that grows by what was really found in a text, never by a number that stands in it. */
#ifndef FLOWCONV_MEMORY_H
#define FLOWCONV_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

/* Make room for `count` items of `item` bytes in all, at least twice as many as before; false if
 * there is no memory. What was there stays. */
static inline bool grow(void **items, size_t *room, size_t count, size_t item) {
    if (count <= *room)
        return true;
    size_t more = *room <= SIZE_MAX / 2 && *room * 2 > count ? *room * 2 : count;
    if (more > SIZE_MAX / item)
        return false;
    void *grown = realloc(*items, more * item);
    if (!grown)
        return false;
    *items = grown;
    *room = more;
    return true;
}

#endif
