/* Capture: what layers give in a forward pass of a net, their gradients, and other values in their places.
 *
 * A tap sits on one module. The module's first output in the pass is noted as the tap's value and goes on from there;
 * after a backward pass, value->grad is the gradient of the output. Gradients are recorded from the earliest tap on (or
 * from the images, where these require gradients), and never into parameters. With a replacement, that goes on in the
 * output's place: nothing below it is reached by gradients. */
#ifndef MT_NN_CAPTURE_H
#define MT_NN_CAPTURE_H

#include "nn/module.h"

typedef struct {
  mt_module *module;
  mt_tensor *replacement; /* float32 of the output's shape; NULL: the output itself goes on */
  mt_tensor *value;       /* what went on; NULL until the module ran. Released by mt_capture_release */
  int runs;               /* how often the module ran */
} mt_layer_tap;

typedef struct mt_capture {
  mt_layer_tap *taps; /* on modules that differ */
  int count;
  bool gradients; /* whether a backward pass will follow */
} mt_capture;

/* Runs the model in eval mode on float32 images and leaves it in the modes it had. Returns its output, recorded where
 * gradients are wanted; NULL with an error, and without values. Where the only tap has a replacement, one image stands
 * for all of its values, and where the layer is followed by nothing but Sequentials, only what follows it runs. */
mt_tensor *mt_capture_forward(mt_capture *capture, mt_module *model, mt_tensor *images);
void mt_capture_release(mt_capture *capture);

#endif
