/* Words that were perhaps meant: the nearest of those that there are, for messages. */
#ifndef MT_CORE_WORDS_H
#define MT_CORE_WORDS_H

/* How many letters must be changed, added, removed, or exchanged with their neighbour to make b of a, whatever their
 * case (Damerau 1964, no piece of the word changed twice); more than can be near for words of over 63 bytes. */
int mt_word_distance(const char *a, const char *b);

/* Whether a word at this distance is near: at most a third of the letters of the shorter one change, or one of two to
 * five. */
int mt_word_is_near(const char *a, const char *b, int distance);

/* The nearest of a NULL-terminated list, the first of equals; NULL where none is near. */
const char *mt_nearest_word(const char *word, const char *const list[]);

#endif
