#include "kernels/stream.h"

#include <string.h>

#include "kernels/vector.h"

MT_INLINE void store_past(char *to, mt_vf v) {
#if MT_VECTOR_BYTES == 64
  _mm512_stream_ps((float *)(void *)to, (__m512)v);
#elif MT_VECTOR_BYTES == 32
  _mm256_stream_ps((float *)(void *)to, (__m256)v);
#elif defined(__SSE2__)
  _mm_stream_ps((float *)(void *)to, (__m128)v);
#else
  *(mt_vf *)(void *)to = v;
#endif
}

/* Whole lines, so that memory need not be read to fill them up; what is before the first and behind the last is copied
 * as usual. */
void MT_KERNEL(stream)(void *to, const void *from, int64_t bytes) {
  char *t = to;
  const char *f = from;
  const int64_t before = (int64_t)(-(uintptr_t)to % MT_LINE), first = before < bytes ? before : bytes;
  memcpy(t, f, (size_t)first);
  int64_t i = first;
  for (; i + MT_LINE <= bytes; i += MT_LINE)
    for (int j = 0; j < MT_LINE; j += MT_VECTOR_BYTES)
      store_past(t + i + j, mt_load((const float *)(const void *)(f + i + j)));
  memcpy(t + i, f + i, (size_t)(bytes - i));
}

void MT_KERNEL(stream_done)(void) {
#if defined(__SSE2__)
  _mm_sfence();
#endif
}
