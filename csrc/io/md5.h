/* MD5 (RFC 1321): checks downloads against published sums; not for security. */
#ifndef MT_IO_MD5_H
#define MT_IO_MD5_H

#include <stddef.h>

/* 32 lower-case hexadecimal digits and a zero byte. */
void mt_md5(const void *data, size_t size, char out[33]);

#endif
