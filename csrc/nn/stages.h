/* Conv2d + BatchNorm2d (+ ReLU) (+ MaxPool2d) groups standing in a row, in evaluation also Residual blocks made of
 * them, run as one operation (ops/conv_chain.h). */
#ifndef MT_NN_STAGES_H
#define MT_NN_STAGES_H

#include "nn/module.h"

/* Runs as many leading children as form stages that the operation can take; returns how many that were, with their
 * output in *output (NULL with an error when it failed), or 0 when there is nothing for it to run. With a shortcut
 * (NULL: none), it is added at the end, before a ReLU, if the stages end exactly with the chain; *added tells. */
int mt_stages_run(const mt_child *chain, int count, mt_tensor *input, mt_tensor *shortcut, mt_tensor **output,
                  bool *added);

#endif
