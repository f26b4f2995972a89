/* What both halves of the library share. */
#ifndef FLOWCONV_API_H
#define FLOWCONV_API_H

#include <stdint.h>

#if defined(_WIN32)
#define FC_API __declspec(dllexport)
#else
#define FC_API __attribute__((visibility("default")))
#endif

/* Raised whenever something in rows.h or pages.h changes; the Python side refuses another library.
 */
#define FC_API_VERSION 1

FC_API int32_t fc_api_version(void);

#endif
