#include "core/words.h"

#include <ctype.h>
#include <limits.h>
#include <string.h>

enum { LONGEST = 63 };

static int least(int a, int b) { return a < b ? a : b; }

static int letter(char c) { return tolower((unsigned char)c); }

int mt_word_distance(const char *a, const char *b) {
  const size_t m = strlen(a), n = strlen(b);
  if (m > LONGEST || n > LONGEST) return INT_MAX;
  int d[LONGEST + 1][LONGEST + 1]; /* of the beginnings of a and b */
  for (size_t i = 0; i <= m; i++) d[i][0] = (int)i;
  for (size_t j = 0; j <= n; j++) d[0][j] = (int)j;
  for (size_t i = 1; i <= m; i++)
    for (size_t j = 1; j <= n; j++) {
      const int x = letter(a[i - 1]), y = letter(b[j - 1]);
      d[i][j] = least(d[i - 1][j - 1] + (x != y), least(d[i - 1][j], d[i][j - 1]) + 1);
      if (i > 1 && j > 1 && x == letter(b[j - 2]) && letter(a[i - 2]) == y)
        d[i][j] = least(d[i][j], d[i - 2][j - 2] + 1);
    }
  return d[m][n];
}

int mt_word_is_near(const char *a, const char *b, int distance) {
  const int shorter = least((int)strlen(a), (int)strlen(b));
  return distance <= (shorter < 2 ? 0 : shorter < 6 ? 1 : shorter / 3);
}

const char *mt_nearest_word(const char *word, const char *const list[]) {
  const char *best = NULL;
  int lowest = INT_MAX;
  for (int i = 0; list[i]; i++) {
    const int distance = mt_word_distance(word, list[i]);
    if (distance < lowest && mt_word_is_near(word, list[i], distance)) {
      best = list[i];
      lowest = distance;
    }
  }
  return best;
}
